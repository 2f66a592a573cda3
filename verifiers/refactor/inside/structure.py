"""Measures of a program's structure: one number each, read from syntax trees; nothing is imported or run.

A target names a measure, what it is taken of, and the most that it may be. The same functions derive targets
from an upstream change and judge submissions by them. What cannot be read (a file that is gone or does not
parse, a function that does not exist) has no value, and meets no target.

Of languages other than Python only words are known, without comments and quotations.

Standard library only, Python 3.9 or later.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

FILE_BYTES = 1 << 20
FILES = 4000
DUPLICATE_NODES = 20  # syntax nodes; what is smaller is alike by chance
# Calls that run code which is in no syntax tree of the project's source.
EVALUATES = (
    "exec", "eval", "__import__", "exec_module", "spec_from_file_location", "run_path", "execfile",
)  # fmt: skip
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.comprehension)
WORD = re.compile(r"[A-Za-z_$][\w$]*")
NO_CODE = re.compile(
    r"//[^\n]*|/\*.*?\*/|(?m:^\s*#(?!\s*define)[^\n]*)|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'", re.S
)

Sources = Mapping[str, bytes]
"""Files of source by path: no tests among them."""


class Project:
    """Source files, parsed once."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self._trees: dict[str, ast.Module | None] = {}

    def tree(self, path: str) -> ast.Module | None:
        if path not in self._trees:
            self._trees[path] = _parsed(self.sources[path]) if path in self.sources else None
        return self._trees[path]

    def python(self) -> Iterator[tuple[str, ast.Module]]:
        for path in sorted(self.sources):
            tree = self.tree(path) if path.endswith(".py") else None
            if tree is not None:
                yield path, tree

    def unreadable(self) -> list[str]:
        """Python files that no measure sees into."""
        return sorted(p for p in self.sources if p.endswith(".py") and self.tree(p) is None)

    def definitions(self, path: str) -> dict[str, ast.AST]:
        """Functions and classes of a file by qualified name; of two with one name the last one."""
        tree = self.tree(path)
        return dict(_definitions(tree, "")) if tree is not None else {}


def _parsed(data: bytes) -> ast.Module | None:
    if len(data) > FILE_BYTES:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _definitions(node: ast.AST, owner: str) -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*FUNCTIONS, ast.ClassDef)):
            yield owner + child.name, child
            if isinstance(child, ast.ClassDef):
                yield from _definitions(child, f"{owner}{child.name}.")
        elif isinstance(child, (ast.If, ast.Try)):
            yield from _definitions(child, owner)


def branches(node: ast.AST) -> int:
    """Cyclomatic complexity (McCabe), functions inside included: 1, and 1 more for each way to branch."""
    total = 1
    for part in ast.walk(node):
        total += isinstance(part, BRANCHES)
        total += len(part.ifs) if isinstance(part, ast.comprehension) else 0
        total += len(part.values) - 1 if isinstance(part, ast.BoolOp) else 0
        total += type(part).__name__ == "match_case"
    return total


def statements(node: ast.AST) -> int:
    """Statements in a function, docstrings left out."""
    return sum(isinstance(part, ast.stmt) and not _is_docstring(part) for part in ast.walk(node)) - 1


def _is_docstring(node: ast.stmt) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _complexity(project: Project, target: dict[str, Any]) -> int | None:
    found = project.definitions(target["path"]).get(target["name"])
    return branches(found) if isinstance(found, FUNCTIONS) else None


def _length(project: Project, target: dict[str, Any]) -> int | None:
    found = project.definitions(target["path"]).get(target["name"])
    return statements(found) if isinstance(found, FUNCTIONS) else None


def _worst(project: Project, target: dict[str, Any]) -> int | None:
    """The most complex function among all files of the folders."""
    found = [
        branches(node)
        for path, _ in _within(project, target["folders"])
        for node in project.definitions(path).values() if isinstance(node, FUNCTIONS)
    ]  # fmt: skip
    return max(found, default=0)


def _within(project: Project, folders: list[str]) -> Iterator[tuple[str, ast.Module]]:
    return ((path, tree) for path, tree in project.python() if os.path.dirname(path) in folders)


def _duplication(project: Project, target: dict[str, Any]) -> int | None:
    """Syntax nodes in compound statements that stand there more than once, the first time left out."""
    seen: set[str] = set()
    total = 0
    for _, tree in _within(project, target["folders"]):
        left: list[ast.AST] = [tree]
        while left:
            node = left.pop()
            body = getattr(node, "body", None)
            if isinstance(node, ast.stmt) and isinstance(body, list):
                size = sum(1 for part in ast.walk(node))
                text = _shape(node) if size >= DUPLICATE_NODES else ""
                if text in seen:
                    total += size
                    continue  # its parts are counted with it
                seen.update({text} - {""})
            left.extend(ast.iter_child_nodes(node))
    return total


def _shape(node: ast.AST) -> str:
    """A statement without its own name, so that a renamed copy is a copy."""
    text = ast.dump(node)
    name = getattr(node, "name", None)
    return text.replace(f"name={name!r}", "name=''", 1) if isinstance(name, str) else text


def _absent(project: Project, target: dict[str, Any]) -> int | None:
    """1 where a name is still defined in a file; a file that is gone defines nothing."""
    if target["path"] in project.sources and project.tree(target["path"]) is None:
        return None
    return int(target["name"] in project.definitions(target["path"]))


def _present(project: Project, target: dict[str, Any]) -> int | None:
    """0 where a name is defined in a file."""
    return int(target["name"] not in project.definitions(target["path"]))


def _imports(project: Project, target: dict[str, Any]) -> int | None:
    """Files that import a module or a part of it."""
    return sum(target["name"] in imported(tree) for _, tree in project.python())


def imported(tree: ast.Module) -> set[str]:
    """Top-level modules that a file imports by absolute name."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
    return found


def _uses(project: Project, target: dict[str, Any]) -> int | None:
    """Places in all source that name something: attributes, names and imports; of other languages, words."""
    name, total = target["name"], 0
    for path in project.sources:
        total += references(project, path).get(name, 0)
    return total


def references(project: Project, path: str) -> dict[str, int]:
    """How often a file names what."""
    found: dict[str, int] = {}
    for name in _named(project, path):
        found[name] = found.get(name, 0) + 1
    return found


def _named(project: Project, path: str) -> Iterator[str]:
    if not path.endswith(".py"):
        data = project.sources[path]
        if len(data) <= FILE_BYTES:
            yield from WORD.findall(NO_CODE.sub(" ", data.decode("utf-8", "replace")))
        return
    tree = project.tree(path)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.name.rpartition(".")[2]


def _evaluated(project: Project, target: dict[str, Any]) -> int | None:
    """Calls that run code which no syntax tree shows."""
    return sum(
        isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in EVALUATES
        for _, tree in project.python() for node in ast.walk(tree)
    )  # fmt: skip


RULES: dict[str, Callable[[Project, dict[str, Any]], int | None]] = {
    "complexity": _complexity, "length": _length, "worst_complexity": _worst, "duplication": _duplication,
    "absent": _absent, "present": _present, "imports": _imports, "uses": _uses, "evaluated": _evaluated,
}  # fmt: skip


def value(project: Project, target: dict[str, Any]) -> int | None:
    """What the target's rule measures; None where there is nothing to measure."""
    return RULES[target["rule"]](project, target)


def sources_below(root: str, suffixes: set[str], left_out: list[str]) -> dict[str, bytes]:
    """Files of source below a folder: no links, no hidden folders, none of those left out."""
    folders = tuple(path for path in left_out if path.endswith("/"))
    found: dict[str, bytes] = {}
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            path = os.path.relpath(os.path.join(folder, name), root)
            full = os.path.join(folder, name)
            if os.path.splitext(name)[1] not in suffixes or path in left_out or path.startswith(folders):
                continue
            if os.path.islink(full) or not os.path.isfile(full):
                continue
            if len(found) >= FILES:
                raise ValueError(f"more than {FILES} files of source")
            with open(full, "rb") as file:
                found[path] = file.read(FILE_BYTES + 1)
    return found


def main() -> int:
    """Values of the targets on standard input for the tree that the argument names, in their order."""
    asked = json.load(sys.stdin)
    project = Project(sources_below(sys.argv[1], set(asked["suffixes"]), asked["left_out"]))
    hides = set(project.unreadable()) - set(asked["unreadable"])
    json.dump([None if hides else value(project, target) for target in asked["targets"]], sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
