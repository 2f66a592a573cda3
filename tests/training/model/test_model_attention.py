"""Chunked attention against one dense mask over all tokens, in float64: outputs and all gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_forests import grow
from torch import Tensor

from training.model import attention
from training.model.attention import LARGEST, attend, plan
from training.model.layout import Forest

H, G, D = 4, 2, 8
CPU = torch.device("cpu")


def dense(q_THD: Tensor, k_SGD: Tensor, v_SGD: Tensor, forest: Forest) -> Tensor:
    """What `attend` must be: softmax over the path of each token, by a mask of T × T."""
    tokens = len(forest)
    seen = torch.zeros(tokens, forest.past + tokens, dtype=torch.bool)
    seen[:, : forest.past] = True
    for token in range(tokens):
        at = token
        while at >= 0:
            seen[token, forest.past + at] = True
            at = int(forest.parent_T[at])
    k, v = (x.repeat_interleave(H // G, 1) for x in (k_SGD, v_SGD))
    scores = torch.einsum("thd,shd->hts", q_THD, k) * D**-0.5
    return torch.einsum("hts,shd->thd", scores.masked_fill(~seen, -torch.inf).softmax(-1), v)


def inputs(tokens: int, past: int = 0, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(shape, dtype=torch.float64, generator=source).requires_grad_()
        for shape in ((tokens, H, D), (past + tokens, G, D), (past + tokens, G, D))
    )


def assert_same(forest: Forest, seed: int = 0) -> None:
    q, k, v = inputs(len(forest), forest.past, seed)
    past = (k[: forest.past], v[: forest.past]) if forest.past else None
    ours = attend(q, k[forest.past :], v[forest.past :], forest, past)
    theirs = dense(q, k, v, forest)
    weight = torch.randn(ours.shape, dtype=ours.dtype, generator=torch.Generator().manual_seed(seed + 1))
    found = torch.autograd.grad((ours * weight).sum(), (q, k, v))
    wanted = torch.autograd.grad((theirs * weight).sum(), (q, k, v))
    assert (ours - theirs).abs().max() <= 1e-13
    scale = max(float(w.abs().max()) for w in wanted)  # a gradient may be zero: one key has no choice
    for a, b in zip(found, wanted, strict=True):
        assert (a - b).abs().max() <= 1e-12 * scale


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), nodes=st.integers(1, 12), longest=st.integers(1, 40))
def test_any_forest(seed: int, nodes: int, longest: int) -> None:
    assert_same(grow(seed, nodes=nodes, longest=longest).forest, seed)


@pytest.mark.parametrize(
    ("nodes", "longest", "roots"), [(40, 60, 0.0), (6, 400, 0.2), (90, 9, 0.5), (1, 900, 0)]
)
def test_forests_of_several_chunks(nodes: int, longest: int, roots: float) -> None:
    tree = grow(7, nodes=nodes, longest=longest, roots=roots)
    assert len(plan(tree.forest, CPU, H * D)) > 1
    assert_same(tree.forest)


def test_every_pair_in_vain_is_masked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(attention.CALL, "cpu", 1 << 40)  # chunks take in whatever comes next
    for seed in range(5):
        assert_same(grow(seed, nodes=50, longest=20, roots=0.3).forest, seed)


def test_a_forest_goes_on_where_the_past_ends() -> None:
    whole = grow(3, nodes=9, longest=60).forest
    forest = Forest.of_nodes(whole.tokens_T, whole.start_N, whole.end_N, whole.parent_N, past=130)
    assert_same(forest)


def test_packed_sequences_do_not_see_each_other() -> None:
    q, k, v = inputs(600)
    whole = attend(q, k, v, Forest.packed([np.zeros(n) for n in (5, 300, 1, 294)]))
    at = 0
    for length in (5, 300, 1, 294):
        cut = slice(at, at + length)
        alone = attend(q[cut], k[cut], v[cut], Forest.packed([np.zeros(length)]))
        torch.testing.assert_close(whole[cut], alone, rtol=0, atol=1e-14)
        at += length


def test_chunks_cover_tokens_once_and_keep_their_size() -> None:
    forest = grow(11, nodes=60, longest=300).forest
    chunks = plan(forest, CPU, H * D)
    assert [c.start for c in chunks[1:]] == [c.stop for c in chunks[:-1]]
    assert (chunks[0].start, chunks[-1].stop) == (0, len(forest))
    assert max(c.stop - c.start for c in chunks) <= LARGEST
    assert plan(forest, CPU, H * D) is chunks  # made once


def test_short_siblings_share_a_call() -> None:
    """64 completions of 4 tokens after a prompt of 20 are few chunks, not 64."""
    starts = [0, *range(20, 276, 4)]
    forest = Forest.of_nodes(np.zeros(276), starts, [*starts[1:], 276], [-1] + [0] * 64)
    assert len(plan(forest, CPU, H * D)) <= 6
    assert_same(forest)


def test_bfloat16_is_near_float64() -> None:
    forest = grow(5, nodes=8, longest=50).forest
    q, k, v = inputs(len(forest))
    low = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), forest)
    assert low.dtype == torch.bfloat16
    assert (low.double() - dense(q, k, v, forest)).abs().max() < 0.05


def test_a_deep_tree_is_planned_in_time_that_grows_with_its_tokens() -> None:
    """A branch at every turn: 2 000 deep, and each chunk's path is as many ranges."""
    turns, said, tried = 2000, 20, 100
    starts = np.arange(turns)[:, None] * (said + tried) + [0, said]
    ends = starts + np.array([said, tried])
    parents = np.stack((2 * np.arange(turns) - 2, 2 * np.arange(turns)), axis=1)
    parents[0, 0] = -1
    forest = Forest.of_nodes(np.zeros(ends.max()), starts.ravel(), ends.ravel(), parents.ravel())
    chunks = plan(forest, CPU, 512)
    assert len(chunks[-1].spans) == turns
    assert chunks[-1].outside + chunks[-1].stop - chunks[-1].start == (chunks[-1].spans @ [-1, 1]).sum()
