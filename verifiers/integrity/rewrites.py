"""Python that does the same and reads differently: what a second author of a correct change might write."""

from __future__ import annotations

import ast
import re

import libcst as cst
from libcst.metadata import Assignment, FunctionScope, MetadataWrapper, ScopeProvider

# Functions that see local names as data: in their presence nothing is renamed.
SEE_NAMES = frozenset({"locals", "vars", "eval", "exec", "dir", "globals"})

LOG = "import logging as _logging\n\n_logging.getLogger(__name__).debug({text!r})\n"


def unparsed(source: str) -> str:
    """Comments, blank lines and quotes as `ast.unparse` has them."""
    return ast.unparse(ast.parse(source)) + "\n"


def commented(source: str) -> str:
    """A comment above every function that starts a line of its own."""
    return re.sub(r"(?m)^([ \t]*)(?=(?:async )?def \w)(?<!@)", r"\1# looked at again\n\1", source)


def logged(source: str) -> str:
    """A module that says, to whoever listens, that it was loaded."""
    ast.parse(source)
    return source.rstrip("\n") + "\n\n\n" + LOG.format(text="loaded")


def renamed(source: str) -> str:
    """Local variables of functions under other names; parameters keep theirs, which callers may use."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    scopes = {s for s in wrapper.resolve(ScopeProvider).values() if isinstance(s, FunctionScope)}
    names: dict[cst.Name, str] = {}
    for scope in scopes:
        for name in {assignment.name for assignment in scope.assignments}:
            names.update(_renaming(scope, name))
    return wrapper.module.visit(_Renamer(names)).code


def _renaming(scope: FunctionScope, name: str) -> dict[cst.Name, str]:
    """The places of one local variable, and its other name; none where a place cannot be told."""
    new = f"{name}_value"
    assignments = list(scope[name])
    if name.startswith("__") or new in scope or not assignments:
        return {}
    places: set[cst.CSTNode] = set()
    for assignment in assignments:
        own = isinstance(assignment, Assignment) and assignment.scope is scope
        if not own or not isinstance(assignment.node, cst.Name):  # a parameter, an import, a nested function
            return {}
        places |= {assignment.node, *(access.node for access in assignment.references)}
    return {place: new for place in places if isinstance(place, cst.Name)} if _all_names(places) else {}


def _all_names(places: set[cst.CSTNode]) -> bool:
    return all(isinstance(place, cst.Name) for place in places)


class _Renamer(cst.CSTTransformer):
    def __init__(self, names: dict[cst.Name, str]) -> None:
        super().__init__()
        self.names = names

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
        """Leave alone what looks at its own names."""
        return not _Looks.at(node)

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.Name:
        new = self.names.get(original_node)
        return updated_node if new is None else updated_node.with_changes(value=new)


class _Looks(cst.CSTVisitor):
    """Whether a function sees its local names as data, or declares them elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found = False

    @classmethod
    def at(cls, node: cst.FunctionDef) -> bool:
        visitor = cls()
        node.visit(visitor)
        return visitor.found

    def visit_Name(self, node: cst.Name) -> None:
        self.found = self.found or node.value in SEE_NAMES

    def visit_FormattedStringExpression(self, node: cst.FormattedStringExpression) -> None:
        self.found = self.found or node.equal is not None  # f"{x=}" prints the name

    def visit_Global(self, node: cst.Global) -> None:
        self.found = True

    def visit_Nonlocal(self, node: cst.Nonlocal) -> None:
        self.found = True

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self.found = True  # names of a class body are attributes
