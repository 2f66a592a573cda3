"""Which tasks are held out. By repository and never by row, or near-copies of one task sit on both sides.

The choice is a hash of the repository's name alone: it is the same in every export and on every machine, and
stays when others join. A split that was recorded for a task (a `split` event) wins over it. A selection that
the hash alone would leave without anything to train on goes to train as a whole, and says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from warehouse.errors import FactoryError

SPLITS = ("train", "validation", "test")
"""The hash gives the first two; all three may be recorded."""

HELD_OUT_SHARE = 26 / 256


def held_out(repo: str, share: float = HELD_OUT_SHARE) -> bool:
    """Whether `repo` belongs to the `share` of all repositories that is kept from training."""
    return int.from_bytes(hashlib.sha256(repo.encode()).digest()[:8], "big") < share * 2**64


@dataclass(frozen=True)
class Assignment:
    """The split of every repository's undecided tasks; `note` says where the hash did not decide."""

    by_repo: Mapping[str, str]
    note: str


def assign(found: Iterable[tuple[str, str | None]], share: float = HELD_OUT_SHARE) -> Assignment:
    """Decide for tasks of `found`: repositories, each with a recorded split or None for undecided tasks.

    Raises FactoryError for a recorded split that no export knows.
    """
    pairs = set(found)
    recorded = {split for _, split in pairs if split is not None}
    for name in sorted(recorded - set(SPLITS)):
        raise FactoryError(f"A task's recorded split is {name!r}; an export knows {', '.join(SPLITS)}.")
    undecided = sorted(repo for repo, split in pairs if split is None)
    held = {repo for repo in undecided if held_out(repo, share)}
    alone = len({repo for repo, _ in pairs}) == 1
    nothing_left = len(held) == len(undecided) and "train" not in recorded
    if held and (alone or nothing_left):
        return Assignment(dict.fromkeys(undecided, "train"), _note(len(held)))
    return Assignment({repo: "validation" if repo in held else "train" for repo in undecided}, "")


def _note(repositories: int) -> str:
    whose = "The only repository" if repositories == 1 else f"All {repositories} repositories"
    verb = "belongs" if repositories == 1 else "belong"
    return (
        f"{whose} to be split by hash {verb} to the held-out side, so the tasks went to train "
        "and nothing was held out for validation. Larger exports have them in validation."
    )
