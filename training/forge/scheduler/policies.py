"""Which prompts start, which finished groups train, which are given up, and the bound that this keeps.

`P` groups make a training step. A bound `b` says that no group trains in a step later than `b` after the
version at which it started; `None` says that nothing bounds it. Every policy here only reads the queue.
docs/scheduler.md proves the bounds and measures the policies; tests/training/scheduler try the bounds on
random traces.

| policy | admits | trains | bound |
|---|---|---|---|
| `WindowedFifo` | when a slot is free | finished, within `window` of the oldest | (slots + window - 2) // P |
| `Greedy` | when a slot is free | the first that finish | none |
| `StalenessCapped` | when a slot is free | the first that finish; drops what is too old | its cap |
| `Cohorts` | `burst` steps' worth at once | finished, as long as every deadline can be kept | its `bound` |
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from training.forge.scheduler.queue import Group, GroupQueue


class Policy(Protocol):
    """At each new version `evict`, then `admit`; then `select` at each finish until it has a batch."""

    @property
    def slots(self) -> int:
        """Most groups that are charged at once."""
        ...

    @property
    def bound(self) -> int | None:
        """Largest staleness of a trained group, in versions; None where there is none."""
        ...

    @property
    def lookahead(self) -> int:
        """How many `fresh` prompts have to wait before `admit`, unless the stream has ended."""
        ...

    def admit(self, queue: GroupQueue) -> list[Group]:
        """Waiting groups to start now."""
        ...

    def select(self, queue: GroupQueue) -> list[Group] | None:
        """The next batch, or None: wait for another group to finish."""
        ...

    def evict(self, queue: GroupQueue) -> list[Group]:
        """Live groups to give up."""
        ...


@dataclass(frozen=True)
class _FreeSlots:
    """What the policies share that start the next prompt whenever a slot is free."""

    slots: int

    @property
    def lookahead(self) -> int:
        return self.slots

    def admit(self, queue: GroupQueue) -> list[Group]:
        return list(islice(queue.waiting.values(), max(self.slots - queue.charged, 0)))

    def evict(self, queue: GroupQueue) -> list[Group]:
        return []


@dataclass(frozen=True)
class WindowedFifo(_FreeSlots):
    """The report's §6.2.4: any finished group in [T_i, T_(i+window-1)], T_i being the oldest not taken.

    A window of 1 is strict FIFO.
    """

    batch: int
    window: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= self.slots or self.window < 1:
            raise ValueError(
                f"windowed FIFO needs 1 <= batch <= slots and a window of at least 1, not {self}: "
                "raise slots or lower batch"
            )

    @property
    def bound(self) -> int:
        return (self.slots + self.window - 2) // self.batch

    def select(self, queue: GroupQueue) -> list[Group] | None:
        wanted = queue.next_batch
        if len(queue.ready) < wanted:
            return None
        batch: list[Group] = []
        end: int | None = None  # of the window; the window moves on as long as its head is taken
        for group in queue.live.values():
            if end is not None and group.index >= end:
                return None
            if group.finished:
                batch.append(group)
                if len(batch) == wanted:
                    return batch
            elif end is None:
                end = group.index + self.window
        return None


@dataclass(frozen=True)
class Greedy(_FreeSlots):
    """The first groups that finish. A long one is overtaken without end."""

    @property
    def bound(self) -> int | None:
        return None

    def select(self, queue: GroupQueue) -> list[Group] | None:
        wanted = queue.next_batch
        return list(islice(queue.ready.values(), wanted)) if len(queue.ready) >= wanted else None


@dataclass(frozen=True)
class StalenessCapped(Greedy):
    """Greedy, and what is older than `cap` versions is dropped, finished or not: the hard prompts are
    lost."""

    cap: int

    @property
    def bound(self) -> int | None:
        return self.cap

    def evict(self, queue: GroupQueue) -> list[Group]:
        return [group for group in queue.live.values() if queue.version - group.started > self.cap]


@dataclass(frozen=True)
class Cohorts:
    """Our policy: prompts start in bursts; any finished group trains if every deadline can still be kept.

    A group that started at version `s` must train by step `s + bound`; nothing is ever dropped. What the
    bound costs is waiting for the longest group of a version, and a policy that starts some groups at *every*
    version waits for one such group in each `bound + 1` versions. This one starts `burst` steps' worth
    (`burst * batch` groups, a *cohort*) at once and then none for `burst` versions. While the longest groups
    of a cohort are awaited the next cohort is already running, and from one awaited group to the next it is
    longest, `2 * bound` versions, at `burst = bound`.

    With predicted lengths, the `long_share` longest of each `block` successive cohorts are sorted: the
    longest start in the block's first cohort and so on, as many in each cohort, and the others keep the
    stream's order. Long groups then run beside long ones, and a prompt waits for less than `block * burst`
    versions.
    """

    bound: int
    batch: int
    burst: int
    block: int = 1
    long_share: float = 0.0

    def __post_init__(self) -> None:
        if self.batch < 1 or not 1 <= self.burst <= max(self.bound, 1):
            raise ValueError(
                f"cohorts need a batch of at least 1 and a burst from 1 to the bound, not {self}"
            )
        if self.block < 1 or not 0 <= self.long_share <= 1:
            raise ValueError(f"cohorts need a block of at least 1 and a long_share from 0 to 1, not {self}")

    @property
    def slots(self) -> int:
        return (self.bound + 1) * self.batch

    @property
    def cohort(self) -> int:
        """Groups that start at once."""
        return self.burst * self.batch

    @property
    def lookahead(self) -> int:
        return self.block * self.cohort

    def admit(self, queue: GroupQueue) -> list[Group]:
        cohorts = (self.slots - queue.charged) // self.cohort
        if not self.long_share:
            return list(islice(queue.waiting.values(), cohorts * self.cohort))
        waiting, chosen = list(queue.waiting.values()), []
        for _ in range(cohorts):
            chosen += self._next_cohort([group for group in waiting if group not in chosen])
        return chosen

    def _next_cohort(self, waiting: list[Group]) -> list[Group]:
        """Of the first block that is not used up: its longest, in proportion, and the first of the others."""
        if not waiting:
            return []
        end = (waiting[0].index // self.lookahead + 1) * self.lookahead
        block = [group for group in waiting if group.index < end]
        by_length = sorted(block, key=lambda group: (-(group.predicted or 0.0), group.index))
        long = {group.index for group in by_length[: round(self.long_share * len(block))]}
        chosen = {group.index for group in by_length[: round(self.long_share * min(self.cohort, len(block)))]}
        others = (group.index for group in block if group.index not in long)
        chosen.update(islice(others, self.cohort - len(chosen)))
        return [group for group in block if group.index in chosen]

    def select(self, queue: GroupQueue) -> list[Group] | None:
        """Finished groups of the oldest versions first: no other choice leaves fewer of the early
        deadlines."""
        wanted = queue.next_batch
        if len(queue.ready) < wanted:
            return None
        live = ready = 0
        for started, live_here, ready_here in queue.by_start():
            live, ready = live + live_here, ready + ready_here
            if live - min(ready, wanted) > (started + self.bound - queue.version) * self.batch:
                return None
        batch: list[Group] = []
        for started, live_here, ready_here in queue.by_start():
            room = wanted - len(batch)
            cohort = [group for group in queue.ready.values() if group.started == started]
            batch += cohort if ready_here <= room else _spread(cohort, live_here, room)
            if len(batch) == wanted:
                return batch
        return None

    def evict(self, queue: GroupQueue) -> list[Group]:
        return []


def _spread(ready: list[Group], live: int, wanted: int) -> list[Group]:
    """`wanted` of a cohort's ready groups, evenly over the lengths of all its `live` ones.

    They started together, so the order in which they finished is the order of their lengths, and what still
    runs is longer: a choice by place keeps short and long ones for every step, and no clock or prediction is
    needed. Where the places fall on groups that still run, the longest that are ready stand in.
    """
    places = {(2 * pick + 1) * live // (2 * wanted) for pick in range(wanted)}
    chosen = [place for place in range(len(ready)) if place in places]
    spare = (place for place in range(len(ready) - 1, -1, -1) if place not in places)
    chosen += islice(spare, wanted - len(chosen))
    return [ready[place] for place in chosen]
