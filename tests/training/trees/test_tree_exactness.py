"""A tree's gradients are its paths' gradients: every parameter, MTP, both losses, any split, both precisions.

`benchmarks/tree_exactness.py` does the same on more than 1 000 trees and prints the largest errors.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_trees import random_samples, samples_of

from training.model.config import preset
from training.model.model import Model
from training.objective import Loss, MtpLoss, Objective
from training.trees.edges import Sample
from training.trees.merge import merged, side_by_side
from training.trees.paths import run_by_paths
from training.trees.step import run_step
from training.trees.verify import LIMITS, gradients_of, relative_errors, verify_merge
from warehouse.errors import FactoryError

OBJECTIVES = [
    Objective(loss=Loss.SFT, mtp=MtpLoss.TARGETS),
    Objective(loss=Loss.CISPO, ratio_max=2.0, mtp=MtpLoss.POLICY, mtp_top_k=5),
]
MODELS: dict[tuple[int, torch.dtype], Model] = {}


def model_of(depth: int, dtype: torch.dtype) -> Model:
    """A tiny model, kept between examples; weights wide enough that nothing is nearly linear."""
    if (depth, dtype) not in MODELS:
        config = preset("tiny").replace(mtp_depth=depth, init_std=0.1)
        MODELS[depth, dtype] = Model(config).to(dtype)
    return MODELS[depth, dtype]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@settings(max_examples=25)
@given(
    random_samples(),
    st.sampled_from([0, 1, 2, 3]),
    st.sampled_from(OBJECTIVES),
    st.sampled_from([torch.float64, torch.float32]),
    st.sampled_from([None, 19, 40]),
)
def test_a_tree_learns_what_its_paths_learn(
    samples: list[Sample], depth: int, objective: Objective, dtype: torch.dtype, budget: int | None
) -> None:
    report = verify_merge(model_of(depth, dtype), samples, objective, budget)
    assert report.error <= LIMITS[dtype]
    assert report.loss_error <= LIMITS[dtype]
    assert report.counts_equal
    assert report.tree_tokens <= report.tokens
    if dtype is torch.float64:
        assert report.flips == 0


@settings(max_examples=25)
@given(
    random_samples(),
    st.sampled_from([0, 1, 3]),
    st.sampled_from(OBJECTIVES),
    st.sampled_from([1, 2, 7, 25, 10_000]),
)
def test_path_by_path_execution_is_the_whole_tree(
    samples: list[Sample], depth: int, objective: Objective, tokens: int
) -> None:
    model, batch = model_of(depth, torch.float64), merged(samples)
    whole, wanted = gradients_of(model, [batch], objective)
    model.zero_grad()
    by_paths = run_by_paths(model, batch, objective, tokens)
    found = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    assert max(relative_errors(found, wanted, wanted).values()) <= 1e-12
    assert by_paths.loss == pytest.approx(whole.loss, rel=1e-12, abs=1e-14)
    assert by_paths.mtp_losses == pytest.approx(whole.mtp_losses, rel=1e-12, abs=1e-14)
    assert (by_paths.tokens, by_paths.edges, by_paths.pairs, by_paths.cut) == (
        whole.tokens,
        whole.edges,
        whole.pairs,
        whole.cut,
    )
    assert torch.equal(by_paths.expert_counts_LE, whole.expert_counts_LE)  # ty: ignore[invalid-argument-type]


def test_replayed_routes_split_the_tree_and_are_used() -> None:
    """Equal tokens with one recorded route changed do not merge from there on; gradients are exact."""
    model = model_of(1, torch.float64)
    rng = np.random.default_rng(3)
    samples = samples_of([(0, 0, 9), (1, 9, 0), (1, 6, 3)], rng, 320)[1:]
    with torch.no_grad():
        live = [model.states(side_by_side([sample]).forest).routes_TLK.numpy() for sample in samples]
    other = live[1].copy()
    other[4, 0] = (other[4, 0] + 1) % model.config.experts
    samples = [
        replace(sample, routes_SLK=r) for sample, r in zip(samples, [live[0], other, live[2]], strict=True)
    ]
    batch = merged(samples)
    assert len(batch) == 9 + 5 + 3
    report = verify_merge(model, samples, OBJECTIVES[1])
    assert report.error <= 1e-12
    assert report.flips == 0
    tally = run_step(model, [batch], OBJECTIVES[0])
    model.zero_grad()
    counts = np.zeros(model.config.experts, np.int64)
    for routes in (live[0], other, live[2]):
        counts += np.bincount(routes[:, 0].ravel(), minlength=model.config.experts)
    assert tally.expert_counts_LE is not None
    assert tally.expert_counts_LE[0].tolist() == counts.tolist()


def test_a_branch_token_predicts_all_its_children() -> None:
    """The loss of a fork is the sum of both continuations' own losses, from one row of logits."""
    model = model_of(0, torch.float64)
    fork = [Sample(np.array([5, 6, last]), np.array([0, 0, 1.0])) for last in (7, 8)]
    batch = merged(fork)
    assert (len(batch), len(batch.edges), len(batch.edges.source_R)) == (4, 2, 1)
    whole, _ = gradients_of(model, [batch], OBJECTIVES[0])
    apart = [gradients_of(model, [side_by_side([sample])], OBJECTIVES[0])[0].loss for sample in fork]
    assert whole.loss == pytest.approx(sum(apart), rel=1e-13)


def test_a_broken_merge_is_told() -> None:
    """Positions that count flat tokens instead of depth: the classic fault."""
    model = model_of(0, torch.float64)
    samples = samples_of([(0, 0, 8), (1, 4, 4), (1, 2, 5)], np.random.default_rng(0), 320)[1:]

    class Shifted(Model):
        def states(self, forest, past=None):
            if len(forest.start_N) > 1:
                forest = replace(forest, position_T=torch.arange(len(forest)))
            return super().states(forest, past)

    broken = Shifted(model.config).double()
    broken.load_state_dict(model.state_dict())
    report = verify_merge(broken, samples, OBJECTIVES[0])
    assert report.error > 1e-3
    with pytest.raises(FactoryError, match="Merging changes the gradient"):
        report.require(LIMITS[torch.float64])
    verify_merge(model, samples, OBJECTIVES[0]).require(LIMITS[torch.float64])


def test_no_token_learnt_adds_no_gradient() -> None:
    model: Model = model_of(1, torch.float64)
    sample = Sample(np.array([1, 2, 3]), np.array([1.0, 0, 0]))  # the first token has no edge
    model.zero_grad()
    tally = run_step(model, [merged([sample])], OBJECTIVES[0])
    assert (tally.loss, tally.edges) == (0.0, 0)
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
