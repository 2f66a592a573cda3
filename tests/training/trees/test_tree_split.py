"""Micro-batches keep to the budget, and no split of the same order computes fewer tokens."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.trees.edges import Sample
from training.trees.paths import Piece, Up, pieces
from training.trees.split import micro_batches, split
from training.trees.trie import build_trie
from warehouse.errors import FactoryError

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=8)


def size(sequences: list[list[int]], group: list[int]) -> int:
    """Unique tokens of a group."""
    return len({tuple(sequences[i][:end]) for i in group for end in range(1, len(sequences[i]) + 1)})


@settings(max_examples=150)
@given(SEQUENCES, st.integers(0, 12))
def test_splits_are_whole_fit_and_are_the_best_of_their_order(sequences: list[list[int]], room: int) -> None:
    budget = max(map(len, sequences)) + room
    trie = build_trie([np.array(sequence) for sequence in sequences])
    groups = split(trie, budget)
    assert sorted(i for group in groups for i in group) == list(range(len(sequences)))
    sizes = [size(sequences, group) for group in groups]
    assert max(sizes) <= budget
    order = trie.order_P.tolist()
    least = min(
        sum(parts)
        for count in range(len(order))
        for cuts in combinations(range(1, len(order)), count)
        if max(parts := [size(sequences, order[a:b]) for a, b in zip((0, *cuts), (*cuts, None), strict=True)])
        <= budget
    )
    assert sum(sizes) == least


def best_partition(sequences: list[list[int]], budget: int) -> int:
    """The least of any partition at all, by dynamic programming over subsets."""
    count = len(sequences)
    sizes = [size(sequences, [i for i in range(count) if mask >> i & 1]) for mask in range(1 << count)]
    best = [0] + [1 << 30] * ((1 << count) - 1)
    for mask in range(1, 1 << count):
        part = mask
        while part:
            if part & mask & -mask and sizes[part] <= budget:
                best[mask] = min(best[mask], sizes[part] + best[mask ^ part])
            part = (part - 1) & mask
    return best[-1]


def test_depth_first_order_costs_little_against_any_partition() -> None:
    """Agent trees of 8 leaves, against the optimum over all partitions into sets: 3 % on average."""
    rng, ours, optimum = np.random.default_rng(0), 0, 0
    for _ in range(25):
        base = [rng.integers(0, 9, rng.integers(6, 14)).tolist()]
        for _ in range(7):
            start = base[rng.integers(len(base))]
            base.append(
                start[: rng.integers(2, len(start))] + rng.integers(0, 9, rng.integers(2, 9)).tolist()
            )
        budget = max(map(len, base)) + int(rng.integers(4, 20))
        groups = split(build_trie([np.array(sequence) for sequence in base]), budget)
        ours += sum(size(base, group) for group in groups)
        optimum += best_partition(base, budget)
    assert optimum <= ours <= 1.03 * optimum


def test_a_path_over_the_budget_is_named() -> None:
    trie = build_trie([np.array([1]), np.array([1, 2, 3])])
    with pytest.raises(FactoryError, match=r"Sample 1 has 3 tokens, more than a micro-batch's 2"):
        split(trie, 2)
    assert split(build_trie([]), 5) == []


@settings(max_examples=150)
@given(SEQUENCES, st.integers(1, 30))
def test_pieces_run_every_token_after_its_path(sequences: list[list[int]], tokens: int) -> None:
    """Trunks nest, twigs hang on the trunk at hand, and no piece is larger than it may be."""
    trie = build_trie([np.array(sequence) for sequence in sequences])
    path: list[Piece] = []
    seen: list[int] = []
    for item in pieces(trie, tokens):
        if isinstance(item, Up):
            assert path.pop() == item.piece
            continue
        assert 0 < item.stop - item.start <= tokens
        assert item.past == sum(trunk.stop - trunk.start for trunk in path)
        parents = trie.parent_T[item.start : item.stop]
        outside = set(parents[parents < item.start].tolist())
        assert outside <= {path[-1].stop - 1 if path else -1}
        seen += range(item.start, item.stop)
        if item.trunk:
            assert parents[1:].tolist() == list(range(item.start, item.stop - 1))
            path.append(item)
    assert not path
    assert sorted(seen) == list(range(len(trie.tokens_T)))


def test_micro_batches_of_nothing_are_none() -> None:
    assert micro_batches([], 10) == []
    assert micro_batches([Sample(np.array([], np.int64), np.array([]))], 10) == []
    assert [len(batch) for batch in micro_batches([Sample(np.arange(4), np.ones(4))] * 3, 4)] == [4]


def test_samples_are_checked_when_they_are_made() -> None:
    with pytest.raises(FactoryError, match="weight_S of 2"):
        Sample(np.arange(3), np.ones(2))
    with pytest.raises(FactoryError, match="not finite"):
        Sample(np.arange(2), np.ones(2), advantage_S=np.array([0.0, np.inf]))
    Sample(
        np.arange(2), np.array([0.0, 1.0]), behaviour_S=np.array([np.nan, -1.0])
    )  # not learnt: not looked at
    tokens = np.arange(3)
    with pytest.raises(FactoryError, match="Only 1 of 2 samples have advantage_S"):
        micro_batches([Sample(tokens, np.ones(3), advantage_S=np.ones(3)), Sample(tokens, np.ones(3))], 9)
    routes = np.zeros((3, 1, 1), np.uint8)
    with pytest.raises(FactoryError, match="Only 1 of 2 samples have routes"):
        micro_batches([Sample(tokens, np.ones(3), routes_SLK=routes), Sample(tokens, np.ones(3))], 9)
