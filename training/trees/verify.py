"""Whether merging changed anything: the gradients of a tree against those of its paths, each run by itself.

The error of a parameter is ‖Δ‖∞ / max(‖a‖∞, 10⁻² · max over parameters ‖a‖∞), where `a` is the gradient of
the same tree with absolute weights. Some gradients are sums that cancel to nothing, which no relative error
can be taken of; `a` is how large their terms are.

A router decides by comparing, so the last bit of a state can send a token elsewhere (*a flip*). Flips are
counted; if there are any, the paths run again on the tree's routes, so that arithmetic is what is compared.

Shapes: T tokens, L routers, K experts per token, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from training.model.model import Model
from training.objective import Objective
from training.trees.edges import Sample
from training.trees.merge import Batch, merged, side_by_side
from training.trees.split import split
from training.trees.step import Tally, evaluate
from warehouse.errors import FactoryError

# What float32 sums in another order differ by, with room; float64 has ten digits more.
LIMITS = {torch.float32: 2e-5, torch.float64: 1e-12}


@dataclass(frozen=True)
class MergeReport:
    """The comparison of a step's tree with its separate paths.

    `loss_error` is relative to the loss with absolute weights; `flips` are (token, router) pairs of paths.
    """

    errors: dict[str, float]
    loss_error: float
    flips: int
    counts_equal: bool
    tokens: int
    tree_tokens: int

    @property
    def error(self) -> float:
        """The largest error of a parameter."""
        return max(self.errors.values(), default=0.0)

    def require(self, limit: float) -> None:
        """Raises `FactoryError` where the tree is not its paths."""
        if not self.error <= limit or not self.loss_error <= limit:
            worst = max(self.errors, key=lambda name: self.errors[name])
            raise FactoryError(
                f"Merging changes the gradient: {worst} differs by {self.error:.1e}, the loss by "
                f"{self.loss_error:.1e}, over {limit:.0e}; train unmerged (merge = false) and report it."
            )
        if not self.counts_equal:
            raise FactoryError(
                "Merging changes the expert counts; train unmerged (merge = false) and report it."
            )


def verify_merge(
    model: Model, samples: Sequence[Sample], objective: Objective, budget: int | None = None
) -> MergeReport:
    """Compare the step of `samples` as a tree (split by `budget`) with every sample run alone.

    The parameters' own gradients are left as they are.
    """
    samples = [sample for sample in samples if len(sample.tokens_S)]
    groups = [list(range(len(samples)))]
    if budget is not None:
        groups = split(merged(samples).trie, budget)
    batches = [merged([samples[index] for index in group]) for group in groups]
    tree, tree_gradients, tree_routes = _gradients(model, batches, objective)
    routes_of = {
        index: routes_TLK[batch.trie.path(place)]
        for group, batch, routes_TLK in zip(groups, batches, tree_routes, strict=True)
        for place, index in enumerate(group)
    }
    alone = [side_by_side([sample]) for sample in samples]
    paths, path_gradients, path_routes = _gradients(model, alone, objective)
    flips = sum(_flips(routes_of[index], route) for index, route in enumerate(path_routes))
    if flips:
        replayed = [replace(s, routes_SLK=routes_of[index].cpu().numpy()) for index, s in enumerate(samples)]
        paths, path_gradients, _ = _gradients(model, [side_by_side([s]) for s in replayed], objective)
    scale, absolute_loss = _absolute(model, samples, objective)
    return MergeReport(
        errors=relative_errors(tree_gradients, path_gradients, scale),
        loss_error=abs(tree.loss - paths.loss) / max(absolute_loss, 1e-30),
        flips=flips,
        counts_equal=torch.equal(_counts(tree), _counts(paths)),
        tokens=sum(len(sample.tokens_S) for sample in samples),
        tree_tokens=sum(len(batch) for batch in batches),
    )


def relative_errors(
    one: dict[str, Tensor], other: dict[str, Tensor], absolute: dict[str, Tensor]
) -> dict[str, float]:
    """The error of each parameter's gradient, as the module says."""
    largest = {name: float(gradient.abs().max()) for name, gradient in absolute.items()}
    floor = 1e-2 * max(largest.values(), default=0.0)
    return {
        name: float((one[name] - other[name]).abs().max()) / max(largest[name], floor, 1e-300) for name in one
    }


def absolute_sample(sample: Sample) -> Sample:
    """The sample with the absolute values of its weights and advantages."""
    advantage_S = None if sample.advantage_S is None else np.abs(sample.advantage_S)
    return replace(sample, weight_S=np.abs(sample.weight_S), advantage_S=advantage_S)


def gradients_of(
    model: Model, batches: Sequence[Batch], objective: Objective
) -> tuple[Tally, dict[str, Tensor]]:
    """The step's gradients, the parameters' own being left as they are."""
    tally, gradients, _ = _gradients(model, batches, objective)
    return tally, gradients


def _gradients(
    model: Model, batches: Sequence[Batch], objective: Objective
) -> tuple[Tally, dict[str, Tensor], list[Tensor]]:
    tally, routes = Tally(), []
    names, parameters = zip(*model.named_parameters(), strict=True)
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for batch in batches:
        evaluation = evaluate(model, batch.forest, batch.edges, objective)
        if evaluation.loss.requires_grad:
            found = torch.autograd.grad(evaluation.loss, parameters, allow_unused=True)
            for sum_so_far, gradient in zip(total, found, strict=True):
                if gradient is not None:
                    sum_so_far += gradient
        tally.add(evaluation, len(batch), batch.edges)
        routes.append(evaluation.hidden.routes_TLK)
    return tally, dict(zip(names, total, strict=True)), routes


def _absolute(
    model: Model, samples: Sequence[Sample], objective: Objective
) -> tuple[dict[str, Tensor], float]:
    tally, gradients, _ = _gradients(model, [merged([absolute_sample(s) for s in samples])], objective)
    return gradients, abs(tally.loss)


def _counts(tally: Tally) -> Tensor:
    return torch.zeros(0) if tally.expert_counts_LE is None else tally.expert_counts_LE


def _flips(one_SLK: Tensor, other_SLK: Tensor) -> int:
    """Tokens and routers whose set of experts differs."""
    return int((one_SLK.sort(-1).values != other_SLK.sort(-1).values).any(-1).sum())
