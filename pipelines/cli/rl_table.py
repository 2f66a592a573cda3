"""An RL run as it goes: a table of its last steps on a terminal, a line for each step anywhere else."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.live import Live
from rich.table import Table

from pipelines.cli.terminal import err
from training.forge.rl.metrics import RlMetrics

SHOWN = 12
COLUMNS = ("step", "outcome", "loss", "ratio", "cut", "stale", "left out", "wait s", "train s", "sync s")


@contextmanager
def told_live(steps: int) -> Generator[Callable[[RlMetrics], None]]:
    """What to call with each step; of how many."""
    last: deque[RlMetrics] = deque(maxlen=SHOWN)
    if not err.is_terminal:
        yield lambda m: err.print(
            "  ".join(f"{n} {v}" for n, v in zip(COLUMNS, _cells(m, steps), strict=True))
        )
        return
    with Live(console=err, auto_refresh=False) as live:

        def told(metrics: RlMetrics) -> None:
            last.append(metrics)
            table = Table(*COLUMNS)
            for row in last:
                table.add_row(*_cells(row, steps))
            live.update(table, refresh=True)

        yield told


def _cells(m: RlMetrics, steps: int) -> tuple[str, ...]:
    outcome = "none" if m.score is None else f"{m.score:.3f}"
    return (
        f"{m.step + 1}/{steps}", outcome, f"{m.loss:.4f}", f"{m.ratio_mean:.3f}", f"{m.cut:.1%}",
        f"{m.staleness_mean:.1f} ≤ {m.staleness_max}", str(m.left_out),
        f"{m.wait_seconds:.1f}", f"{m.train_seconds:.1f}", f"{m.sync_seconds:.1f}",
    )  # fmt: skip
