"""Names that hidden tests use and only the gold patch defines: told to the solver, so that no name must be
guessed.

Everything is read from syntax trees (of other languages than Python, from words: `identifiers`); nothing is
imported or run. A definition is told by its signature and the first sentence of its docstring, never by its
body. Files that this Python cannot parse are passed over: a name that is missed only means less help, and
`names_interface` still decides whether a feature task can stand on its statement.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipelines.swe import identifiers
from pipelines.swe.filters import IsTest, kind_of
from pipelines.swe.trees import Entry, Tree

_SOURCE_ROOTS = ("src", "lib", "python", "source")
_MAX_BYTES = 1 << 20
_MAX_SIGNATURE = 300
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Definition:
    """Something a module defines. `kind` is module | class | function | method | attribute | parameter, and
    `name` of languages other than Python, whose module is a path.
    """

    kind: str
    module: str
    qualname: str
    signature: str
    summary: str = ""

    @property
    def name(self) -> str:
        return (self.qualname or self.module).rpartition(".")[2]


def needed(
    base: Tree, gold: Tree, touched: Collection[str], hidden: Mapping[str, Entry], is_test: IsTest
) -> tuple[Definition, ...]:
    """Definitions that the hidden tests reference and only the gold tree has, by module and name.

    `touched` are the paths that the gold patch touches.
    """
    before: list[Definition] = []
    after: list[Definition] = []
    for path in sorted(touched):
        if path.endswith(".py"):
            before += definitions(path, base[path]) if path in base and not base.is_link(path) else []
            after += definitions(path, gold[path]) if path in gold and not gold.is_link(path) else []
    had = {(d.module, d.qualname) for d in before}
    fresh = [d for d in after if (d.module, d.qualname) not in had]
    others = tuple(
        Definition("name", path, name, line)
        for path, name, line in identifiers.fresh(base, gold, touched, hidden, is_test)
    )
    if not fresh:
        return others
    used = _uses(hidden)
    known = _names_defined(base, is_test) if any(d.kind != "module" for d in fresh) else _Known()
    found = [d for d in fresh if _is_used(d, used, known)]
    return (*_without_parts(sorted(found, key=lambda d: (d.module, d.qualname))), *others)


def section(found: Collection[Definition]) -> str:
    """The statement's section about names; '' when there are none."""
    if not found:
        return ""
    lines = ["## Interface", "", "The tests use these names, which do not exist yet:", ""]
    for definition in found:
        where = f" in `{definition.module}`" if definition.module and definition.kind != "module" else ""
        summary = f": {definition.summary}" if definition.summary else ""
        lines.append(f"- `{definition.signature}`{where}{summary}")
    return "\n".join(lines)


def names_interface(text: str, found: Collection[Definition]) -> bool:
    """Whether a text (statement and interface section) names every needed name as a word."""
    return all(re.search(rf"(?<!\w){re.escape(d.name)}(?!\w)", text) for d in found)


def definitions(path: str, source: bytes) -> list[Definition]:
    """What the module at `path` defines at its top, in its classes, and as parameters."""
    module = module_name(path)
    tree = _parse(source)
    if tree is None:
        return []
    found = [Definition("module", module, "", module, _summary(tree))]
    for node in _top_level(tree.body):
        if isinstance(node, _Function):
            found += _function(node, module, "")
        elif isinstance(node, ast.ClassDef):
            found += _class(node, module, "")
        else:
            found += [Definition("attribute", module, name, name) for name in _assigned(node)]
    return found


def module_name(path: str) -> str:
    parts = list(PurePosixPath(path).with_suffix("").parts)
    if len(parts) > 1 and parts[0] in _SOURCE_ROOTS:
        parts = parts[1:]
    if parts[-1] == "__init__" and len(parts) > 1:
        parts = parts[:-1]
    return ".".join(parts)


@dataclass(frozen=True)
class _Uses:
    """What the tests reference: dotted imports, attributes and names, keyword arguments, dotted strings."""

    imports: frozenset[str]
    names: frozenset[str]
    keywords: frozenset[str]


@dataclass(frozen=True)
class _Known:
    """Names that the base tree has anywhere: a test that uses one may mean the old thing."""

    names: frozenset[str] = frozenset()
    parameters: frozenset[str] = frozenset()


def _uses(hidden: Mapping[str, Entry]) -> _Uses:
    imports: set[str] = set()
    names: set[str] = set()
    keywords: set[str] = set()
    for path, entry in hidden.items():
        tree = _parse(entry.data) if path.endswith(".py") else None
        modules = _imported(tree) if tree else {}
        imports |= set(modules.values())
        for node in ast.walk(tree) if tree else ():
            match node:
                case ast.ImportFrom():
                    names |= {alias.name for alias in node.names}
                case ast.Attribute():
                    names.add(node.attr)
                    owner = _unparse(node.value)
                    if owner in modules:
                        imports.add(f"{modules[owner]}.{node.attr}")
                case ast.Name():
                    names.add(node.id)
                case ast.keyword() if node.arg:
                    keywords.add(node.arg)
                case ast.Constant(value=str() as text) if re.fullmatch(r"\w+(\.\w+)+", text):
                    imports.add(text)  # a target for monkeypatch or mock
                    names.add(text.rpartition(".")[2])
    return _Uses(frozenset(imports), frozenset(names), frozenset(keywords))


def _imported(tree: ast.Module) -> dict[str, str]:
    """Name in the test → dotted name of what was imported under it."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module or ''}.{alias.name}" for alias in node.names}
    return found


def _is_used(definition: Definition, used: _Uses, known: _Known) -> bool:
    if definition.kind == "module":
        module = definition.module
        return any(module == name or name.startswith(f"{module}.") for name in used.imports)
    dotted = f"{definition.module}.{definition.qualname}"
    if dotted in used.imports:
        return True
    if definition.kind == "parameter":
        return definition.name in used.keywords and definition.name not in known.parameters
    return definition.name in used.names and definition.name not in known.names


def _names_defined(tree: Tree, is_test: IsTest) -> _Known:
    """Every name that the tree's own source defines anywhere."""
    names: set[str] = set()
    parameters: set[str] = set()
    for path in tree:
        if path.endswith(".py") and not tree.is_link(path) and kind_of(path, is_test) == "source":
            for definition in definitions(path, tree[path]):
                (parameters if definition.kind == "parameter" else names).add(definition.name)
    return _Known(frozenset(names), frozenset(parameters))


def _without_parts(found: list[Definition]) -> Iterator[Definition]:
    """A new method's parameters, and a new class's constructor, are told by the signature that has them."""
    owners = {(d.module, d.qualname) for d in found if d.kind != "module"}
    for definition in found:
        owner = definition.qualname.rpartition(".")[0]
        dunder = definition.name.startswith("__") and definition.name.endswith("__")
        if (definition.kind == "parameter" or dunder) and (definition.module, owner) in owners:
            continue
        yield definition


def _parse(source: bytes) -> ast.Module | None:
    if len(source) > _MAX_BYTES:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the mined code, not of ours
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a body, those under `if` and `try` included. Long chains of `elif` nest: no recursion."""
    left = body[::-1]
    while left:
        node = left.pop()
        if isinstance(node, ast.If | ast.Try | ast.With):
            blocks = [node.body, getattr(node, "orelse", []), getattr(node, "finalbody", [])]
            blocks += [handler.body for handler in getattr(node, "handlers", [])]
            left += [child for block in blocks for child in block][::-1]
        else:
            yield node


def _class(node: ast.ClassDef, module: str, owner: str) -> list[Definition]:
    qualname = f"{owner}{node.name}"
    init = next((n for n in node.body if isinstance(n, _Function) and n.name == "__init__"), None)
    arguments = _arguments(init, skip_first=True) if init else ""
    bases = ", ".join(map(_unparse, node.bases))
    signature = f"class {qualname}({bases})" if bases else f"class {qualname}"
    if init:
        signature += f", made by {node.name}({arguments})"
    found = [Definition("class", module, qualname, _cut(signature), _summary(node))]
    for child in _top_level(node.body):
        if isinstance(child, _Function):
            found += _function(child, module, f"{qualname}.")
        elif isinstance(child, ast.ClassDef):
            found += _class(child, module, f"{qualname}.")
        else:
            names = _assigned(child)
            found += [Definition("attribute", module, f"{qualname}.{n}", f"{qualname}.{n}") for n in names]
    return found


def _function(node: _Function, module: str, owner: str) -> list[Definition]:
    qualname = f"{owner}{node.name}"
    decorators = {_unparse(d).rpartition(".")[2] for d in node.decorator_list}
    kind = "method" if owner else "function"
    if decorators & {"property", "cached_property"}:
        signature = f"{qualname} (property)"
    else:
        returns = f" -> {_unparse(node.returns)}" if node.returns else ""
        prefix = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
        bound = bool(owner) and "staticmethod" not in decorators
        signature = f"{prefix}{qualname}({_arguments(node, skip_first=bound)}){returns}"
    found = [Definition(kind, module, qualname, _cut(signature), _summary(node))]
    for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
        if argument.arg not in ("self", "cls"):
            text = f"{qualname}(…, {argument.arg})"
            found.append(Definition("parameter", module, f"{qualname}.{argument.arg}", text))
    return found


def _arguments(node: _Function, *, skip_first: bool) -> str:
    text = _unparse(node.args)
    if skip_first:
        first = next(iter((*node.args.posonlyargs, *node.args.args)), None)
        if first is not None:
            text = re.sub(rf"^{re.escape(_unparse(first))}(, /)?(, |$)", "", text)
    return text


def _assigned(node: ast.stmt) -> list[str]:
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    elif isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names if alias.name != "*"]
    flat = [e for t in targets for e in (t.elts if isinstance(t, ast.Tuple) else [t])]
    return [target.id for target in flat if isinstance(target, ast.Name)]


def _summary(node: ast.Module | ast.ClassDef | _Function) -> str:
    text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
    sentence = re.match(r".+?[.!?](?=\s|$)", text)
    return (sentence[0] if sentence else text)[:200]


def _unparse(node: ast.AST) -> str:
    try:
        return ast.unparse(node)
    except (RecursionError, ValueError):
        return "…"


def _cut(text: str) -> str:
    text = " ".join(text.replace("`", "'").split())
    return text if len(text) <= _MAX_SIGNATURE else f"{text[:_MAX_SIGNATURE]}…"
