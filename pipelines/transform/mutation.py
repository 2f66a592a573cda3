"""Mutations: small wrong edits of a source file, found on its syntax tree, and a fair choice of them. Pure.

A mutation replaces bytes [start, end) of one file. Which edits are tried is each language's business
(`pipelines.transform.python`, `pipelines.transform.grammars`); whether one is a bug at all is decided by
running tests, nowhere here.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipelines.swe.filters import IsTest, kind_of
from warehouse.records import content_id

# What a mutation does. The codes are stored with the tasks made of it.
KINDS: Mapping[str, str] = {
    "operator_swapped": "an arithmetic or boolean operator is another one",
    "comparison_changed": "a comparison is the opposite one, or another one",
    "off_by_one": "a bound or a small number is off by one",
    "condition_negated": "a condition is negated",
    "guard_removed": "a check that leaves early is gone",
    "branch_removed": "an alternative branch is gone",
    "argument_changed": "arguments of a call are swapped, or one is left out",
    "default_changed": "a parameter has another default",
    "call_removed": "a call is gone, or its argument stands in its place",
    "assignment_removed": "a change of state is gone",
    "exception_swallowed": "an exception is caught or raised no more as it was",
    "return_changed": "another value is returned",
    "loop_changed": "a loop ends, or goes on, where it did not",
    "literal_flipped": "true is false, or the other way round",
}

# suffix → (language, module with a function `mutations`)
MUTATORS: Mapping[str, tuple[str, str]] = {
    ".py": ("python", "pipelines.transform.python"),
    **{
        suffix: (language, "pipelines.transform.grammar")
        for language, suffixes in {
            "javascript": (".js", ".mjs", ".cjs", ".jsx"),
            "typescript": (".ts", ".mts", ".cts"),
            "tsx": (".tsx",),
            "go": (".go",),
            "rust": (".rs",),
            "java": (".java",),
            "c": (".c", ".h"),
        }.items()
        for suffix in suffixes
    },
}

MAX_BYTES = 400_000  # of a file; larger ones are generated or data


@dataclass(frozen=True)
class Mutation:
    """A wrong edit. `function` is the qualified name of what it lies in; `first` and `last` are lines."""

    path: str
    language: str
    kind: str
    function: str
    first: int
    last: int
    start: int
    end: int
    text: bytes

    @property
    def id(self) -> str:
        return content_id(self.path, self.start, self.end, self.text.hex())

    @property
    def place(self) -> tuple[str, str]:
        return self.path, self.function

    def apply(self, data: bytes) -> bytes:
        return data[: self.start] + self.text + data[self.end :]

    def overlaps(self, other: Mutation) -> bool:
        return self.path == other.path and self.start < other.end and other.start < self.end


def mutations(path: str, data: bytes) -> list[Mutation]:
    """Every mutation of a file that its language knows; none of a file that cannot be read."""
    found = MUTATORS.get(PurePosixPath(path).suffix)
    if found is None or len(data) > MAX_BYTES:
        return []
    language, module = found
    make: Callable[[str, str, bytes], Iterator[Mutation]] = importlib.import_module(module).mutations
    different = (m for m in make(path, language, data) if data[m.start : m.end] != m.text)
    return sorted({m.id: m for m in different}.values(), key=lambda m: (m.start, m.end, m.text))


def mutable_sources(tree: Mapping[str, bytes], is_test: IsTest) -> Iterator[str]:
    """Paths of a tree that may be mutated: source, in a language with a mutator."""
    for path in sorted(tree):
        if PurePosixPath(path).suffix in MUTATORS and kind_of(path, is_test) == "source":
            yield path


def applied(mutated: Iterable[Mutation], files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files that several mutations change together; those of one file must not overlap."""
    changed: dict[str, bytes] = {}
    for mutation in sorted(mutated, key=lambda m: (m.path, m.start), reverse=True):
        changed[mutation.path] = mutation.apply(changed.get(mutation.path, files[mutation.path]))
    return changed


def spread(
    found: Iterable[Mutation], count: int, seed: str, first: Callable[[Mutation], int]
) -> list[Mutation]:
    """At most `count` mutations in the order in which they are worth trying.

    Functions take turns, and within a turn the kind that was used least goes first, so a few long functions
    or one prolific operator do not make up the whole choice. Functions with a smaller `first` come before
    the others; all else is drawn by `seed`.
    """
    draw = random.Random(seed)
    by_place: dict[tuple[str, str], list[Mutation]] = {}
    for mutation in sorted(found, key=lambda m: (m.path, m.start, m.end, m.text)):
        by_place.setdefault(mutation.place, []).append(mutation)
    places = sorted(by_place)
    draw.shuffle(places)
    places.sort(key=lambda place: min(map(first, by_place[place])))
    for place in places:
        draw.shuffle(by_place[place])
        by_place[place].sort(key=first)
    used: dict[str, int] = {}
    chosen: list[Mutation] = []
    while places and len(chosen) < count:
        for place in list(places):
            left = by_place[place]
            best = min(left, key=lambda m: (first(m), used.get(m.kind, 0)))
            left.remove(best)
            used[best.kind] = used.get(best.kind, 0) + 1
            chosen.append(best)
            if not left:
                places.remove(place)
    return chosen[:count]
