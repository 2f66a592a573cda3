"""Router and experts against a plain loop over experts, in every type and by both ways of multiplying."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from training.model import experts
from training.model.block import expert_counts
from training.model.config import ModelConfig, preset
from training.model.experts import Experts, Router

TINY = preset("tiny")


def made(config: ModelConfig, dtype: torch.dtype, tokens: int = 50) -> tuple[Router, Experts, Tensor]:
    source = torch.Generator().manual_seed(0)
    router, mlp = Router(config), Experts(config)
    for parameter in (*router.parameters(), *mlp.parameters()):
        torch.nn.init.normal_(parameter, std=0.3, generator=source)
    x_TD = torch.randn(tokens, config.hidden, generator=source)
    return router.to(dtype), mlp.to(dtype), x_TD.to(dtype).requires_grad_()


def plain(mlp: Experts, x_TD: Tensor, routes_TK: Tensor, weights_TK: Tensor) -> Tensor:
    """One token and one expert at a time, as the definition says."""
    rows = []
    for x_D, routes, weights in zip(x_TD, routes_TK, weights_TK, strict=True):
        parts = []
        for expert, weight in zip(routes, weights, strict=True):
            gate, up = (mlp.gate_up[expert] @ x_D).chunk(2)
            parts.append(weight * (mlp.down[expert] @ (F.silu(gate) * up)))
        rows.append(torch.stack(parts).sum(0))
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("config", "dtype", "grouped", "tolerance"),
    [
        (TINY, torch.float32, True, 1e-6),
        (TINY, torch.float64, False, 1e-14),
        (TINY.replace(expert_hidden=31), torch.float32, False, 1e-6),  # rows not at 16 bytes
        (TINY.replace(experts=64), torch.float64, False, 1e-14),  # most experts get nothing
    ],
)
def test_experts_are_the_sum_of_their_definition(
    config: ModelConfig, dtype: torch.dtype, grouped: bool, tolerance: float
) -> None:
    router, mlp, x_TD = made(config, dtype)
    routes_TK, weights_TK = router(x_TD)
    wanted = plain(mlp, x_TD, routes_TK, weights_TK)
    found = mlp(x_TD, routes_TK, weights_TK)
    assert experts.grouped(x_TD, mlp.gate_up) is grouped
    assert (found - wanted).abs().max() <= tolerance * wanted.abs().max()
    parameters = (x_TD, *router.parameters(), *mlp.parameters())
    weight = torch.randn(found.shape, dtype=dtype)
    for a, b in zip(
        torch.autograd.grad((found * weight).sum(), parameters, retain_graph=True),
        torch.autograd.grad((wanted * weight).sum(), parameters),
        strict=True,
    ):
        assert (a - b).abs().max() <= 10 * tolerance * b.abs().max()


def test_grouped_products_are_taken_where_they_can_be() -> None:
    x, w = torch.zeros(4, 64), torch.zeros(8, 32, 64)
    assert experts.grouped(x, w)
    assert experts.grouped(x.bfloat16(), w.bfloat16())
    assert not experts.grouped(x.double(), w.double())
    assert not experts.grouped(x[:, :63], w[:, :, :63])
    assert not experts.grouped(x, w[:, :31])
    assert not experts.grouped(x[:0], w)


def test_both_ways_of_multiplying_give_the_same() -> None:
    x = torch.randn(40, 64, requires_grad=True)
    w = torch.randn(8, 32, 64, requires_grad=True)
    counts = torch.tensor([0, 7, 0, 13, 0, 0, 20, 0])
    found = experts.products(x, w, counts)
    wanted = torch.cat([a @ b.T for a, b in zip(x.split(counts.tolist()), w, strict=True)])
    torch.testing.assert_close(found, wanted)
    loss = torch.randn(found.shape)
    for a, b in zip(
        torch.autograd.grad(found, (x, w), loss), torch.autograd.grad(wanted, (x, w), loss), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_bias_chooses_but_does_not_weigh() -> None:
    router, _, x_TD = made(TINY, torch.float64)
    before, _ = router(x_TD)
    router.bias[3] = 10.0
    routes_TK, weights_TK = router(x_TD)
    assert (routes_TK == 3).any(1).all()
    assert not (before == 3).any(1).all()
    gates_TE = (x_TD @ router.weight.T).sigmoid()
    chosen_TK = gates_TE.gather(1, routes_TK)
    torch.testing.assert_close(weights_TK, chosen_TK / chosen_TK.sum(1, keepdim=True))


def test_a_replayed_route_replaces_the_choice_only() -> None:
    router, _, x_TD = made(TINY, torch.float64)
    live_TK, live_weights_TK = router(x_TD)
    replay_TK = live_TK.clone()
    replay_TK[:10] = torch.tensor([5, 2])
    replay_TK[10:20] = -1  # no route recorded
    routes_TK, weights_TK = router(x_TD, replay_TK)
    assert (routes_TK[:10] == torch.tensor([5, 2])).all()
    assert torch.equal(routes_TK[10:], live_TK[10:])
    assert torch.equal(weights_TK[10:], live_weights_TK[10:])
    gates_TK = (x_TD @ router.weight.T).sigmoid()[:10][:, [5, 2]]
    torch.testing.assert_close(weights_TK[:10], gates_TK / gates_TK.sum(1, keepdim=True))


def test_balancing_moves_each_bias_towards_the_mean_by_the_rate() -> None:
    router, _, _ = made(TINY, torch.float32)
    router.balance(torch.tensor([10, 0, 5, 5, 5, 5, 5, 5]), 1e-3)
    torch.testing.assert_close(router.bias, torch.tensor([-1e-3, 1e-3, 0, 0, 0, 0, 0, 0]))


def test_the_router_is_never_below_float32() -> None:
    router, mlp, x_TD = made(TINY, torch.bfloat16)
    assert {router.weight.dtype, router.bias.dtype} == {torch.float32}
    assert mlp.down.dtype == torch.bfloat16
    routes_TK, weights_TK = router(x_TD)
    assert weights_TK.dtype == torch.float32
    assert mlp(x_TD, routes_TK, weights_TK).dtype == torch.bfloat16
    assert router.double().bias.dtype == torch.float64


def test_counts_weigh_a_token_by_the_sequences_through_it() -> None:
    routes_TK = torch.tensor([[0, 2], [2, 3]])
    counts_E = expert_counts(routes_TK, torch.tensor([5, 1]), 4)
    assert counts_E.tolist() == [5, 0, 6, 1]
    assert counts_E.dtype == torch.int64
