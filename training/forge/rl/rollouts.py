"""Rollouts in flight: starts what the policy admits, and gives the batches that it selects.

Each sample of a group is an attempt with a session of its own at the gateway; its outcome goes into the pool,
and the group is ready when all its samples have ended. An attempt that infrastructure broke is made again, a
few times; one that takes too long, or that nobody can judge, ends as partial. So every group ends, and
nothing is dropped that the policy does not drop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from training.forge.gateway.faults import Fault
from training.forge.gateway.gateway import Gateway
from training.forge.pool.ledger import Ledger
from training.forge.pool.pool import STOPPED, Pool, PoolClosed
from training.forge.pool.records import OUTCOME, Batch, Reward
from training.forge.rl.domain import Domain, Unjudged
from training.forge.rl.samples import BASELINE
from training.forge.rl.settings import RlConfig
from training.forge.scheduler.policies import Policy
from training.forge.scheduler.queue import Group
from training.trainer.interruption import Flag
from warehouse.errors import FactoryError

POLL_SECONDS = 1.0
UNREWARDED_SECONDS = 2.0
BETWEEN = "\x1f"  # a prompt of the stream: domain, then the domain's own key
UNJUDGED, TOO_LONG = "unjudged", "too_long"


@dataclass
class Stream:
    """The prompts of all domains in one order that depends on the seed alone."""

    domains: Mapping[str, Domain]
    shares: Mapping[str, float]
    seed: int
    offered: int = 0

    def __post_init__(self) -> None:
        self._prompts = {name: domain.prompts(self.seed) for name, domain in self.domains.items()}
        self._order = self._names()
        skip, self.offered = self.offered, 0
        self.next(skip)

    def next(self, count: int) -> list[tuple[str, float | None]]:
        """The next prompts, as the ledger keeps them."""
        found = []
        for name, _ in zip(self._order, range(count), strict=False):
            prompt = next(self._prompts[name])
            found.append((f"{name}{BETWEEN}{prompt.key}", prompt.predicted))
        self.offered += count
        return found

    def _names(self) -> Iterator[str]:
        rng, names = np.random.default_rng(self.seed), sorted(self.domains)
        shares = np.array([self.shares[name] for name in names])
        while True:
            yield names[0] if len(names) == 1 else str(rng.choice(names, p=shares / shares.sum()))


@dataclass
class Rollouts:
    """What runs. One event loop owns it."""

    config: RlConfig
    pool: Pool
    ledger: Ledger
    policy: Policy
    gateway: Gateway
    url: str
    """Where the gateway listens."""
    stream: Stream
    running: dict[tuple[int, int], asyncio.Task[None]] = field(default_factory=dict)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def batch(self, stop: Flag) -> Batch | None:
        """The next batch, committed; None when it is to stop before there is one.

        Raises FactoryError when what runs cannot go on.
        """
        while not stop.is_set():
            self.start()
            chosen = self.policy.select(self.ledger.queue)
            if chosen is not None:
                return self.ledger.take(chosen)
            self._ended.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), POLL_SECONDS)
            self._raise_failed()
            # a reward is kept before its trajectory ends: what has ended without one gets none
            self.pool.overdue(end_seconds=self._patience(), reward_seconds=UNREWARDED_SECONDS)
            self.ledger.settle()
        return None

    def start(self) -> None:
        """Starts what the policy admits now, and samples that a killed run left open."""
        queue = self.ledger.queue
        if gone := self.policy.evict(queue):
            self.ledger.drop(gone)
        lacking = max(self.policy.lookahead - queue.fresh, 0)
        if lacking and not queue.closed:
            self.ledger.offer(self.stream.next(lacking))
        if admitted := self.policy.admit(queue):
            self.ledger.start(admitted)
        self.open_missing()

    def open_missing(self) -> None:
        """Starts attempts at samples of live groups that nobody works on."""
        for group in self.ledger.queue.live.values():
            if group.finished or any(key[0] == group.index for key in self.running):
                continue
            for sample in self.pool.missing(group.index):
                key = (group.index, sample)
                self.running[key] = asyncio.create_task(self._sample(group, sample))

    async def stop(self) -> None:
        """Ends what runs; the same run goes on with those samples."""
        tasks = list(self.running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.running.clear()

    async def _sample(self, group: Group, sample: int) -> None:
        """Attempts until one has ended that infrastructure did not break.

        The next attempt is opened before the broken one's end is recorded: a kill between the two would
        leave a sample that has ended without an outcome, and nobody would make it again.
        """
        trajectory: str | None = self.pool.open(group.index, sample)
        try:
            for number in range(self.config.tries):
                assert trajectory is not None
                reason, following = STOPPED, None
                try:
                    reason = await self._attempt(group, sample, trajectory, number)
                    if reason.startswith(UNJUDGED) and number + 1 < self.config.tries:
                        with suppress(PoolClosed):  # it was given up meanwhile
                            following = self.pool.open(group.index, sample, lost=reason)
                finally:
                    with suppress(FactoryError, Fault):  # its end is known already
                        await self.gateway.end(trajectory, reason)
                if following is None:
                    return
                trajectory = following
        finally:
            self._ended.set()

    async def _attempt(self, group: Group, sample: int, trajectory: str, number: int) -> str:
        """Why it ended early; empty: as it should, and it is judged."""
        name, _, key = group.prompt.partition(BETWEEN)
        session, began = self.gateway.open(trajectory), time.monotonic()
        session.drawn_as = self._drawn_as(trajectory, group, sample, number)
        try:
            async with asyncio.timeout(self.config.rollout_seconds):
                judged = await self.stream.domains[name].attempt(
                    key, f"{self.url}/s/{session.secret}/v1", session.drawn_as
                )
            rewards = [Reward(trajectory, OUTCOME, judged.score, evidence=judged.evidence)]
            if judged.baseline_seconds:
                rewards.append(Reward(trajectory, BASELINE, judged.baseline_seconds))
            self.pool.reward(rewards)
        except Unjudged as error:
            return f"{UNJUDGED}: {error}"[:200]
        except TimeoutError:
            return f"{TOO_LONG}: {time.monotonic() - began:.0f} s"
        except PoolClosed:
            return TOO_LONG  # it was given up meanwhile
        return ""

    def _drawn_as(self, trajectory: str, group: Group, sample: int, number: int) -> str:
        """The name that an attempt's chance is drawn from: of its tokens, and of what its domain makes."""
        return trajectory

    def _raise_failed(self) -> None:
        """Forgets what has ended. An error that no attempt foresees ends the run."""
        for key, task in list(self.running.items()):
            if task.done():
                del self.running[key]
                if not task.cancelled() and (error := task.exception()) is not None:
                    raise error

    def _patience(self) -> float:
        return self.config.rollout_seconds * self.config.tries + 60
