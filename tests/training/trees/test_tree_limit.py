"""The limit's closed forms against counted batches, the published figures, and the clock's parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.model.config import preset
from training.model.model import Model
from training.objective import Objective
from training.trees.clock import Clock, timed_parts
from training.trees.edges import Sample
from training.trees.limit import (
    Episodes,
    Work,
    limit_by_operations,
    limit_of,
    own_seconds,
    shares_elsewhere,
)
from training.trees.merge import merged, side_by_side
from training.trees.split import micro_batches
from training.trees.step import run_step
from training.trees.verify import gradients_of


def samples_of(shape: Episodes, vocab: int) -> list[Sample]:
    """One sample a request; the first token after the prompt differs, so that only the prompt is shared."""
    rng = np.random.default_rng(0)
    prompt, turn = rng.integers(0, vocab, shape.prompt), shape.generated + shape.observed
    samples = []
    for rollout in range(shape.rollouts):
        own = rng.integers(0, vocab, shape.turns * turn)
        own[0] = rollout
        episode = np.concatenate([prompt, own])
        for begin in range(shape.prompt, len(episode), turn):
            tokens = episode[: begin + shape.generated]
            samples.append(Sample(tokens, np.where(np.arange(len(tokens)) >= begin, 1.0, 0.0)))
    return samples


@pytest.mark.parametrize(
    "shape", [Episodes(7, 2, 3, 5, 4), Episodes(1, 1, 0, 3, 1), Episodes(20, 1, 4, 2, 6)]
)
def test_closed_forms_are_what_batches_hold(shape: Episodes) -> None:
    samples = samples_of(shape, 320)
    assert Work.of([side_by_side(samples)]) == shape.per_request()
    assert Work.of([merged(samples)]) == shape.tree()


def test_the_published_figures() -> None:
    full = Episodes(20_000, 400, 600, turns=60, rollouts=16)
    at_m2 = limit_by_operations(preset("m2"), full)
    assert at_m2["token_ratio"] == pytest.approx(49.4, abs=0.05)
    assert at_m2["attention_ratio"] == pytest.approx(28.2, abs=0.05)
    assert at_m2["attention_share"] == pytest.approx(0.68, abs=0.01)
    assert at_m2["limit"] == pytest.approx(32.5, abs=0.1)
    assert Episodes(200, 4, 6, 60, 16).per_request().tokens == 479_040
    assert Episodes(200, 4, 6, 60, 16).tree().tokens == 9_704


def test_the_limit_of_equal_work_is_one_and_of_one_share_its_ratio() -> None:
    unmerged, tree = Work(1000, 8000, 30), Work(100, 2000, 10)
    shares = {"linear": 0.5, "attention": 0.3, "edges": 0.1, "fixed": 0.1}
    assert limit_of(shares, unmerged, unmerged) == pytest.approx(1)
    for name, ratio in (("linear", 10), ("attention", 4), ("edges", 3), ("fixed", 1)):
        only = dict.fromkeys(shares, 0.0) | {name: 1.0}
        assert limit_of(only, unmerged, tree) == pytest.approx(ratio)
    moved = shares_elsewhere(shares, unmerged, tree)
    assert sum(moved.values()) == pytest.approx(1)
    assert moved["attention"] / moved["linear"] == pytest.approx(0.3 / 0.5 * 10 / 4)


def test_own_seconds_tells_pairs_from_tokens() -> None:
    rng = np.random.default_rng(1)
    batches = [(int(pairs), 4000) for pairs in rng.integers(10**5, 10**6, 20)]
    measured = [(3e-9 * pairs + 5e-8 * tokens, pairs, tokens) for pairs, tokens in batches]
    assert own_seconds(measured) == pytest.approx(3e-9 * sum(pairs for pairs, _ in batches), rel=1e-6)


def test_the_clock_changes_nothing_and_finds_the_parts() -> None:
    model = Model(preset("tiny").replace(mtp_depth=2)).double()
    samples = samples_of(Episodes(7, 2, 3, 5, 4), 320)
    batches = micro_batches(samples, budget=60)
    assert len(batches) > 1
    objective = Objective()
    plain, wanted = gradients_of(model, batches, objective)
    clock = Clock()
    with timed_parts(model, clock):
        timed = run_step(model, batches, objective)
    assert timed.loss == plain.loss
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, wanted[name])
    assert clock.attention > 0
    assert clock.edges > 0
    again, _ = gradients_of(model, batches, objective)
    assert again.loss == plain.loss
