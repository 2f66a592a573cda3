"""What workers are given to do in tests of what becomes of them. The parent pickles these by name."""

from __future__ import annotations

import time

from training.trainer.interruption import Flag
from training.trainer.sharding import Group, process_group
from training.trainer.workers import Progress
from warehouse.errors import FactoryError


def meet(group: Group, progress: Progress, stop: Flag) -> int:
    """Agrees with the others twice."""
    with process_group(group):
        for step in range(2):
            assert group.agreed(step == group.rank) == (step == 0)
            progress(step, float(group.rank))
    return group.rank + 40


def mendable(group: Group, progress: Progress, stop: Flag) -> None:
    """The second finds what a person can mend; the first waits for it."""
    with process_group(group):
        if group.rank == 1:
            raise FactoryError("The disk of worker 1 is full; free some space.")
        group.agreed(True)


def mistaken(group: Group, progress: Progress, stop: Flag) -> None:
    """The second has a fault."""
    with process_group(group):
        if group.rank == 1:
            raise KeyError("a fault of worker 1")
        group.agreed(True)


def silent(group: Group, progress: Progress, stop: Flag) -> None:
    """The second does not come to where the first waits."""
    with process_group(group):
        progress(0, 0.0)
        if group.rank == 1:
            time.sleep(1000)
        group.agreed(True)
