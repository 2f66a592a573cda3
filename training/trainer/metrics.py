"""What is recorded of a step: a line of `metrics.jsonl`, a row in the warehouse, points in TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from warehouse.errors import FactoryError
from warehouse.records import TrainingRun, to_json

SUMMARY_STEP = -1  # the row of a run's settings and outcome


@dataclass(frozen=True)
class StepMetrics:
    """One optimiser step. Losses are in nats per learnt token, before the step's update.

    `loss` is the trunk's, `mtp_loss` the mean over MTP modules; `tokens` are those of the examples,
    `computed` those left when shared prefixes are computed once; `imbalance` is, by router, the fullest
    expert over the mean; `seconds` of the step.
    """

    step: int
    stage: str
    phase: str
    loss: float
    mtp_loss: float | None
    lr: float
    grad_norm: float
    tokens: int
    computed: int
    learnt: int
    imbalance: tuple[float, ...]
    seconds: float

    @classmethod
    def read(cls, line: str) -> StepMetrics:
        """A step from its line. Raises ValueError, TypeError or KeyError where it is not one."""
        data = json.loads(line)
        return cls(**data | {"imbalance": tuple(data["imbalance"])})

    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"


def records(run_id: str, metrics: Sequence[StepMetrics], summary: dict[str, Any] | None) -> list[TrainingRun]:
    """A row per step and, once the run has an outcome, one with it and the settings."""

    def row(step: int, loss: float | None, content: dict[str, Any]) -> TrainingRun:
        return TrainingRun(
            training_run_id=run_id, stage="sft", step=step, loss=loss, metrics=to_json(content)
        )

    rows = [row(m.step, m.loss, asdict(m)) for m in metrics]
    if summary:
        rows.append(row(SUMMARY_STEP, metrics[-1].loss if metrics else None, summary))
    return rows


class Board:
    """Points for TensorBoard in a folder; those of steps from `first` on replace what was there."""

    def __init__(self, folder: Path, first: int) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise FactoryError(
                "Training writes TensorBoard files with tensorboardX, which is missing: run "
                "`pip install 'verifactory[train]'`."
            ) from error
        self._writer = SummaryWriter(str(folder), purge_step=first)

    def add(self, metrics: StepMetrics) -> None:
        points = {
            "loss/trunk": metrics.loss,
            "loss/mtp": metrics.mtp_loss,
            "optimizer/lr": metrics.lr,
            "optimizer/grad_norm": metrics.grad_norm,
            "speed/tokens_per_second": metrics.tokens / metrics.seconds,
            "experts/fullest_over_mean": max(metrics.imbalance),
        }
        for name, value in points.items():
            if value is not None:
                self._writer.add_scalar(name, value, metrics.step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
