"""From rewards to each token's advantage and weight: composite reward, reward-to-go, baseline, normaliser.

A trajectory is a list of steps (one completion each); every step is a training sample of its own, and credit
is assigned over the whole episode (M2 §6.1):

    r_t = α · process_t + β · speed + performance        speed and performance at the last step
    G_t = Σ_{τ ≥ t} γ^{τ−t} r_τ
    Â_t = G_t − B                                       B for the whole trajectory

The report gives neither α, β, γ nor h: they are settings. Pure functions on numpy float64.

Shapes: T steps of a trajectory, G trajectories of a group, S tokens of a sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from warehouse.errors import FactoryError

Floats = NDArray[np.float64]


class Baseline(StrEnum):
    """What is subtracted from every reward-to-go of a trajectory."""

    NONE = "none"
    GROUP_MEAN = "group_mean"  # the mean return of the group's trajectories
    LEAVE_ONE_OUT = "leave_one_out"  # the mean return of the others
    TRAJECTORY_MEAN = "trajectory_mean"  # the mean of the trajectory's own rewards-to-go


class Scale(StrEnum):
    """What advantages are divided by."""

    NONE = "none"
    GROUP_STD = "group_std"  # the standard deviation of the group's returns (n − 1), plus epsilon


class Normalizer(StrEnum):
    """Whose learnt tokens a token's weight is divided by."""

    GROUP = "group"  # its group's, and by the number of groups: the report's E[1/Σ|o_i| …]
    GLOBAL = "global"  # the step's


class AdvantageConfig(BaseModel):
    """How rewards become advantages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gamma: float = Field(1.0, ge=0, le=1, description="Discount per step of reward-to-go.")
    baseline: Baseline = Field(Baseline.GROUP_MEAN, description="What is subtracted from each reward-to-go.")
    scale: Scale = Field(Scale.NONE, description="What advantages are divided by.")
    scale_epsilon: float = Field(1e-6, gt=0, description="Added to the standard deviation of group_std.")


class RewardConfig(BaseModel):
    """Weights of the composite reward; performance counts 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: float = Field(0.1, ge=0, description="Weight of the process reward of each step.")
    beta: float = Field(0.05, ge=0, description="Weight of the speed reward.")
    tool_format: float = Field(1.0, ge=0, description="Penalty of a step with a malformed tool call.")
    language_mixing: float = Field(
        1.0, ge=0, description="Penalty times the share of letters of a foreign script."
    )
    reasoning: float = Field(
        1.0, ge=0, description="Penalty of a step whose reasoning is not one closed block."
    )


def speed_reward(seconds: float, baseline_seconds: float) -> float:
    """h(T/T_base) = 2/(1 + T/T_base) − 1: 1 at once, 0 at the baseline, −1 never; wall clock, decreasing."""
    if not (seconds >= 0 and baseline_seconds > 0 and math.isfinite(seconds + baseline_seconds)):
        raise FactoryError(
            f"A completion of {seconds} s against a baseline of {baseline_seconds} s has no speed."
        )
    return 2 / (1 + seconds / baseline_seconds) - 1


def composite(process_T: Sequence[float], speed: float, performance: float, config: RewardConfig) -> Floats:
    """r_t of each step; `process_T` are penalties ≤ 0 (`process.process_reward`)."""
    if not len(process_T):
        raise FactoryError("A trajectory without steps has no reward; drop it.")
    reward_T = config.alpha * np.asarray(process_T, np.float64)
    reward_T[-1] += config.beta * speed + performance
    return reward_T


def reward_to_go(reward_T: Sequence[float] | Floats, gamma: float = 1.0) -> Floats:
    """G_t = Σ_{τ ≥ t} γ^{τ−t} r_τ."""
    go_T = np.asarray(reward_T, np.float64).copy()
    for step in range(len(go_T) - 2, -1, -1):
        go_T[step] += gamma * go_T[step + 1]
    return go_T


def group_advantages(rewards_GT: Sequence[Sequence[float] | Floats], config: AdvantageConfig) -> list[Floats]:
    """Â of each step of each trajectory of a group (all tokens of a step share it)."""
    for index, reward_T in enumerate(rewards_GT):
        if not len(reward_T) or not np.isfinite(reward_T).all():
            raise FactoryError(
                f"Trajectory {index} of a group has no rewards, or one that is not finite; drop or mend it."
            )
    go_GT = [reward_to_go(reward_T, config.gamma) for reward_T in rewards_GT]
    return_G = np.array([go_T[0] for go_T in go_GT])
    divisor = _deviation(return_G) + config.scale_epsilon if config.scale is Scale.GROUP_STD else 1.0
    baselines = _baselines(go_GT, return_G, config.baseline)
    return [(go_T - baseline) / divisor for go_T, baseline in zip(go_GT, baselines, strict=True)]


def _deviation(return_G: Floats) -> float:
    return float(return_G.std(ddof=1)) if len(return_G) > 1 else 0.0


def _baselines(go_GT: list[Floats], return_G: Floats, baseline: Baseline) -> Floats:
    match baseline:
        case Baseline.NONE:
            return np.zeros(len(return_G))
        case Baseline.GROUP_MEAN:
            return np.full(len(return_G), return_G.mean() if len(return_G) else 0.0)
        case Baseline.TRAJECTORY_MEAN:
            return np.array([go_T.mean() for go_T in go_GT])
        case Baseline.LEAVE_ONE_OUT:
            if len(return_G) < 2:
                raise FactoryError("A leave-one-out baseline needs at least two trajectories in a group.")
            return (return_G.sum() - return_G) / (len(return_G) - 1)


def normalised(masks: Sequence[NDArray], groups: Sequence[int], normalizer: Normalizer) -> list[Floats]:
    """The weight of each token of each sample of a step: its mask over the learnt tokens of group or step.

    `masks` hold 1 (or another weight) where a token is learnt, `groups` the group of each sample. All
    samples of an optimiser step must be here, whichever micro-batch or rank they go to: nothing downstream
    divides again. Learnt tokens are counted from the second of a sample on, since nothing predicts the first.
    """
    weights = [np.asarray(mask, np.float64).copy() for mask in masks]
    for weight_S in weights:
        weight_S[:1] = 0
    totals: dict[int, float] = {}
    for group, weight_S in zip(groups, weights, strict=True):
        totals[group] = totals.get(group, 0.0) + float(weight_S.sum())
    learnt = {group: total for group, total in totals.items() if total > 0}
    if not learnt:
        raise FactoryError("No token of the step is learnt; check the loss masks.")
    if normalizer is Normalizer.GLOBAL:
        learnt = dict.fromkeys(learnt, math.fsum(learnt.values()))
        shares = 1
    else:
        shares = len(learnt)
    return [
        weight_S / (learnt.get(group, 1.0) * shares) for group, weight_S in zip(groups, weights, strict=True)
    ]
