"""Near-duplicates: two changes whose patches or statements say the same, in one run or with an existing task.

Signatures are MinHash (rensa, 128 values each) over what the patch adds and removes, without places and
numbers of lines, and over the words of the statement; a signature's values agree with another's in about the
share that their sets have in common. `ALIKE` says what is near. A candidate keeps its signature in its
record, so the index of a warehouse is read and not computed; it is compared whole, without hashing into
bands, which misses nothing.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rensa import RMinHash  # ty: ignore[missing-module-member] has no stubs

from warehouse.query import Reader
from warehouse.settings import Settings

VALUES, SEED = 128, 1
GRAM = 3
VERSION = f"rensa-{RMinHash.ALGORITHM_VERSION}/{VALUES}/{SEED}/{GRAM}"
_TOKEN = re.compile(r"\w+|[^\w\s]")
_WORD = re.compile(r"\w+")

# (least likeness of the patches, of the statements, fewest grams of each that is asked about). Any row that
# fits makes two changes near. A short text is alike by chance, so it counts only beside the other.
ALIKE: tuple[tuple[float, float, int], ...] = (
    (0.8, 0.0, 12),
    (0.0, 0.9, 12),
    (0.8, 0.8, 1),
)


@dataclass(frozen=True)
class Signature:
    """Of one change. `grams` are how many different ones patch and statement have."""

    patch: tuple[int, ...]
    statement: tuple[int, ...]
    grams: tuple[int, int]

    @classmethod
    def of(cls, statement: str, patch: bytes | str) -> Signature:
        text = patch if isinstance(patch, str) else patch.decode("utf-8", "replace")
        changed = set(_patch_grams(text))
        words = set(_grams(_WORD.findall(statement.lower())))
        return cls(_values(changed), _values(words), (len(changed), len(words)))

    def to_json(self) -> dict[str, object]:
        """As a candidate's record keeps it."""
        kept = {
            name: _packed(values) for name, values in (("patch", self.patch), ("statement", self.statement))
        }
        return {"version": VERSION, "grams": list(self.grams), **kept}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Signature | None:
        """A signature that was kept; None if it was made in another way and cannot be compared."""
        if kept.get("version") != VERSION:
            return None
        patch, words = kept["grams"]
        return cls(_unpacked(kept["patch"]), _unpacked(kept["statement"]), (patch, words))


@dataclass(frozen=True)
class Near:
    """The change that another one is near to, and how near."""

    name: str
    patch: float
    statement: float


class Index:
    """Signatures with a name each, compared with all at once."""

    def __init__(self) -> None:
        self._names: list[tuple[str, str]] = []
        self._values: npt.NDArray[np.uint32] = np.empty((64, 2, VALUES), dtype=np.uint32)
        self._grams: npt.NDArray[np.int64] = np.empty((64, 2), dtype=np.int64)

    def add(self, name: str, signature: Signature, *, owner: str = "") -> None:
        """`owner` is the candidate that it is of: nothing is a near-duplicate of itself."""
        at = len(self._names)
        if at == len(self._values):
            self._values = np.concatenate([self._values, np.empty_like(self._values)])
            self._grams = np.concatenate([self._grams, np.empty_like(self._grams)])
        self._values[at] = signature.patch, signature.statement
        self._grams[at] = signature.grams
        self._names.append((name, owner))

    def near(self, signature: Signature, *, owner: str = "") -> Near | None:
        """The nearest of those that are near enough; the first of equals."""
        filled = len(self._names)
        if not filled:
            return None
        mine = np.array([signature.patch, signature.statement], dtype=np.uint32)
        likeness = (self._values[:filled] == mine).mean(axis=2)
        fewest = np.minimum(self._grams[:filled], np.array(signature.grams))
        near = np.zeros(filled, dtype=bool)
        for patch, statement, grams in ALIKE:
            wanted = np.array([patch, statement])
            near |= ((wanted == 0) | ((likeness >= wanted) & (fewest >= grams))).all(axis=1)
        found = [at for at in np.flatnonzero(near) if not owner or self._names[at][1] != owner]
        if not found:
            return None
        best = max(found, key=lambda at: (likeness[at].sum(), -at))
        return Near(self._names[best][0], float(likeness[best][0]), float(likeness[best][1]))

    def __len__(self) -> int:
        return len(self._names)


def tasks_of(settings: Settings) -> Index:
    """The index of all SWE tasks of the warehouse that stand."""
    index = Index()
    if not settings.snapshot.exists():
        return index
    query = """
        SELECT t.task_id, c.candidate_id, c.detail->'$.signature'
        FROM tasks t JOIN candidates c USING (candidate_id) JOIN task_state s USING (task_id)
        WHERE t.family = 'swe' AND t.parent = '' AND s.status NOT IN ('rejected', 'retired')
        ORDER BY t.recorded_at, t.task_id
    """
    with Reader(settings) as reader:
        for task, candidate, kept in reader.sql(query).rows:
            if kept and (signature := Signature.from_json(json.loads(kept))):
                index.add(f"task {task}", signature, owner=candidate)
    return index


def _patch_grams(patch: str) -> Iterator[str]:
    """Grams of each changed line, with its sign; of a file that is renamed or binary, its header."""
    in_hunk = False
    for line in patch.split("\n"):
        if line.startswith("diff --git "):
            in_hunk = False
        elif line.startswith("@@ "):
            in_hunk = True
        elif in_hunk and line[:1] in ("+", "-"):
            tokens = _TOKEN.findall(line[1:])
            yield from (f"{line[0]} {gram}" for gram in _grams(tokens))
        elif not in_hunk and line.startswith(("rename ", "GIT binary", "literal ")):
            yield line


def _grams(tokens: list[str]) -> Iterable[str]:
    if len(tokens) < GRAM:
        return [" ".join(tokens)] if tokens else []
    return (" ".join(tokens[i : i + GRAM]) for i in range(len(tokens) - GRAM + 1))


def _values(grams: set[str]) -> tuple[int, ...]:
    sketch = RMinHash(num_perm=VALUES, seed=SEED)
    sketch.update(sorted(grams))
    return tuple(sketch.digest())


def _packed(values: tuple[int, ...]) -> str:
    return base64.b85encode(np.array(values, dtype="<u4").tobytes()).decode()


def _unpacked(text: str) -> tuple[int, ...]:
    return tuple(np.frombuffer(base64.b85decode(text), dtype="<u4").tolist())
