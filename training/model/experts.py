"""The router and the experts.

A token's gates are independent sigmoids. The experts it is sent to are the top K of gate + bias; what they
return is weighted by the gates *without* the bias, made to sum to 1. The bias is not learnt by gradient: it
balances the experts from their counts (`balance`), or stays as it is. A replayed route replaces the choice
only; gates are always live.

Tokens are sorted by expert, so that each expert multiplies one stretch of rows: by one grouped product where
the device and type allow it, else by a loop over the weights unbound once (slicing a weight for each expert
would make each slice's gradient as large as all). Moving tokens to experts and back is gathering by a
permutation in both directions, so gradients do not depend on the order in which threads add.

Shapes: T tokens, D hidden, E experts, K experts per token, M = T · K rows sorted by expert, F expert_hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from training.model.config import ModelConfig
from training.model.layout import NO_ROUTE


class Router(nn.Module):
    """Chooses experts. Computes in at least float32, whatever the type of the states."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.per_token = config.experts_per_token
        self.weight = nn.Parameter(torch.empty(config.experts, config.hidden))
        self.bias = nn.Buffer(torch.zeros(config.experts))

    def forward(self, x_TD: Tensor, routes_TK: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Expert numbers [T, K] and their weights [T, K]; given `routes_TK`, these are the experts.

        A route of -1 leaves the choice of that token to the router.
        """
        high = torch.promote_types(x_TD.dtype, torch.float32)
        gates_TE = F.linear(x_TD.to(high), self.weight.to(high)).sigmoid()
        if routes_TK is None or bool((routes_TK == NO_ROUTE).any()):
            with torch.no_grad():
                live_TK = (gates_TE + self.bias.to(high)).topk(self.per_token, dim=-1).indices
            routes_TK = live_TK if routes_TK is None else torch.where(routes_TK < 0, live_TK, routes_TK)
        weights_TK = gates_TE.gather(1, routes_TK)
        return routes_TK, weights_TK / weights_TK.sum(-1, keepdim=True)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Router:
        """Moves and casts as any module does, but never below float32: a bias moves in steps of 10⁻³."""

        def wide(tensor: Tensor) -> Tensor:
            cast = fn(tensor)
            high = torch.promote_types(cast.dtype, torch.float32)
            return cast if cast.dtype == high else tensor.to(device=cast.device, dtype=high)

        super()._apply(wide, recurse)
        return self

    @torch.no_grad()
    def balance(self, counts_E: Tensor, rate: float) -> None:
        """Moves each bias by `rate` towards even counts, by sign (aux-loss-free balancing)."""
        counts = counts_E.to(self.bias.dtype)
        self.bias += rate * torch.sign(counts.mean() - counts)


class Experts(nn.Module):
    """E gated MLPs: down(silu(gate x) * up x). Weights are fused as in transformers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up = nn.Parameter(torch.empty(config.experts, 2 * config.expert_hidden, config.hidden))
        self.down = nn.Parameter(torch.empty(config.experts, config.hidden, config.expert_hidden))

    def forward(self, x_TD: Tensor, routes_TK: Tensor, weights_TK: Tensor) -> Tensor:
        """The weighted sum of what each token's experts return."""
        experts = len(self.gate_up)
        order_M = torch.argsort(routes_TK.flatten(), stable=True)
        place_M = torch.empty_like(order_M)
        place_M[order_M] = torch.arange(len(order_M), device=order_M.device)
        counts_E = torch.bincount(routes_TK.flatten(), minlength=experts)
        x_MD = _Send.apply(x_TD, order_M, place_M, routes_TK.shape[1])
        gate_MF, up_MF = products(x_MD, self.gate_up, counts_E).chunk(2, dim=-1)
        weight_M1 = _Permute.apply(weights_TK.flatten(), order_M, place_M)[:, None]
        # weighted where rows are narrowest: w · down(y) = down(w · y)
        y_MD = products(F.silu(gate_MF) * up_MF * weight_M1.to(up_MF.dtype), self.down, counts_E)
        return _Permute.apply(y_MD, place_M, order_M).unflatten(0, routes_TK.shape).sum(1)


def products(x_MD: Tensor, w_EFD: Tensor, counts_E: Tensor) -> Tensor:
    """x @ wᵀ of each expert for its `counts_E` rows of `x_MD`, which are sorted by expert."""
    if grouped(x_MD, w_EFD):
        return F.grouped_mm(x_MD, w_EFD.transpose(1, 2), offs=counts_E.cumsum(0, dtype=torch.int32))
    rows = x_MD.split(counts_E.tolist())
    return torch.cat([x @ w.T for x, w in zip(rows, w_EFD.unbind(), strict=True)])


def grouped(x_MD: Tensor, w_EFD: Tensor) -> bool:
    """Whether `F.grouped_mm` takes these: not float64, and rows that start at 16 bytes."""
    sizes = (x_MD.shape[-1] * x_MD.element_size(), w_EFD.shape[1] * w_EFD.element_size())
    return x_MD.dtype != torch.float64 and len(x_MD) > 0 and not any(size % 16 for size in sizes)


class _Send(torch.autograd.Function):
    """Rows of tokens, K times, in the order of experts. Backward sums the K gathered rows."""

    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, order_M: Tensor, place_M: Tensor, per_token: int) -> Tensor:
        ctx.save_for_backward(place_M)
        ctx.per_token = per_token
        return x_TD.index_select(0, order_M // per_token)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dx_MD: Tensor) -> tuple[Tensor, None, None, None]:
        (place_M,) = ctx.saved_tensors
        return dx_MD.index_select(0, place_M).unflatten(0, (-1, ctx.per_token)).sum(1), None, None, None


class _Permute(torch.autograd.Function):
    """Rows in another order. Backward gathers by the inverse."""

    @staticmethod
    def forward(ctx: Any, x_MD: Tensor, order_M: Tensor, inverse_M: Tensor) -> Tensor:
        ctx.save_for_backward(inverse_M)
        return x_MD.index_select(0, order_M)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dx_MD: Tensor) -> tuple[Tensor, None, None]:
        (inverse_M,) = ctx.saved_tensors
        return dx_MD.index_select(0, inverse_M), None, None
