"""A virtual clock: a run in which the order of everything is a function of the settings.

Under the real clock the order in which rollouts finish, and so what a batch is made of and with which
weights a token was drawn, depends on the machine. Under this one a group's duration is drawn from the seed, a
training step lasts one unit, and events are ordered by the time that this gives. A group's tokens are all
drawn when it starts, with the weights of that version, and wait in the pool until its time has come.

The clock is kept nowhere. It depends on nothing but the settings, so after a kill it is run again from the
start, and what it comes to has to be what the pool has. A kill loses samples that were being made; they are
made again with the same seeds and the same weights. So a run that was killed any number of times gives, bit
for bit, the batches and losses of one that was not (on one machine, with `engine = "own"`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from training.forge.pool.pool import PoolConflict
from training.forge.pool.records import Batch
from training.forge.rl.rollouts import POLL_SECONDS, Rollouts
from training.forge.rl.settings import ClockConfig
from training.forge.scheduler.durations import lognormal
from training.forge.scheduler.policies import Policy
from training.forge.scheduler.queue import Group, GroupQueue
from training.forge.scheduler.simulate import Engine
from training.trainer.interruption import Flag

Prompts = Callable[[int], list[tuple[str, float | None]]]
"""The next so many prompts of the stream, with their predicted lengths."""
STEP = 1.0  # how long a training step lasts; durations are in this unit


@dataclass(frozen=True)
class Turn:
    """What happens at one version of the weights, until its batch is taken. Groups by index, in order."""

    version: int
    prompts: tuple[tuple[str, float | None], ...]
    """All that have been offered since the run began."""
    dropped: tuple[int, ...]
    started: tuple[int, ...]
    finished: tuple[int, ...]
    batch: tuple[int, ...]


@dataclass
class Timetable:
    """The turns of a run, one after the other."""

    policy: Policy
    queue: GroupQueue
    config: ClockConfig
    prompts: Prompts
    engine: Engine = field(default_factory=lambda: Engine(None))
    _offered: list[tuple[str, float | None]] = field(default_factory=list)

    def __iter__(self) -> Iterator[Turn]:
        queue, engine = self.queue, self.engine
        finished: list[int] = []  # those that did so while the last step was trained come first
        while True:
            dropped = self.policy.evict(queue)
            for group in dropped:
                queue.drop(group)
            engine.abort({group.index for group in dropped})
            started = self._start()
            while (batch := self.policy.select(queue)) is None:
                finished.append(self._finish_one())
            yield Turn(
                version=queue.version,
                prompts=tuple(self._offered),
                dropped=_indices(dropped),
                started=_indices(started),
                finished=tuple(finished),
                batch=_indices(batch),
            )
            queue.take(batch)
            end = engine.now + STEP
            finished = self._finish_until(end)
            engine.idle_until(end)
            queue.trained()

    def _finish_until(self, time: float) -> list[int]:
        found = []
        while self.engine.running and self.engine.next_finish() <= time:
            found.append(self._finish_one())
        return found

    def _finish_one(self) -> int:
        index = self.engine.finish_one()
        self.queue.finish(index)
        return index

    def _start(self) -> list[Group]:
        lacking = self.policy.lookahead - self.queue.fresh
        for prompt, predicted in self.prompts(max(lacking, 0)):
            self._offered.append((prompt, predicted))
            self.queue.offer(prompt, predicted)
        started = self.policy.admit(self.queue)
        self.queue.start(started)
        for group in started:
            self.engine.start(group.index, self._duration(group.index))
        return started

    def _duration(self, index: int) -> float:
        rng = np.random.default_rng((self.config.seed, index))
        return float(lognormal(rng, 1, sigma=self.config.sigma, mean=self.config.mean)[0])


def _indices(groups: list[Group]) -> tuple[int, ...]:
    return tuple(group.index for group in groups)


@dataclass
class VirtualRollouts(Rollouts):
    """Rollouts as the timetable has them, whatever time they really take."""

    timetable: Iterator[Turn] = field(kw_only=True)

    async def batch(self, stop: Flag) -> Batch | None:
        queue, turn = self.ledger.queue, next(self.timetable)
        while turn.version < queue.version:
            self._require_same(turn.batch, self.pool.batch(turn.version))
            turn = next(self.timetable)
        assert turn.version == queue.version, "a step that the timetable has not had"
        self._enter(turn)
        while self.running:
            if stop.is_set():
                return None
            await asyncio.wait(self.running.values(), timeout=POLL_SECONDS)
            self._raise_failed()
        if stop.is_set():
            return None
        self.pool.overdue(
            end_seconds=self._patience(), reward_seconds=0
        )  # all have ended: nobody judged them
        self.ledger.settle([index for index in turn.finished if index in queue.live])
        batch = self.ledger.take([queue.live[index] for index in turn.batch])
        self._require_same(turn.batch, batch)
        return batch

    def _enter(self, turn: Turn) -> None:
        """Brings the ledger to where the turn's batch is waited for; what a killed run did stays as it is."""
        queue = self.ledger.queue
        if gone := [queue.live[index] for index in turn.dropped if index in queue.live]:
            self.ledger.drop(gone)
        if new := turn.prompts[queue.offered :]:
            self.ledger.offer(new)
        if due := [queue.waiting[index] for index in turn.started if index in queue.waiting]:
            self.ledger.start(due)
        self.open_missing()

    def _require_same(self, wanted: tuple[int, ...], batch: Batch | None) -> None:
        if batch is None or batch.groups != wanted:
            raise PoolConflict(
                f"The {self.pool.name} has other batches than its settings' clock gives: "
                "another version made it; go on with that one, or delete the run to start afresh."
            )

    def _drawn_as(self, trajectory: str, group: Group, sample: int, number: int) -> str:
        return f"g{group.index}-s{sample}-a{number}"  # a kill makes another trajectory of it
