"""Structural targets of a change: what its base does not meet, its gold does, and anybody can be told.

Derived by rules from both trees; `verifiers.refactor` holds the measures. A limit lies between base and gold,
nearer to gold: another clean-up than upstream's must be able to meet it. Renames and moves are told by their
new names, because tests use these. What a measure could be tricked with is a target, too, where gold keeps
it: no more evaluated code, and no function worse than gold's worst in the folders that are measured.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipelines.swe.filters import IsTest, kind_of
from pipelines.swe.trees import Tree
from verifiers.refactor import Target
from verifiers.refactor.inside import structure
from verifiers.refactor.inside.structure import Project

MOST_TARGETS = 5
GUARDED = ("complexity", "length", "worst_complexity", "duplication")
# rule → (what the base must have at least, gold's share of it at most, and by how much gold is less)
GAINS = {"complexity": (6, 0.75, 3), "length": (12, 0.7, 6), "duplication": (40, 0.8, 40)}
OFTEN = 3  # times that a name stood in the source, for its end to be a target
TELLING_NAME = 4  # characters
CALLED = re.compile(r"([A-Za-z_$][\w$]*)\s*\(")


@dataclass(frozen=True)
class Sides:
    """Base and gold, their source files and those of them that differ."""

    base: Project
    gold: Project
    touched: tuple[str, ...]

    @property
    def python(self) -> list[str]:
        return [path for path in self.touched if path.endswith(".py")]

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders of the Python files that differ."""
        names = {str(PurePosixPath(path).parent) for path in self.python}
        return tuple(sorted("" if name == "." else name for name in names))


def sides(base: Tree, gold: Tree, touched: Collection[str], is_test: IsTest) -> Sides:
    """The source of both trees, of the languages that the change is in."""
    changed = tuple(sorted(path for path in touched if kind_of(path, is_test) == "source"))
    suffixes = {PurePosixPath(path).suffix for path in changed} - {""}
    return Sides(
        Project(_sources(base, suffixes, is_test)), Project(_sources(gold, suffixes, is_test)), changed
    )


def targets(found: Sides) -> tuple[Target, ...]:
    """The targets, the most telling first, with what guards them; () when nothing measurable got better."""
    chosen: list[Target] = []
    for rule in RULES:
        for target in rule(found):
            if len(chosen) < MOST_TARGETS and _tells(found, target) and target not in chosen:
                chosen.append(target)
    if any(target.rule in GUARDED for target in chosen):
        chosen += [guard for guard in _guards(found) if _met(found.gold, guard)]
    return tuple(chosen)


def _tells(found: Sides, target: Target) -> bool:
    """Whether base and gold differ in a target; of a pair (gone here, defined there) both do."""
    return _met(found.gold, target) and not _met(found.base, target)


def _met(project: Project, target: Target) -> bool:
    value = structure.value(project, target.model_dump())
    return value is not None and value <= target.most


def _sources(tree: Tree, suffixes: set[str], is_test: IsTest) -> dict[str, bytes]:
    return {
        path: tree[path]
        for path in tree
        if PurePosixPath(path).suffix in suffixes
        and not tree.is_link(path)
        and not any(part.startswith(".") for part in PurePosixPath(path).parts[:-1])
        and not is_test(path)
        and tree.size(path) <= structure.FILE_BYTES
    }


def _limit(rule: str, base: int, gold: int) -> int | None:
    """The most that a submission may have; None where gold is not enough better."""
    least, share, less = GAINS[rule]
    if base < least or gold > share * base or base - gold < less:
        return None
    return gold + (base - gold) // 3


def _moved(found: Sides) -> Iterator[Target]:
    """Functions and classes that stand elsewhere, or under another name with the same body."""
    for path in found.python:
        before, after = found.base.definitions(path), found.gold.definitions(path)
        for name in [n for n in before if n not in after and "." not in n]:
            if place := _new_place(found, path, name, before[name]):
                yield Target(rule="absent", name=name, path=path, most=0, base=1)
                yield Target(rule="present", name=place[1], path=place[0], most=0, base=1)


def _new_place(found: Sides, path: str, name: str, node: ast.AST) -> tuple[str, str] | None:
    shape = _body(node)
    for other in found.python:
        before, after = found.base.definitions(other), found.gold.definitions(other)
        if other != path and name in after and name not in before:
            return other, name
        for new, fresh in after.items():
            if new not in before and "." not in new and _body(fresh) == shape:
                return other, new
    return None


def _body(node: ast.AST) -> str:
    """What a definition is but for its name; '' for a short one, of which there are many alike."""
    parts = [ast.dump(part) for part in getattr(node, "body", [])]
    text = ast.dump(node.args) + "".join(parts) if isinstance(node, structure.FUNCTIONS) else "".join(parts)
    return text if len(text) > 200 else f"short {id(node)}"


def _imports(found: Sides) -> Iterator[Target]:
    """Modules that no source imports any more."""
    count: dict[str, int] = {}
    for _, tree in found.base.python():
        for name in structure.imported(tree):
            count[name] = count.get(name, 0) + 1
    left = {name for _, tree in found.gold.python() for name in structure.imported(tree)}
    for name in sorted(count.keys() - left - {"__future__"}, key=lambda name: (-count[name], name)):
        yield Target(rule="imports", name=name, most=0, base=count[name])


def _uses(found: Sides) -> Iterator[Target]:
    """Names that stood in the source often and do not stand there any more."""
    count: dict[str, int] = {}
    for path in found.touched:
        if path in found.base.sources:
            for name, times in structure.references(found.base, path).items():
                count[name] = count.get(name, 0) + times
    local = _local_names(found) | (set(count) - _called(found))
    public = [name for name in count.keys() - local if len(name) >= TELLING_NAME and not name.startswith("_")]
    often = [name for name in public if count[name] >= OFTEN]
    for name in sorted(often, key=lambda name: (-count[name], name)):
        target = Target(rule="uses", name=name, most=0)
        if _tells(found, target):
            base = structure.value(found.base, target.model_dump())
            yield target.model_copy(update={"base": base})


def _called(found: Sides) -> set[str]:
    """Names that the base's Python has at all, and of other languages those that are called somewhere."""
    names: set[str] = set()
    for path in found.touched:
        if path.endswith(".py"):
            names |= structure.references(found.base, path).keys() if path in found.base.sources else set()
        elif path in found.base.sources:
            names |= set(CALLED.findall(found.base.sources[path].decode("utf-8", "replace")))
    return names


def _local_names(found: Sides) -> set[str]:
    """Names that the touched files bind: variables and attributes, whose end says nothing."""
    names: set[str] = set()
    for path in found.python:
        tree = found.base.tree(path)
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.attr)
            elif isinstance(node, ast.arg):
                names.add(node.arg)
    return names


def _functions(rule: str) -> Callable[[Sides], Iterator[Target]]:
    """Functions of both sides that got simpler, or shorter; those by most first."""

    def targets_of(found: Sides) -> Iterator[Target]:
        better = []
        for path in found.python:
            for name in found.base.definitions(path):
                asked = {"rule": rule, "path": path, "name": name}
                base, gold = structure.value(found.base, asked), structure.value(found.gold, asked)
                if base is None or gold is None or (most := _limit(rule, base, gold)) is None:
                    continue
                better.append((gold - base, Target.model_validate(asked | {"most": most, "base": base})))
        yield from (target for _, target in sorted(better, key=lambda pair: (pair[0], pair[1].name)))

    return targets_of


def _duplication(found: Sides) -> Iterator[Target]:
    asked = {"rule": "duplication", "folders": list(found.folders)}
    base, gold = structure.value(found.base, asked), structure.value(found.gold, asked)
    if base is not None and gold is not None and (most := _limit("duplication", base, gold)) is not None:
        yield Target(rule="duplication", folders=found.folders, most=most, base=base)


def _guards(found: Sides) -> Iterator[Target]:
    worst = {"rule": "worst_complexity", "folders": list(found.folders)}
    for asked in (worst, {"rule": "evaluated"}):
        value = structure.value(found.gold, asked)
        if value is not None:
            folders = found.folders if asked is worst else ()
            yield Target.model_validate({"rule": asked["rule"], "folders": folders, "most": value})


# In order: what is told exactly comes before what has a limit.
RULES: tuple[Callable[[Sides], Iterator[Target]], ...] = (
    _moved, _functions("complexity"), _duplication, _functions("length"), _imports, _uses,
)  # fmt: skip
