"""The losses: pure functions of log-probabilities, in natural logarithms, to be minimised.

Each takes one log-probability an edge and the weights of the samples on it, and returns a **sum**. A weight
holds its normaliser (`advantages.normalised`), so no loss divides by what happens to be in its batch: the sum
over any split into micro-batches or ranks is the loss of the whole.

CISPO has one bound, `ratio_max`, the largest importance ratio itself: not a distance from 1, and there is no
lower bound. What other libraries call their settings is in `training.conventions` and docs/losses.md.

Shapes: E edges, M (path, edge) pairs, R rows (tokens that supervised edges leave), V vocabulary, K the
likeliest tokens that MTP is taught.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from warehouse.errors import FactoryError


@dataclass(frozen=True)
class CispoStats:
    """What became of the ratios: pairs, those cut at `ratio_max`, and the ratio's mean and largest."""

    pairs: int
    cut: int
    ratio_mean: float
    ratio_max: float


def edge_logp(logits_RV: Tensor, row_E: Tensor, target_E: Tensor) -> Tensor:
    """Log-probability of each edge's target, each row normalised once however many edges leave it."""
    return logits_RV[row_E, target_E] - torch.logsumexp(logits_RV, -1)[row_E]


def sft(logp_E: Tensor, weight_E: Tensor) -> Tensor:
    """−Σ w · log π: cross-entropy with the weights of an edge's paths summed."""
    return -(weight_E.to(logp_E) * logp_E).sum()


def cispo(
    logp_E: Tensor,
    edge_M: Tensor,
    behaviour_M: Tensor,
    advantage_M: Tensor,
    weight_M: Tensor,
    *,
    ratio_max: float,
) -> tuple[Tensor, CispoStats]:
    """−Σ w · sg(min(π/μ, ratio_max)) · A · log π (MiniMax-M1 eq. 4, M2 §6.1; μ sampled the token).

    Each pair has its own ratio and advantage; nothing flows through the ratio, so the pairs on an edge fold
    into one coefficient of its log-probability. Raises for a bound that is not positive and a ratio of NaN.
    """
    if not ratio_max > 0:
        raise FactoryError(
            f"ratio_max is {ratio_max}, but it is the largest ratio itself: give a positive number."
        )
    behaviour_M, advantage_M, weight_M = (given.to(logp_E) for given in (behaviour_M, advantage_M, weight_M))
    ratio_M = (logp_E.detach()[edge_M] - behaviour_M).exp()
    if ratio_M.isnan().any():
        raise FactoryError("A ratio of policy to behaviour is NaN; check the recorded log-probabilities.")
    kept_M = ratio_M.clamp(max=ratio_max)
    weight_E = torch.zeros_like(logp_E).index_add(0, edge_M, weight_M * advantage_M * kept_M)
    stats = CispoStats(
        pairs=len(edge_M),
        cut=int((ratio_M > ratio_max).sum()),
        ratio_mean=float(ratio_M.mean()) if len(edge_M) else 1.0,
        ratio_max=float(ratio_M.max()) if len(edge_M) else 1.0,
    )
    return -(weight_E * logp_E).sum(), stats


def top_k_kl(policy_RV: Tensor, student_RV: Tensor, weight_R: Tensor, *, top_k: int) -> Tensor:
    """Σ w · KL(p ‖ q) where p is the policy over its `top_k` likeliest tokens and the rest as one class.

    Nothing flows into the policy: this teaches an MTP module to draft what the policy says (M2 §6.2).
    `top_k` of the vocabulary or more is the full KL.
    """
    if top_k < 1:
        raise FactoryError(f"top_k is {top_k}; a KL needs at least one token.")
    policy_RV = policy_RV.detach()
    if top_k >= policy_RV.shape[-1]:
        p_RK, q_RK = F.log_softmax(policy_RV, -1), F.log_softmax(student_RV, -1)
    else:
        at_RK = policy_RV.topk(top_k, -1).indices
        p_RK, q_RK = _with_rest(policy_RV, at_RK), _with_rest(student_RV, at_RK)
    kl_R = (p_RK.exp() * (p_RK - q_RK)).sum(-1)
    return (weight_R.to(kl_R) * kl_R).sum()


def _with_rest(logits_RV: Tensor, at_RK: Tensor) -> Tensor:
    """Log-probabilities of the tokens at `at_RK`, and of all others together as the last class."""
    others_RV = logits_RV.scatter(-1, at_RK, -torch.inf)
    classes = torch.cat([logits_RV.gather(-1, at_RK), torch.logsumexp(others_RV, -1, keepdim=True)], -1)
    return F.log_softmax(classes, -1)
