"""Curves of a run as PNG: its losses, and how evenly its experts were used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from training.trainer.metrics import StepMetrics
from warehouse.errors import FactoryError, storage_error
from warehouse.files import renamed_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot(metrics: Sequence[StepMetrics], trunk_layers: int, folder: Path) -> list[Path]:
    """Writes `loss.png` and `balance.png` to `folder`."""
    return [
        _draw(folder / "loss.png", lambda axes: _losses(axes, metrics)),
        _draw(folder / "balance.png", lambda axes: _balance(axes, metrics, trunk_layers)),
    ]


def _draw(path: Path, fill: Callable[[Axes], None]) -> Path:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise FactoryError(
            "Plots need matplotlib, which is missing: run `pip install 'verifactory[train]'`."
        ) from error
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    fill(axes)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    try:
        with renamed_file(path) as part:
            figure.savefig(part, format="png", dpi=120)
    except OSError as error:
        raise storage_error(error, path) from error
    return path


def _losses(axes: Axes, metrics: Sequence[StepMetrics]) -> None:
    steps = [m.step for m in metrics]
    axes.plot(steps, [m.loss for m in metrics], label="trunk")
    if any(m.mtp_loss is not None for m in metrics):
        axes.plot(steps, [m.mtp_loss for m in metrics], label="MTP, mean of depths", linestyle="--")
    for before, after in pairwise(metrics):
        if (before.stage, before.phase) != (after.stage, after.phase):
            axes.axvline(after.step - 0.5, color="grey", linewidth=0.8)
            text = f"{after.stage} ({after.phase})"
            axes.text(after.step, 0.97, text, transform=axes.get_xaxis_transform(), va="top", fontsize=8)
    axes.set_ylabel("nats per learnt token")


def _balance(axes: Axes, metrics: Sequence[StepMetrics], trunk_layers: int) -> None:
    steps = [m.step for m in metrics]
    for router in range(len(metrics[0].imbalance)):
        mtp = router >= trunk_layers
        label = f"MTP {router - trunk_layers + 1}" if mtp else f"block {router}"
        axes.plot(steps, [m.imbalance[router] for m in metrics], label=label, linestyle="--" if mtp else "-")
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.set_ylabel("fullest expert over the mean")
