"""The model: packing changes nothing, the future is unseen, and its gradient is that of the plain formula."""

from __future__ import annotations

import math
from array import array

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from training.data import VOCABULARY, Example, encode  # noqa: E402
from training.settings import TinyConfig  # noqa: E402
from training.sft import sft_loss  # noqa: E402
from training.tiny import TinyLM, rotate  # noqa: E402


def make_model(dtype: torch.dtype = torch.float64) -> TinyLM:
    torch.manual_seed(0)
    model = TinyLM(TinyConfig(layers=2, hidden=32, heads=2), VOCABULARY)
    torch.nn.init.normal_(model.head.weight, std=0.1)
    return model.to(dtype)


def test_packing_does_not_change_logits() -> None:
    model = make_model()
    a, b = torch.randint(VOCABULARY, (17,)), torch.randint(VOCABULARY, (40,))
    packed = model(torch.cat((a, b)), [17, 40])
    # float64; kernels may split lengths differently, hence not zero
    torch.testing.assert_close(packed, torch.cat((model(a, [17]), model(b, [40]))), atol=1e-12, rtol=0)


def test_future_and_neighbours_are_unseen() -> None:
    model = make_model()
    tokens = torch.randint(VOCABULARY, (30,))
    other = tokens.clone()
    other[10] = (other[10] + 1) % VOCABULARY
    before, after = model(tokens, [20, 10]), model(other, [20, 10])
    same = (before == after).all(dim=-1)
    assert same[:10].all()
    assert not same[10:20].any()
    assert same[20:].all()


def test_rotary_scores_depend_on_distance() -> None:
    q, k = torch.randn(1, 1, 8, dtype=torch.float64), torch.randn(1, 1, 8, dtype=torch.float64)
    turned_q, turned_k = rotate(q.expand(12, 1, 8)), rotate(k.expand(12, 1, 8))
    scores = torch.einsum("shk,thk->st", turned_q, turned_k)
    torch.testing.assert_close(scores[5, 2], scores[9, 6])
    assert not torch.isclose(scores[5, 2], scores[5, 3])


def test_first_loss_is_that_of_guessing() -> None:
    torch.manual_seed(0)
    model = TinyLM(TinyConfig(layers=1, hidden=16, heads=2), VOCABULARY)
    loss, learnt = sft_loss(model, [Example(*encode([{"role": "assistant", "content": "patch"}]), 1.0)])
    assert loss.item() == pytest.approx(math.log(VOCABULARY), rel=1e-6)
    assert learnt == 6


def test_loss_is_the_weighted_mean_over_learnt_tokens() -> None:
    model = make_model()
    examples = [
        Example(*encode([{"role": "user", "content": "u"}, {"role": "assistant", "content": text}]), weight)
        for text, weight in (("first answer", 2.0), ("second", 0.5))
    ]
    loss, learnt = sft_loss(model, examples)
    total = mass = 0.0
    for e in examples:
        logp = model(torch.tensor(list(e.tokens)), [len(e.tokens)]).log_softmax(-1)
        for t in range(1, len(e.tokens)):
            if e.learnt[t]:
                total -= e.weight * logp[t - 1, e.tokens[t]].item()
                mass += e.weight
    # the weights are float32, exact for these two
    assert loss.item() == pytest.approx(total / mass, rel=1e-12)
    assert learnt == sum(sum(e.learnt) for e in examples)


def test_gradient_matches_finite_differences() -> None:
    model = make_model()
    batch = [Example(array("h", [258, 65, 66, 259]), b"\0\1\1\1", 1.0)]
    sft_loss(model, batch)[0].backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        at = weight.grad.abs().argmax().item()
        flat, eps = weight.data.view(-1), 1e-6
        kept = flat[at].item()
        flat[at] = kept + eps
        up = sft_loss(model, batch)[0].item()
        flat[at] = kept - eps
        down = sft_loss(model, batch)[0].item()
        flat[at] = kept
        # central differences in float64: error of order eps² plus rounding / eps
        assert (up - down) / (2 * eps) == pytest.approx(
            weight.grad.view(-1)[at].item(), rel=1e-5, abs=1e-9
        ), name
