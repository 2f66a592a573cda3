"""Every row of the conformance table, computed as the library computes it and as we do.

The libraries' formulas are written anew here from their sources (TRL f2cd577, verl b178a3c, slime 624b824,
AReaL cbff54d, SkyRL a956457), on padded matrices with response masks as they have them, from group rewards to
the gradient with respect to log-probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training.advantages import AdvantageConfig, Baseline, Normalizer, group_advantages, normalised
from training.conventions import ROWS, Ours, Row, Unit, table
from training.losses import cispo
from training.trees.edges import Sample, edges_of
from training.trees.trie import build_trie
from warehouse.errors import FactoryError

PROMPTS, PER_PROMPT, SAMPLES_EACH, LENGTH = 3, 4, 2, 7
REDUCTIONS = [(Normalizer.GLOBAL, Unit.PROMPT), (Normalizer.GROUP, Unit.PROMPT)]


class Step:
    """Rollouts of some prompts, each leaving two samples of one reward; masks of 1 to 6 learnt tokens."""

    def __init__(self) -> None:
        source = torch.Generator().manual_seed(4)
        rollouts = PROMPTS * PER_PROMPT
        self.rewards = torch.rand(rollouts, generator=source, dtype=torch.float64)
        self.rollout = torch.arange(rollouts).repeat_interleave(SAMPLES_EACH)
        self.prompt = self.rollout // PER_PROMPT
        size = (len(self.rollout), LENGTH)
        learnt = torch.randint(1, LENGTH, (size[0], 1), generator=source)
        self.mask = ((torch.arange(LENGTH) >= 1) & (torch.arange(LENGTH) <= learnt)).double()
        self.logp = (torch.randn(size, generator=source, dtype=torch.float64) - 2).requires_grad_()
        self.old = self.logp.detach() + 1.5 * torch.randn(size, generator=source, dtype=torch.float64)

    def advantages(self, epsilon: float | None) -> Tensor:
        """Group-normed rewards of each sample's rollout, (r − mean) / (std + ε); without ε only centred."""
        grouped = self.rewards.view(PROMPTS, PER_PROMPT)
        centred = grouped - grouped.mean(-1, keepdim=True)
        if epsilon is not None:
            centred = centred / (grouped.std(-1, keepdim=True) + epsilon)
        return centred.flatten()[self.rollout][:, None].expand_as(self.mask)


def trl(
    step: Step, epsilon: float = 0.2, epsilon_high: float | None = None, scale_rewards: str = "group"
) -> Tensor:
    advantages = step.advantages(1e-4 if scale_rewards == "group" else None)
    coef_1 = torch.exp(step.logp - step.old)
    clamped = torch.clamp(coef_1, max=epsilon if epsilon_high is None else epsilon_high).detach()
    per_token_loss = -clamped * advantages * step.logp
    return (per_token_loss * step.mask).sum() / step.mask.sum()


def verl(
    step: Step,
    clip_ratio: float = 0.2,
    clip_ratio_low: float | None = None,
    clip_ratio_high: float | None = None,
    loss_agg_mode: str = "token-mean",
) -> Tensor:
    low = clip_ratio if clip_ratio_low is None else clip_ratio_low
    high = clip_ratio if clip_ratio_high is None else clip_ratio_high
    ratio = torch.exp(torch.clamp(step.logp - step.old, -20.0, 20.0))
    losses = -torch.clamp(ratio, 1 - low, 1 + high).detach() * step.advantages(1e-6) * step.logp
    if loss_agg_mode == "token-mean":
        return (losses * step.mask).sum() / step.mask.sum()
    if loss_agg_mode == "seq-mean-token-mean":
        return ((losses * step.mask).sum(-1) / step.mask.sum(-1)).sum() / len(losses)
    return (losses * step.mask).sum(-1).sum() / step.mask.shape[-1]


def slime(
    step: Step,
    eps_clip: float = 0.2,
    eps_clip_high: float | None = None,
    calculate_per_token_loss: bool = False,
) -> Tensor:
    ratio = (step.logp - step.old).exp()
    truncated = torch.clamp(
        ratio, 1.0 - eps_clip, 1.0 + (eps_clip if eps_clip_high is None else eps_clip_high)
    )
    losses = -truncated.detach() * step.advantages(1e-6) * step.logp
    if calculate_per_token_loss:
        return (losses * step.mask).sum() / step.mask.sum()
    rollouts = int(step.rollout.max()) + 1
    sums = torch.zeros(rollouts, dtype=torch.float64).index_add(0, step.rollout, step.mask.sum(-1))
    return ((losses * step.mask).sum(-1) / sums[step.rollout]).sum() / rollouts


def areal(step: Step, eps_clip: float = 0.2, eps_clip_higher: float | None = None) -> Tensor:
    if eps_clip_higher is None or eps_clip_higher <= 0:
        raise ValueError("CISPO requires a positive eps_clip_higher")
    ratio = torch.exp((step.logp - step.old).detach())
    losses = -torch.clamp(ratio, 1.0 - eps_clip, 1.0 + eps_clip_higher) * step.advantages(None) * step.logp
    mask = step.mask.bool()
    return torch.where(mask, losses, 0).sum() / mask.count_nonzero()


def skyrl(
    step: Step,
    cispo_eps_clip_low: float = 1.0,
    cispo_eps_clip_high: float = 4.0,
    loss_reduction: str = "token_mean",
    grpo_norm_by_std: bool = True,
) -> Tensor:
    advantages = step.advantages(1e-6 if grpo_norm_by_std else None)
    if loss_reduction == "token_mean":
        advantages = advantages / step.mask.sum()
    elif loss_reduction == "sequence_mean":
        advantages = advantages / (len(advantages) * step.mask.sum(-1, keepdim=True))
    elif loss_reduction == "prompt_mean":
        tokens = torch.zeros(PROMPTS, dtype=torch.float64).index_add(0, step.prompt, step.mask.sum(-1))
        advantages = advantages / (PROMPTS * tokens[step.prompt][:, None])
    else:  # token_mean_legacy, four sequences a micro-batch
        parts = advantages.split(4), step.mask.split(4)
        advantages = torch.cat([a / m.sum() / len(parts[0]) for a, m in zip(*parts, strict=True)])
    ratio = torch.exp(torch.clamp(step.logp - step.old, -20.0, 20.0))
    clamped = torch.clamp(ratio, 1 - cispo_eps_clip_low, 1 + cispo_eps_clip_high)
    return (-advantages * clamped.detach() * step.logp * step.mask).sum()


THEIRS: dict[str, Callable[..., Tensor]] = {
    "TRL": trl,
    "verl": verl,
    "slime": slime,
    "AReaL": areal,
    "SkyRL": skyrl,
}


def ours(step: Step, settings: Ours) -> Tensor:
    """Our whole way: rewards, advantages, weights, samples, a tree, its edges, the loss."""
    config = AdvantageConfig(
        baseline=Baseline.GROUP_MEAN, scale=settings.scale, scale_epsilon=settings.scale_epsilon
    )
    grouped = step.rewards.view(PROMPTS, PER_PROMPT)
    per_rollout = [a for group in grouped for a in group_advantages([[float(r)] for r in group], config)]
    units: dict[Unit, Any] = {
        Unit.PROMPT: step.prompt,
        Unit.ROLLOUT: step.rollout,
        Unit.SAMPLE: torch.arange(len(step.mask)),
    }
    masks = [mask.numpy() for mask in step.mask]
    weights = normalised(masks, units[settings.unit].tolist(), settings.normalizer)
    samples = [
        Sample(
            tokens_S=np.arange(LENGTH) + 100 * index,
            weight_S=weight,
            advantage_S=np.full(LENGTH, per_rollout[int(step.rollout[index])][0]),
            behaviour_S=step.old[index].numpy(),
        )
        for index, weight in enumerate(weights)
    ]
    trie = build_trie([sample.tokens_S for sample in samples])
    edges = edges_of(trie, samples)
    assert edges.behaviour_M is not None
    assert edges.advantage_M is not None
    position_M = trie.position_T[edges.child_E[edges.edge_M]]
    path_E = np.empty(len(edges), np.int64)
    path_E[edges.edge_M] = edges.path_M
    logp_E = step.logp[torch.from_numpy(path_E), torch.from_numpy(position_M)]  # one pair an edge here
    return cispo(
        logp_E,
        torch.from_numpy(edges.edge_M),
        torch.from_numpy(edges.behaviour_M),
        torch.from_numpy(edges.advantage_M),
        torch.from_numpy(edges.weight_M),
        ratio_max=settings.ratio_max,
    )[0]


def translated(row: Row) -> Ours | None:
    """Our settings for a row, None where it is refused."""
    try:
        return row.ours()
    except FactoryError:
        return None


@pytest.mark.parametrize("row", [row for row in ROWS if translated(row)], ids=str)
def test_a_translated_row_is_the_same_loss_and_gradient(row: Row) -> None:
    step = Step()
    theirs = THEIRS[row.library](step, **row.settings)
    (their_gradient,) = torch.autograd.grad(theirs, step.logp)
    found = ours(step, row.ours())
    (gradient,) = torch.autograd.grad(found, step.logp)
    assert float(found.detach()) == pytest.approx(float(theirs.detach()), rel=1e-12)
    assert float((gradient - their_gradient).abs().max()) <= 1e-12 * float(their_gradient.abs().max())
    assert (torch.exp(step.logp - step.old) > row.ours().ratio_max).any()  # the bound is met


@pytest.mark.parametrize("row", [row for row in ROWS if not translated(row)], ids=str)
def test_a_refused_row_is_another_loss(row: Row) -> None:
    """What a refused row computes is neither of our normalisers with its upper bound."""
    with pytest.raises(FactoryError, match=row.library):
        row.ours()
    step = Step()
    if row.library == "AReaL":
        with pytest.raises(ValueError, match="eps_clip_higher"):
            areal(step, **row.settings)
        return
    theirs = THEIRS[row.library](step, **row.settings)
    (their_gradient,) = torch.autograd.grad(theirs, step.logp)
    high = {"verl": "clip_ratio_high", "slime": "eps_clip_high", "SkyRL": "cispo_eps_clip_high"}[row.library]
    bound = 1 + row.settings.get(high, 4.0 if row.library == "SkyRL" else 0.2)
    for candidate in (Ours(bound, *reduction) for reduction in REDUCTIONS):
        (gradient,) = torch.autograd.grad(ours(step, candidate), step.logp)
        assert float((gradient - their_gradient).abs().max()) > 1e-3 * float(their_gradient.abs().max())


def test_the_document_holds_the_table() -> None:
    text = (Path(__file__).parents[2] / "docs" / "losses.md").read_text()
    assert table() in text
