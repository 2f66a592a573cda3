"""Mutants: a parent's solved tree with something wrong in it, and where its mutants come from. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pygit2

from pipelines.swe.trees import Entry
from pipelines.transform import mutation
from pipelines.transform.mutation import Mutation
from pipelines.transform.parent import Parent
from warehouse.records import content_id

WORD = re.compile(rb"[A-Za-z_]\w{2,}")


@dataclass(frozen=True)
class Mutant:
    """What becomes of the files of the solved tree, and by which mutation; a part of the gold patch that is
    taken back has none.
    """

    id: str
    kind: str
    files: Mapping[str, bytes]
    mutation: Mutation | None = None

    @property
    def label(self) -> str:
        """For tables: what was done, and where."""
        place = self.mutation
        return f"{self.kind} in {place.path}:{place.first} ({place.function})" if place else self.kind


def spread_mutants(parent: Parent, count: int, seed: str) -> list[Mutant]:
    """Mutants all over the project, first of functions that the tests name."""
    named = _names_in_tests(parent)
    found: list[Mutation] = []
    for path in mutation.mutable_sources(parent.solved, parent.is_test):
        if not parent.solved.is_link(path):
            found += mutation.mutations(path, parent.solved[path])
    chosen = mutation.spread(
        found,
        count,
        f"{seed} {parent.revision}",
        lambda m: m.function.rpartition(".")[2].encode() not in named,
    )
    return [_mutant(parent, m) for m in chosen]


def touched_mutants(parent: Parent, count: int, seed: str) -> list[Mutant]:
    """Mutants of what the gold patch changed: on its lines first, then elsewhere in the same functions."""
    touched = {path: lines for path, lines in parent.touched().items() if path in parent.solved}
    found: list[Mutation] = []
    direct: set[str] = set()
    for path in mutation.mutable_sources({path: b"" for path in touched}, parent.is_test):
        made = mutation.mutations(path, parent.solved[path])
        direct |= {m.id for m in made if touched[path] & set(range(m.first, m.last + 1))}
        places = {m.place for m in made if m.id in direct} | _around(made, touched[path])
        found += [m for m in made if m.place in places]
    chosen = mutation.spread(found, count, f"{seed} touched {parent.revision}", lambda m: m.id not in direct)
    return [_mutant(parent, m) for m in chosen]


def _around(made: Iterable[Mutation], lines: set[int]) -> set[tuple[str, str]]:
    """Functions that hold one of the lines, as far as their mutations show where they begin and end."""
    spans: dict[tuple[str, str], tuple[int, int]] = {}
    for m in made:
        first, last = spans.get(m.place, (m.first, m.last))
        spans[m.place] = min(first, m.first), max(last, m.last)
    return {place for place, (first, last) in spans.items() if lines & set(range(first - 1, last + 2))}


def partial_mutants(parent: Parent) -> list[Mutant]:
    """The gold patch without one of its hunks, for each hunk of a source file."""
    found: list[Mutant] = []
    sources = {p for p in parent.touched() if p in parent.solved}
    for path in sorted(sources & set(mutation.mutable_sources(parent.solved, parent.is_test))):
        for number, without in enumerate(_without_one_hunk(parent, path)):
            found.append(Mutant(content_id(path, number, without.hex()), "part_missing", {path: without}))
    return found


def mutated_tree(parent: Parent, files: Mapping[str, bytes], tree: str) -> str:
    """`tree` with the mutated files, whose modes stay."""
    return parent.objects.replace(
        tree, {path: Entry(parent.solved.blob(path).mode, data) for path, data in files.items()}
    )


def _mutant(parent: Parent, made: Mutation) -> Mutant:
    return Mutant(made.id, made.kind, {made.path: made.apply(parent.solved[made.path])}, made)


def _names_in_tests(parent: Parent) -> frozenset[bytes]:
    names: set[bytes] = set()
    for path in parent.gold:
        if parent.is_test(path) and parent.gold.size(path) <= mutation.MAX_BYTES:
            names.update(WORD.findall(parent.gold[path]))
    return frozenset(names)


def _without_one_hunk(parent: Parent, path: str) -> Iterator[bytes]:
    """What a file of the solved tree is when one hunk of the gold patch was not applied to it."""
    base = parent.objects.tree(parent.base_tree)
    if path not in base:
        return
    before, after = base[path], parent.solved[path]
    hunks = _hunks(before, after)
    if len(hunks) < 2:
        return
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    for start, length, old_start, old_length in hunks:
        yield b"".join([*new[:start], *old[old_start : old_start + old_length], *new[start + length :]])


def _hunks(before: bytes, after: bytes) -> list[tuple[int, int, int, int]]:
    """(start, length) in the new file and in the old one, of every hunk, counted from 0."""
    patch = pygit2.Patch.create_from(before, after, context_lines=0)
    found = []
    for hunk in patch.hunks:
        start = hunk.new_start - (1 if hunk.new_lines else 0)
        old = hunk.old_start - (1 if hunk.old_lines else 0)
        found.append((start, hunk.new_lines, old, hunk.old_lines))
    return found


def combined(parent: Parent, mutants: Iterable[Mutant]) -> dict[str, bytes]:
    """The files that several mutations change together."""
    made = [m.mutation for m in mutants if m.mutation is not None]
    return mutation.applied(made, parent.solved)
