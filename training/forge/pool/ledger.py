"""The scheduler's queue, kept in the pool: the same calls as `GroupQueue`, each on disk before it returns.

    ledger = Ledger(pool)                        # whatever was there before a kill
    for batch in ledger.replay(checkpoint):      # steps that the checkpoint does not have yet
        train(batch)                             # of the very trajectories they had
        ledger.trained(batch.step)
    policy reads ledger.queue; the loop calls ledger.offer, start, settle, take, trained

One process owns it. Completions and rewards come from others meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from training.forge.pool.pool import Pool, PoolConflict
from training.forge.pool.records import Batch
from training.forge.scheduler.queue import Group, GroupQueue


@dataclass
class Ledger:
    """A durable `GroupQueue`."""

    pool: Pool
    queue: GroupQueue = field(init=False)

    def __post_init__(self) -> None:
        state = self.pool.state()
        self.queue = GroupQueue.restored(state.batch, state.version, state.groups, state.offered)
        self.queue.closed = state.closed
        self.queue.take(self.queue.live[index] for index in state.taken)

    def replay(self, checkpoint: int) -> Iterator[Batch]:
        """The batches that were committed from version `checkpoint` on, the one in training included.

        A batch that the checkpoint has, though the pool does not know that it was trained, is counted as
        trained: the process died between the two.
        """
        version = self.queue.version
        if checkpoint > version and self.queue.training:
            self.trained(version)
            version += 1
        if checkpoint > version:
            raise PoolConflict(
                f"The checkpoint has version {checkpoint}, the {self.pool.name} {version}: "
                "they are not of one run."
            )
        for step in range(checkpoint, version + bool(self.queue.training)):
            batch = self.pool.batch(step)
            assert batch is not None, "a version without its batch"
            yield batch

    def offer(self, prompts: Iterable[tuple[str, float | None]]) -> list[Group]:
        """Appends prompts to the stream, with their predicted lengths."""
        groups = [self.queue.offer(prompt, predicted) for prompt, predicted in prompts]
        self._keep(groups)
        return groups

    def close(self) -> None:
        """Nothing more will be offered."""
        self.queue.closed = True
        self._keep([])

    def start(self, chosen: list[Group]) -> None:
        """Starts groups. Their samples may be opened from now on."""
        before = {index: group.passed for index, group in self.queue.waiting.items()}
        self.queue.start(chosen)
        passed = [group for index, group in self.queue.waiting.items() if group.passed != before[index]]
        self._keep([*chosen, *passed])

    def settle(self, only: Sequence[int] | None = None) -> list[Group]:
        """Groups that have become ready: all their samples are judged or given up. `only`: see the pool."""
        ready = self.pool.settle(only)
        for index in ready:
            self.queue.finish(index)
        return [self.queue.live[index] for index in ready]

    def restart(self, index: int) -> Group:
        """Starts a live group anew, with the weights of now."""
        group = self.queue.restart(index)
        self.pool.restart(group)
        return group

    def drop(self, groups: list[Group]) -> None:
        """Gives groups up."""
        for group in groups:
            self.queue.drop(group)
        self.pool.drop(groups)

    def take(self, chosen: list[Group]) -> Batch:
        """Commits a batch: what it is made of does not change any more."""
        batch = self.pool.take(self.queue.version, [group.index for group in chosen])
        self.queue.take(chosen)
        return batch

    def trained(self, step: int) -> None:
        """The step is in the checkpoint. A replayed one was counted before."""
        self.pool.trained(step)
        if step == self.queue.version:
            self.queue.trained()

    def _keep(self, groups: list[Group]) -> None:
        queue = self.queue
        self.pool.keep(groups, version=queue.version, offered=queue.offered, closed=queue.closed)
