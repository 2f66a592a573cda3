"""One optimiser step: gradients of all its micro-batches, one clip, one update, one move of the routers.

The same for every loss. Weights of samples hold their normaliser, so how a step is cut into micro-batches
changes nothing but memory. Selection biases move from the counts of the step, by sequences' tokens, and only
if asked to: they are frozen in RL.

Shapes: L routers, E experts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from training.model.model import Model
from training.objective import Objective
from training.settings import OptimizerConfig
from training.trainer.optimizer import adamw
from training.trainer.phases import Phase, enter, routers
from training.trainer.sharding import Group, clip_
from training.trees.merge import Batch
from training.trees.step import Tally, run_step
from warehouse.errors import FactoryError


class Diverged(FactoryError):
    """The loss or the gradient is no longer finite."""


@dataclass(frozen=True)
class StepResult:
    """What a step added up to, before its update; `imbalance`: each router's fullest expert over the mean."""

    tally: Tally
    grad_norm: float
    imbalance: tuple[float, ...]


class Trainer:
    """Weights and optimiser; of this process's share where `group` has several."""

    def __init__(self, model: Model, config: OptimizerConfig, group: Group | None = None) -> None:
        self.model = model
        self.config = config
        self.group = group or Group()
        self.optimizer = adamw(model, config)

    def step(
        self,
        batches: Iterable[Batch],
        objective: Objective,
        *,
        lr: float,
        bias_rate: float = 0.0,
        phase: Phase = Phase.JOINT,
        idle: Sequence[Batch] = (),
    ) -> StepResult:
        """Learns from `batches`. Raises `Diverged` before any weight changes if something is not finite.

        With several workers these are this one's, and each worker has as many of `batches` and `idle`, which
        weigh nothing and are not counted, together.
        """
        enter(self.model, phase)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        tally = run_step(self.model, batches, objective)
        if idle:
            run_step(self.model, idle, objective)
        tally = self.group.total(tally)
        norm = clip_([w for w in self.model.parameters() if w.grad is not None], self.config.clip_norm)
        if not (torch.isfinite(torch.tensor(tally.loss)) and torch.isfinite(norm)):
            raise Diverged(f"loss {tally.loss}, gradient norm {norm.item()}")
        self.optimizer.step()
        counts_LE = tally.expert_counts_LE
        assert counts_LE is not None, "a step has at least one batch"
        self._balance(counts_LE, bias_rate, phase)
        full_L = counts_LE.amax(1) / counts_LE.double().mean(1).clamp(min=1)
        return StepResult(tally, norm.item(), tuple(full_L.tolist()))

    def _balance(self, counts_LE: torch.Tensor, rate: float, phase: Phase) -> None:
        if not rate:
            return
        first = len(self.model.blocks) if phase is Phase.MTP else 0
        for router, counts_E in list(zip(routers(self.model), counts_LE, strict=True))[first:]:
            router.balance(counts_E, rate)
