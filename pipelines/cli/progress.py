"""A run as it goes: a bar for each source on a terminal, and a line for each stage anywhere else."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipelines.cli.terminal import err
from warehouse.query import plain


def bars() -> Progress:
    """Where the bars of sources stand; it shows nothing where there is no terminal."""
    told = TextColumn("{task.description}", markup=False)
    return Progress(
        told, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=err, transient=True, disable=not err.is_terminal,
    )  # fmt: skip


class SourceProgress:
    """See `pipelines.factory.Progress`; of how many is known once mining ended."""

    def __init__(self, bar: Progress, source: str) -> None:
        self._bar = bar
        self._source = plain(source)
        self._shown = bar.add_task(self._source, total=None)

    def mined(self, items: int) -> None:
        self._bar.update(self._shown, total=items)

    def stage(self, item: str, stage: str, outcome: str) -> None:
        self._bar.update(self._shown, description=f"{self._source}  {item[:8]} {stage} {outcome}")
        if not err.is_terminal and outcome != "…":
            err.print(f"{self._source}  {item[:8]}  {stage}: {outcome}", soft_wrap=True)

    def ended(self, item: str) -> None:
        self._bar.advance(self._shown)

    def close(self) -> None:
        self._bar.remove_task(self._shown)
