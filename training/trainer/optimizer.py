"""AdamW and the schedule of its rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from training.settings import OptimizerConfig


def adamw(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Decay on matrices, not on norms. Parameters without a gradient are left alone, decay included."""
    matrices = [w for w in model.parameters() if w.ndim >= 2]
    vectors = [w for w in model.parameters() if w.ndim < 2]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
    )


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Linear warm-up to the peak, then down to `final_share` of it at the last step."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / (config.warmup_steps + 1)
    done = (step - config.warmup_steps) / max(1, steps - 1 - config.warmup_steps)
    match config.schedule:
        case "cosine":
            height = (1 + math.cos(math.pi * done)) / 2
        case "linear":
            height = 1 - done
        case "constant":
            height = 1.0
    return config.lr * (config.final_share + (1 - config.final_share) * height)
