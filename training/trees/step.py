"""The loss of a batch, tree or not: states once a token, logits once a row, one log-probability an edge.

The batch's weights hold their normalisers, so losses and gradients of the batches of a step are summed.

Shapes: T tokens, D hidden, R rows (tokens that supervised edges leave), V vocabulary, E edges, M (path, edge)
pairs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from training import losses
from training.model.layout import Forest
from training.model.model import Hidden, Model, Past
from training.objective import Loss, MtpLoss, Objective
from training.trees.edges import Edges
from training.trees.merge import Batch
from warehouse.errors import FactoryError


@dataclass
class Tally:
    """What the batches of a step added up to."""

    loss: float = 0.0
    trunk_loss: float = 0.0
    mtp_losses: list[float] = field(default_factory=list)
    tokens: int = 0
    edges: int = 0
    pairs: int = 0
    cut: int = 0
    ratio_sum: float = 0.0
    ratio_max: float = 0.0
    expert_counts_LE: Tensor | None = None

    def add(self, other: Evaluation, tokens: int, edges: Edges) -> None:
        """Counts one batch in. Call it once a batch: expert counts are of the paths, not of the passes."""
        self.loss += float(other.loss.detach())
        self.trunk_loss += float(other.trunk_loss)
        mtp = [float(loss) for loss in other.mtp_losses]
        self.mtp_losses = [a + b for a, b in zip(self.mtp_losses or [0.0] * len(mtp), mtp, strict=True)]
        self.tokens += tokens
        self.edges += len(edges)
        self.pairs += len(edges.edge_M)
        if other.cispo is not None:
            self.cut += other.cispo.cut
            self.ratio_sum += other.cispo.ratio_mean * other.cispo.pairs
            self.ratio_max = max(self.ratio_max, other.cispo.ratio_max)
        counts_LE = other.hidden.expert_counts_LE
        self.expert_counts_LE = (
            counts_LE if self.expert_counts_LE is None else self.expert_counts_LE + counts_LE
        )


@dataclass(frozen=True)
class Evaluation:
    """The loss of a batch, to be differentiated, its parts, and the states it was made of."""

    loss: Tensor
    trunk_loss: Tensor
    mtp_losses: tuple[Tensor, ...]
    cispo: losses.CispoStats | None
    hidden: Hidden


def run_step(model: Model, batches: Iterable[Batch], objective: Objective) -> Tally:
    """Adds the gradients of all batches of a step to the parameters."""
    tally = Tally()
    for batch in batches:
        evaluation = evaluate(model, batch.forest, batch.edges, objective)
        if evaluation.loss.requires_grad:
            evaluation.loss.backward()
        tally.add(evaluation, len(batch), batch.edges)
    return tally


def evaluate(
    model: Model, forest: Forest, edges: Edges, objective: Objective, past: Past | None = None
) -> Evaluation:
    """The loss of the edges that leave the tokens of `forest`, which may continue a path (`past`)."""
    device = next(model.parameters()).device
    forest = forest.to(device)
    hidden = model.states(forest, past)
    source_R = _tensor(edges.source_R, device)
    logits_RV = model.logits(hidden.trunk_TD[source_R])
    row_E, target_E = _tensor(edges.row_E, device), _tensor(edges.target_E, device)
    logp_E = losses.edge_logp(logits_RV, row_E, target_E)
    cispo = None
    if objective.loss is Loss.SFT:
        trunk_loss = losses.sft(logp_E, _tensor(edges.collapsed(edges.weight_M), device))
    else:
        trunk_loss, cispo = _cispo(logp_E, edges, objective, device)
    mtp_losses = _mtp_losses(model, hidden, forest.position_T[source_R], logits_RV.detach(), edges, objective)
    loss = trunk_loss
    for mtp_loss in mtp_losses:
        loss = loss + objective.mtp_weight / len(mtp_losses) * mtp_loss
    parts = tuple(mtp_loss.detach() for mtp_loss in mtp_losses)
    return Evaluation(loss, trunk_loss.detach(), parts, cispo, hidden)


def _cispo(
    logp_E: Tensor, edges: Edges, objective: Objective, device: torch.device
) -> tuple[Tensor, losses.CispoStats]:
    if edges.advantage_M is None or edges.behaviour_M is None:
        raise FactoryError(
            "CISPO needs advantages and behaviour log-probabilities; record them, or train with sft."
        )
    return losses.cispo(
        logp_E,
        _tensor(edges.edge_M, device),
        _tensor(edges.behaviour_M, device),
        _tensor(edges.advantage_M, device),
        _tensor(edges.weight_M, device),
        ratio_max=objective.ratio_max,
    )


def _mtp_losses(
    model: Model, hidden: Hidden, position_R: Tensor, policy_RV: Tensor, edges: Edges, objective: Objective
) -> list[Tensor]:
    """The loss of each depth k, on the edges that leave a token at position k or later."""
    if objective.mtp is MtpLoss.NONE:
        return []
    device, mtp_losses = position_R.device, []
    row_E, target_E = _tensor(edges.row_E, device), _tensor(edges.target_E, device)
    weight_E = _tensor(edges.collapsed(edges.weight_M), device)
    weight_R = torch.zeros(len(position_R), dtype=weight_E.dtype, device=device).index_add(0, row_E, weight_E)
    source_R = _tensor(edges.source_R, device)
    for depth, state_TD in enumerate(hidden.mtp_TD, start=1):
        deep_R = position_R >= depth
        kept_R = torch.nonzero(deep_R)[:, 0]
        logits_RV = model.logits(state_TD[source_R[kept_R]])
        if objective.mtp is MtpLoss.POLICY:
            policy_kept_RV = policy_RV[kept_R]
            mtp_losses.append(
                losses.top_k_kl(policy_kept_RV, logits_RV, weight_R[kept_R], top_k=objective.mtp_top_k)
            )
            continue
        deep_E = deep_R[row_E]
        moved_R = torch.cumsum(deep_R, 0) - 1
        logp_E = losses.edge_logp(logits_RV, moved_R[row_E[deep_E]], target_E[deep_E])
        mtp_losses.append(losses.sft(logp_E, weight_E[deep_E]))
    return mtp_losses


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
