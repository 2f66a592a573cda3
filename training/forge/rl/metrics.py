"""What is recorded of an RL step: a line of `metrics.jsonl`, a row in the warehouse; and a run's plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from warehouse.records import TrainingRun, to_json

SUMMARY_STEP = -1  # the row of a run's settings and outcome


@dataclass(frozen=True)
class RlMetrics:
    """One step. `score` is the mean outcome of its rollouts, `reward` the mean composite reward.

    `staleness_*` in versions, of the oldest token of each completion; `tokens` are those of the samples,
    `computed` those left when prefixes are computed once; `ratio_mean` of new to behaviour probability,
    `cut` the share of tokens above ratio_max. Seconds: waiting for the batch, training, giving weights away.
    """

    step: int
    score: float | None
    reward: float | None
    rollouts: int
    loss: float
    grad_norm: float
    lr: float
    ratio_mean: float
    ratio_max: float
    cut: float
    staleness_mean: float
    staleness_max: int
    tokens: int
    computed: int
    response_tokens: int
    malformed: int
    left_out: int
    wait_seconds: float
    train_seconds: float
    sync_seconds: float

    @classmethod
    def read(cls, line: str) -> RlMetrics:
        """A step from its line. Raises ValueError or TypeError where it is not one."""
        return cls(**json.loads(line))

    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"


def records(run_id: str, metrics: Sequence[RlMetrics], summary: dict[str, Any] | None) -> list[TrainingRun]:
    """A row per step and, once the run has an outcome, one with it and the settings."""
    rows = [
        TrainingRun(training_run_id=run_id, stage="rl", step=m.step, loss=m.loss, metrics=to_json(asdict(m)))
        for m in metrics
    ]
    if summary:
        loss = metrics[-1].loss if metrics else None
        rows.append(
            TrainingRun(
                training_run_id=run_id, stage="rl", step=SUMMARY_STEP, loss=loss, metrics=to_json(summary)
            )
        )
    return rows


def plot(metrics: Sequence[RlMetrics], path: Path) -> Path:
    """Outcome, staleness and ratio by step, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(3, 1, figsize=(8, 8), sharex=True, layout="constrained")
    steps = [m.step for m in metrics]
    scores = np.array([np.nan if m.score is None else m.score for m in metrics])
    axes[0].plot(steps, scores, color="#9ecae1", label="mean outcome of a step")
    width = max(1, len(steps) // 20)
    smooth = [_mean(scores[max(0, i - width + 1) : i + 1]) for i in range(len(scores))]
    axes[0].plot(steps, smooth, color="#08519c", label=f"mean of {width} steps")
    axes[0].set(ylabel="outcome", ylim=(-0.02, 1.02))
    axes[0].legend(loc="upper left")
    axes[1].plot(steps, [m.staleness_mean for m in metrics], color="#31a354", label="mean")
    axes[1].plot(steps, [m.staleness_max for m in metrics], color="#a1d99b", label="largest")
    axes[1].set(ylabel="staleness, versions")
    axes[1].legend(loc="upper left")
    axes[2].plot(steps, [m.ratio_mean for m in metrics], color="#756bb1")
    axes[2].set(ylabel="mean importance ratio", xlabel="step")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _mean(scores: np.ndarray) -> float:
    """Of what there is."""
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if len(known) else float("nan")
