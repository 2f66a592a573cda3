"""What a policy does with given durations: an event-driven run of the queue with engine and trainer.

The trainer takes `train_time` a step and does one at a time; new weights count from the end of their step.
Engines run every group at full speed, or, with `engine_concurrency`, share that many groups' worth of speed
evenly. The stream of prompts is as long as the durations; at its end all that is left is trained. The result
records what happened to each group, and metrics.py reads it.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from training.forge.scheduler.policies import Policy
from training.forge.scheduler.queue import GroupQueue


@dataclass(frozen=True)
class Trace:
    """One run. Arrays [groups] are by place in the stream, -1 or NaN where it never came to that."""

    batch: int
    bound: int | None
    train_time: float
    durations: np.ndarray
    started: np.ndarray  # version
    trained: np.ndarray  # step; -1: dropped
    held: np.ndarray  # versions between being passed over and starting
    start_time: np.ndarray
    finish_time: np.ndarray
    order: np.ndarray  # indices in the order in which they trained
    version_time: np.ndarray  # [steps + 1]: when each version came to be
    supplied: int  # versions until the last prompt had started; what follows is drain
    running_time: float  # group-seconds of generation, up to the version `supplied`


class Engine:
    """Running groups. `clock` is the work done per group: wall time, as long as no speed is shared."""

    def __init__(self, concurrency: int | None) -> None:
        self.concurrency = concurrency
        self.now = 0.0
        self.clock = 0.0
        self.running_time = 0.0
        self.running: list[tuple[float, int]] = []

    def start(self, index: int, work: float) -> None:
        heapq.heappush(self.running, (self.clock + work, index))

    def speed(self) -> float:
        running = len(self.running)
        return 1.0 if self.concurrency is None or running <= self.concurrency else self.concurrency / running

    def next_finish(self) -> float:
        """Wall time at which the next group finishes if none starts before."""
        return self.now + max(self.running[0][0] - self.clock, 0.0) / self.speed()

    def finish_one(self) -> int:
        """Advance to the next finish; its index."""
        finish = self.next_finish()
        self.running_time += (finish - self.now) * len(self.running)
        self.clock, index = heapq.heappop(self.running)
        self.now = finish
        return index

    def idle_until(self, time: float) -> None:
        """Advance to a time before the next finish."""
        self.clock += (time - self.now) * self.speed()
        self.running_time += (time - self.now) * len(self.running)
        self.now = time

    def abort(self, indices: set[int]) -> None:
        self.running = [item for item in self.running if item[1] not in indices]
        heapq.heapify(self.running)


@dataclass
class _Run:
    """The state of one simulation."""

    policy: Policy
    queue: GroupQueue
    engine: Engine
    durations: list[float]
    predicted: list[float] | None

    def __post_init__(self) -> None:
        groups = len(self.durations)
        self.started, self.trained, self.held = [-1] * groups, [-1] * groups, [0] * groups
        self.start_time, self.finish_time = [float("nan")] * groups, [float("nan")] * groups
        self.order: list[int] = []
        self.version_time = [0.0]
        self.supplied, self.running_time = 0, 0.0

    def offer(self) -> None:
        queue, predicted = self.queue, self.predicted
        missing = self.policy.lookahead - queue.fresh
        for index in range(queue.offered, min(queue.offered + missing, len(self.durations))):
            queue.offer(predicted=None if predicted is None else predicted[index])
        queue.closed = queue.offered == len(self.durations)

    def new_version(self) -> None:
        """Evict, then admit."""
        queue, engine = self.queue, self.engine
        evicted = self.policy.evict(queue)
        for group in evicted:
            queue.drop(group)
        if evicted:
            engine.abort({group.index for group in evicted})
        self.offer()
        chosen = self.policy.admit(queue)
        queue.start(chosen)
        for group in chosen:
            self.started[group.index] = queue.version
            self.held[group.index] = group.held(queue.version)
            self.start_time[group.index] = engine.now
            engine.start(group.index, self.durations[group.index])
        if chosen:
            self.supplied, self.running_time = queue.version, engine.running_time

    def finish_one(self) -> None:
        index = self.engine.finish_one()
        self.finish_time[index] = self.engine.now
        self.queue.finish(index)

    def step(self, train_time: float) -> None:
        """Wait for a batch and train it."""
        queue, engine = self.queue, self.engine
        batch = self.policy.select(queue)
        while batch is None:
            if not engine.running:
                raise RuntimeError(f"{self.policy} waits at version {queue.version}, and nothing is running")
            self.finish_one()
            batch = self.policy.select(queue)
        queue.take(batch)
        for group in batch:
            self.trained[group.index] = queue.version
            self.order.append(group.index)
        end = engine.now + train_time
        while engine.running and engine.next_finish() <= end:
            self.finish_one()
        engine.idle_until(end)
        queue.trained()
        self.version_time.append(end)


def simulate(
    policy: Policy,
    durations: np.ndarray,
    *,
    batch: int,
    train_time: float = 1.0,
    predicted: np.ndarray | None = None,
    engine_concurrency: int | None = None,
) -> Trace:
    """Run a policy until every prompt of the stream has been trained or dropped.

    Raises:
        RuntimeError: the policy waits although nothing is running, which no policy of this package does.
    """
    run = _Run(
        policy=policy,
        queue=GroupQueue(batch=batch),
        engine=Engine(engine_concurrency),
        durations=durations.tolist(),
        predicted=None if predicted is None else predicted.tolist(),
    )
    run.new_version()
    while run.queue.live or run.queue.waiting:
        run.step(train_time)
        run.new_version()
    return Trace(
        batch=batch,
        bound=policy.bound,
        train_time=train_time,
        durations=durations,
        started=np.array(run.started),
        trained=np.array(run.trained),
        held=np.array(run.held),
        start_time=np.array(run.start_time),
        finish_time=np.array(run.finish_time),
        order=np.array(run.order, dtype=np.int64),
        version_time=np.array(run.version_time),
        supplied=run.supplied,
        running_time=run.running_time,
    )
