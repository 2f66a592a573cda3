"""The losses in closed form: values, gradients, bounds, and that sums do not depend on how they are split."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.losses import cispo, edge_logp, sft, top_k_kl
from warehouse.errors import FactoryError


def drawn(seed: int, pairs: int = 40, edges: int = 9) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(seed)
    return {
        "logp_E": torch.randn(edges, generator=source, dtype=torch.float64) - 3,
        "edge_M": torch.randint(edges, (pairs,), generator=source),
        "behaviour_M": torch.randn(pairs, generator=source, dtype=torch.float64) - 3,
        "advantage_M": torch.randn(pairs, generator=source, dtype=torch.float64),
        "weight_M": torch.rand(pairs, generator=source, dtype=torch.float64),
    }


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.floats(0.05, 20))
def test_cispo_is_its_definition_and_flows_through_log_prob_alone(seed: int, ratio_max: float) -> None:
    given_ = drawn(seed)
    logp_E = given_["logp_E"].requires_grad_()
    loss, stats = cispo(**given_, ratio_max=ratio_max)
    (gradient,) = torch.autograd.grad(loss, logp_E)
    wanted, slope, cut = 0.0, [0.0] * len(logp_E), 0
    for edge, behaviour, advantage, weight in zip(
        *(given_[name].tolist() for name in ("edge_M", "behaviour_M", "advantage_M", "weight_M")), strict=True
    ):
        ratio = math.exp(float(logp_E[edge].detach()) - behaviour)
        cut += ratio > ratio_max
        coefficient = weight * advantage * min(ratio, ratio_max)
        wanted -= coefficient * float(logp_E[edge].detach())
        slope[edge] -= coefficient
    assert float(loss) == pytest.approx(wanted, rel=1e-12)
    assert gradient.tolist() == pytest.approx(slope, rel=1e-12)
    assert (stats.pairs, stats.cut) == (40, cut)


def test_cispo_has_no_lower_bound_and_takes_any_ratio() -> None:
    logp_E = torch.tensor([-800.0, -1.0, -1.0], dtype=torch.float64, requires_grad=True)
    behaviour_M = torch.tensor([-1.0, -900.0, -math.inf], dtype=torch.float64)
    ones = torch.ones(3, dtype=torch.float64)
    loss, stats = cispo(logp_E, torch.arange(3), behaviour_M, ones, ones, ratio_max=4.0)
    loss.backward()
    assert logp_E.grad is not None
    assert logp_E.grad.tolist() == [0.0, -4.0, -4.0]  # e^-799 is 0; huge and infinite ratios are cut
    assert stats.cut == 2


def test_cispo_refuses_what_has_no_meaning() -> None:
    given_ = drawn(0)
    with pytest.raises(FactoryError, match="largest ratio itself"):
        cispo(**given_, ratio_max=0.0)
    given_["behaviour_M"][3] = math.nan
    with pytest.raises(FactoryError, match="NaN"):
        cispo(**given_, ratio_max=2.0)


def test_a_split_step_sums_to_the_whole() -> None:
    given_ = drawn(7, pairs=60)
    whole, _ = cispo(**given_, ratio_max=1.5)
    halves = []
    for part in (slice(0, 23), slice(23, 60)):
        some = {name: value if name == "logp_E" else value[part] for name, value in given_.items()}
        halves.append(float(cispo(**some, ratio_max=1.5)[0]))
    assert float(whole) == pytest.approx(sum(halves), rel=1e-12)


def test_edges_share_their_row() -> None:
    logits_RV = torch.randn(3, 11, dtype=torch.float64)
    row_E, target_E = torch.tensor([0, 0, 2]), torch.tensor([4, 5, 10])
    wanted = torch.log_softmax(logits_RV, -1)[row_E, target_E]
    assert torch.allclose(edge_logp(logits_RV, row_E, target_E), wanted, rtol=1e-14)
    weight_E = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    assert float(sft(wanted, weight_E)) == pytest.approx(-float((weight_E * wanted).sum()))


def test_losses_keep_their_precision() -> None:
    for dtype in (torch.float32, torch.float64):
        logp_E = torch.full((2,), -1.0, dtype=dtype, requires_grad=True)
        ones = torch.ones(2, dtype=torch.float64)
        assert sft(logp_E, ones).dtype is dtype
        assert cispo(logp_E, torch.arange(2), -ones, ones, ones, ratio_max=2.0)[0].dtype is dtype


@pytest.mark.parametrize("top_k", [1, 3, 6, 7, 50])
def test_top_k_kl_is_the_kl_over_the_likeliest_and_the_rest(top_k: int) -> None:
    source = torch.Generator().manual_seed(1)
    policy_RV = torch.randn(4, 7, generator=source, dtype=torch.float64, requires_grad=True)
    student_RV = torch.randn(4, 7, generator=source, dtype=torch.float64, requires_grad=True)
    weight_R = torch.tensor([1.0, 0.0, 2.0, 0.5], dtype=torch.float64)
    loss = top_k_kl(policy_RV, student_RV, weight_R, top_k=top_k)
    p_RV, q_RV = policy_RV.softmax(-1).tolist(), student_RV.softmax(-1).tolist()
    wanted = 0.0
    for weight, p, q in zip(weight_R.tolist(), p_RV, q_RV, strict=True):
        likely = sorted(range(7), key=lambda token: -p[token])[:top_k]
        classes = [(p[t], q[t]) for t in likely]
        if top_k < 7:
            classes.append((1 - sum(a for a, _ in classes), 1 - sum(b for _, b in classes)))
        wanted += weight * sum(a * math.log(a / b) for a, b in classes if a > 1e-15)
    assert float(loss) == pytest.approx(wanted, rel=1e-9)
    loss.backward()
    assert policy_RV.grad is None
    assert student_RV.grad is not None
    assert student_RV.grad.abs().sum() > 0
    assert not student_RV.grad[1].any()


def test_top_k_kl_is_zero_on_the_policy_itself() -> None:
    logits_RV = torch.randn(5, 9, dtype=torch.float64)
    assert abs(float(top_k_kl(logits_RV, logits_RV, torch.ones(5), top_k=3))) < 1e-14
    with pytest.raises(FactoryError, match="at least one"):
        top_k_kl(logits_RV, logits_RV, torch.ones(5), top_k=0)
