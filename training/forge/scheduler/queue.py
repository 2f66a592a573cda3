"""The groups of an RL run between being offered and being trained: the one place where that state lives.

A group is one prompt with all its samples. It is *waiting* until a policy admits it, *running* until its last
sample has a reward, *ready* until a batch takes it, *in training* until the step that it is in has ended,
which makes the next version of the weights. From start to the end of its step it is charged one slot.

Staleness counts from the group's oldest token: it started at version `s` and trains in step `c` (which turns
version `c` into `c + 1`), so its staleness is `c - s`. Policies only read this object (policies.py); the
rollout loop and the simulator write it, with the same calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Group:
    """A prompt and its samples. `index` is its place in the stream of prompts, from 0."""

    index: int
    prompt: str = ""
    predicted: float | None = None  # a length or duration in any unit: only its order is used
    passed: int | None = None  # the version at which a later prompt was started first
    started: int = -1
    finished: bool = False

    def held(self, version: int) -> int:
        """How many versions this waiting group has been passed over for."""
        return 0 if self.passed is None else version - self.passed


@dataclass
class GroupQueue:
    """The groups that wait, run and are ready, and the version of the weights."""

    batch: int  # groups in a training step
    version: int = 0
    closed: bool = False  # nothing more will be offered: what is left trains, the last batch may be smaller
    waiting: dict[int, Group] = field(default_factory=dict)  # by index, in the order of the stream
    live: dict[int, Group] = field(
        default_factory=dict
    )  # running and ready, in the order of their first start
    ready: dict[int, Group] = field(default_factory=dict)  # in the order in which they finished
    training: list[Group] = field(default_factory=list)
    live_at: dict[int, int] = field(default_factory=dict)  # started version -> live groups, oldest first
    ready_at: dict[int, int] = field(default_factory=dict)  # started version -> ready groups
    offered: int = 0

    @classmethod
    def restored(cls, batch: int, version: int, groups: Iterable[Group], offered: int) -> GroupQueue:
        """The queue as a durable record of its groups has it: waiting where `started` is negative.

        Finished groups come in the order in which they finished; the others in any.
        """
        queue, groups = cls(batch=batch, version=version, offered=offered), list(groups)
        finished = [group.index for group in groups if group.finished]
        for group in sorted(groups, key=lambda group: group.index):
            group.finished = False
            if group.started < 0:
                queue.waiting[group.index] = group
            else:
                queue._enter(group)
        for index in finished:
            queue.finish(index)
        return queue

    def offer(self, prompt: str = "", predicted: float | None = None) -> Group:
        """Append the next prompt of the stream."""
        group = Group(index=self.offered, prompt=prompt, predicted=predicted)
        self.offered += 1
        self.waiting[group.index] = group
        return group

    def start(self, chosen: Iterable[Group]) -> None:
        """Start waiting groups at this version; each that waits before the last of them is passed over."""
        last = -1
        for group in chosen:
            del self.waiting[group.index]
            group.started = self.version
            self._enter(group)
            last = max(last, group.index)
        for group in self.waiting.values():
            if group.index > last:
                break
            if group.passed is None:
                group.passed = self.version

    def _enter(self, group: Group) -> None:
        self.live[group.index] = group
        self.live_at[group.started] = self.live_at.get(group.started, 0) + 1
        self.ready_at.setdefault(group.started, 0)

    def finish(self, index: int) -> None:
        """All samples of the group have their reward, or have failed for good and say so."""
        group = self.live[index]
        if not group.finished:
            group.finished = True
            self.ready[index] = group
            self.ready_at[group.started] += 1

    def restart(self, index: int) -> Group:
        """Start a running group anew after its engine or sandbox was lost; its tokens will be of this
        version."""
        group = self.live[index]
        self._uncount(group)
        group.started, group.finished = self.version, False
        self._enter(group)  # in its old place: a window goes by the order of the stream
        return group

    def take(self, batch: Iterable[Group]) -> None:
        """Hand ready groups to the trainer. Their slots stay charged until the step has ended."""
        for group in batch:
            self._leave(group)
            self.training.append(group)

    def trained(self) -> list[Group]:
        """The step has ended: its slots are free, and its weights are the next version."""
        done, self.training = self.training, []
        self.version += 1
        return done

    def drop(self, group: Group) -> None:
        """Give up a live group. What it cost is lost."""
        self._leave(group)

    def _leave(self, group: Group) -> None:
        del self.live[group.index]
        self._uncount(group)

    def _uncount(self, group: Group) -> None:
        self.live_at[group.started] -= 1
        if group.finished:
            del self.ready[group.index]
            self.ready_at[group.started] -= 1
        if not self.live_at[group.started]:
            del self.live_at[group.started], self.ready_at[group.started]

    @property
    def fresh(self) -> int:
        """Waiting groups that nobody overtook: what a policy's `lookahead` counts."""
        return sum(group.passed is None for group in self.waiting.values())

    @property
    def charged(self) -> int:
        """Slots in use."""
        return len(self.live) + len(self.training)

    @property
    def next_batch(self) -> int:
        """How many groups the next step takes: fewer than `batch` only when fewer are left."""
        return min(self.batch, len(self.live) + len(self.waiting)) if self.closed else self.batch

    def by_start(self) -> Iterator[tuple[int, int, int]]:
        """(started version, live, ready), oldest first."""
        for started in sorted(self.live_at):
            yield started, self.live_at[started], self.ready_at[started]
