"""Taking tests out of a tree, so that whoever works in it does not find the ones that will judge. Pure.

Python loses the very functions and keeps the rest of their files; of every other language, and where a test
is defined elsewhere (inherited, generated), the whole file goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import libcst as cst

UNREADABLE = (cst.ParserSyntaxError, cst.CSTValidationError, RecursionError, ValueError)
NAME = re.compile(r"[^/#>:.\s][^/#>:.]{2,}(?<!\s)")


class NotLocated(Exception):
    """A test of this id is in no file."""


def without_tests(files: Mapping[str, bytes], tests: Iterable[str], runner: str) -> dict[str, bytes | None]:
    """What becomes of the test files `files` when `tests` are taken out: None removes a file.

    Raises NotLocated.
    """
    by_file: dict[str, set[tuple[str, ...]]] = {}
    for test in tests:
        for path, names in places(test, runner, files):
            by_file.setdefault(path, set()).add(names)
    return {path: _cut(path, files[path], names) for path, names in by_file.items()}


def places(test: str, runner: str, files: Mapping[str, bytes]) -> list[tuple[str, tuple[str, ...]]]:
    """The files that hold a test, each with the names of the classes and the function in it."""
    if runner == "pytest":
        path, _, rest = test.partition("::")
        names = tuple(rest.partition("[")[0].split("::"))
        if path in files:
            return [(path, names)]
    elif runner == "unittest":
        parts = test.split(" ")[0].split(".")
        for length in range(len(parts) - 1, 0, -1):
            stem = "/".join(parts[:length]) + ".py"
            found = [path for path in files if path == stem or path.endswith("/" + stem)]
            if len(found) == 1:
                return [(found[0], tuple(parts[length:]))]
    # The test's own name says more than those around it, but may be made up when it runs.
    for name in reversed(NAME.findall(test.partition("[")[0])):
        found = [path for path, data in files.items() if name.encode() in data]
        if found:
            return [(path, ()) for path in found]
    raise NotLocated(f"no test file holds {test}")


def _cut(path: str, data: bytes, tests: set[tuple[str, ...]]) -> bytes | None:
    if not path.endswith(".py") or () in tests:
        return None
    remover = _Remover(tests)
    try:
        module = cst.parse_module(data).visit(remover)
    except UNREADABLE:
        return None
    return module.bytes if remover.removed == tests else None


class _Remover(cst.CSTTransformer):
    """Removes functions by the names of the classes around them."""

    def __init__(self, tests: set[tuple[str, ...]]) -> None:
        self.tests = tests
        self.removed: set[tuple[str, ...]] = set()
        self.scopes: list[str] = []

    def visit_ClassDef(self, node: cst.ClassDef) -> bool:
        self.scopes.append(node.name.value)
        return True

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
        self.scopes.append(node.name.value)
        return False

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.ClassDef:
        self.scopes.pop()
        body = updated_node.body
        if isinstance(body, cst.IndentedBlock) and not body.body:
            nothing = cst.SimpleStatementLine([cst.Pass()])
            return updated_node.with_changes(body=body.with_changes(body=[nothing]))
        return updated_node

    def leave_FunctionDef(
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef | cst.RemovalSentinel:
        names = tuple(self.scopes)
        self.scopes.pop()
        if names in self.tests:
            self.removed.add(names)
            return cst.RemoveFromParent()
        return updated_node
