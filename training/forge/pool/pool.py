"""What a data pool has to do, whatever it is kept in.

Writers (gateways, verifiers) call `open`, `add`, `end` and `reward`, from any number of processes. One
scheduler calls the rest, through the `ledger`; trainers read `batch` and `trajectory`.

A backend keeps these promises; tests/training/forge/pool holds it to them with real processes and SIGKILL:

- **What a call returned from is kept**, whichever process is killed, and a call that was cut off is kept
  whole or not at all.
- **Twice is once.** Everything has a natural key. A writer that does not know whether a call got through
  makes it again; the same content changes nothing, other content under the same key raises `PoolConflict`.
- **An end is an end.** After `end` a trajectory takes no completion, after its group is settled no reward:
  what a batch is made of cannot change under it. Such writes raise `PoolClosed`.
- **A batch is taken once.** `take` freezes which trajectories are in it; a step, a group and its trajectories
  are in one batch only.
- **No wait without an end.** Calls that wait for other processes take a deadline and name whom they wait for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from training.forge.pool.records import Batch, Completion, Reward, Trajectory
from training.forge.scheduler.queue import Group
from warehouse.errors import FactoryError

LOST, STOPPED = "lost", "stopped"  # why an attempt ended that another one takes the place of


class PoolConflict(FactoryError):
    """Something else is kept under this key."""

    reason = "pool_conflict"


class PoolClosed(FactoryError):
    """The trajectory or group takes nothing more."""

    reason = "pool_closed"


class PoolTimeout(FactoryError):
    """A wait ran out."""

    reason = "pool_timeout"


@dataclass(frozen=True)
class Overdue:
    """A trajectory that was given up: it did not end in time, or its reward never came."""

    trajectory: str
    reason: str


@dataclass(frozen=True)
class State:
    """What a killed scheduler goes on from."""

    batch: int
    samples: int
    version: int
    offered: int
    closed: bool
    groups: tuple[Group, ...]
    """Waiting, running and ready ones; the finished in the order in which they finished."""
    taken: tuple[int, ...]
    """Groups of the batch that is being trained."""


class Pool(Protocol):
    """A data pool."""

    @property
    def name(self) -> str:
        """How errors name it."""
        ...

    def open(self, group: int, sample: int, *, lost: str = LOST) -> str:
        """A new attempt at a sample of a running group, by its trajectory's name. Earlier ones are lost;
        `lost` is the reason of one that has not ended."""
        ...

    def missing(self, group: int) -> list[int]:
        """Samples of a group that have neither ended nor been given up, were stopped with the process that
        made them (reason STOPPED), or were never opened."""
        ...

    def add(self, completions: Iterable[Completion]) -> None:
        """Keeps completions, all or none. A trajectory that nobody opened belongs to no group."""
        ...

    def end(self, trajectory: str, reason: str = "") -> None:
        """No more completions will come."""
        ...

    def reward(self, rewards: Iterable[Reward]) -> None:
        """Keeps rewards, all or none; they may come before the end or after it."""
        ...

    def trajectory(self, trajectory: str) -> Trajectory:
        """All that is known of one."""
        ...

    def ended(self) -> list[str]:
        """Trajectories that have ended and have an outcome, by group, sample and name; lost attempts are
        left out."""
        ...

    def overdue(self, *, end_seconds: float, reward_seconds: float) -> list[Overdue]:
        """Gives up what has been open, or ended without an outcome, for longer: it ends as partial."""
        ...

    def settle(self, only: Sequence[int] | None = None) -> list[int]:
        """Groups all of whose samples have ended and are judged or given up, in the order of this; once.

        With `only` these groups alone, in the order in which they are given.
        """
        ...

    def state(self) -> State:
        """The scheduler's state."""
        ...

    def keep(self, groups: Sequence[Group], *, version: int, offered: int, closed: bool) -> None:
        """The scheduler's state after a change: these groups are as they are given."""
        ...

    def restart(self, group: Group) -> None:
        """A live group starts anew: its attempts are lost, and it has not finished."""
        ...

    def drop(self, groups: Sequence[Group]) -> None:
        """Groups that are given up."""
        ...

    def take(self, step: int, groups: Sequence[int]) -> Batch:
        """Commits the batch of a step."""
        ...

    def trained(self, step: int) -> None:
        """The step has been trained: its weights are version `step + 1`."""
        ...

    def batch(self, step: int) -> Batch | None:
        """The batch of a step, if it was committed."""
        ...

    def wait_batch(self, step: int, seconds: float) -> Batch:
        """The batch of a step, as soon as it is committed. Raises PoolTimeout."""
        ...

    def close(self) -> None:
        """Lets go of it."""
        ...
