"""The forest: what is derived from its nodes, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.model.layout import Forest

TOKENS = np.arange(10)
STARTS, ENDS, PARENTS = [0, 3, 5, 8], [3, 5, 8, 10], [-1, 0, 0, -1]  # 0 has children 1 and 2; 3 is a root


def test_parents_and_positions_follow_paths() -> None:
    forest = Forest.of_nodes(TOKENS, STARTS, ENDS, PARENTS)
    assert forest.parent_T.tolist() == [-1, 0, 1, 2, 3, 2, 5, 6, -1, 8]
    assert forest.position_T.tolist() == [0, 1, 2, 3, 4, 3, 4, 5, 0, 1]
    assert forest.count_T.tolist() == [1] * 10
    assert forest.subtree_end_N.tolist() == [8, 5, 8, 10]
    assert forest.spans(2).tolist() == [[0, 3]]
    assert forest.spans(3).tolist() == []


def test_neighbouring_ancestors_are_one_span() -> None:
    forest = Forest.of_nodes(np.arange(6), [0, 1, 3, 4], [1, 3, 4, 6], [-1, 0, 1, 1])
    assert forest.spans(2).tolist() == forest.spans(3).tolist() == [[0, 3]]


def test_packed_sequences_are_roots() -> None:
    forest = Forest.packed([[5, 6, 7], [8], [9, 9]])
    assert forest.tokens_T.tolist() == [5, 6, 7, 8, 9, 9]
    assert forest.parent_T.tolist() == [-1, 0, 1, -1, -1, 4]
    assert forest.position_T.tolist() == [0, 1, 2, 0, 0, 1]


def test_positions_go_on_after_the_past() -> None:
    forest = Forest.of_nodes(TOKENS, STARTS, ENDS, PARENTS, past=100)
    assert forest.position_T.tolist() == [100, 101, 102, 103, 104, 103, 104, 105, 100, 101]


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_without_first_is_what_is_left_of_each_path(depth: int) -> None:
    forest = Forest.of_nodes(TOKENS, STARTS, ENDS, PARENTS, routes=np.arange(20).reshape(10, 1, 2))
    left, kept = forest.without_first(depth)
    assert kept.tolist() == [t for t in range(10) if int(forest.position_T[t]) >= depth]
    assert left.tokens_T.tolist() == kept.tolist()
    assert left.position_T.tolist() == (forest.position_T[kept] - depth).tolist()
    assert forest.routes_TLK is not None
    assert torch.equal(left.routes_TLK, forest.routes_TLK[kept]) if left.routes_TLK is not None else False
    before = {int(t): int(forest.parent_T[t]) for t in kept}
    expected = [
        -1 if int(forest.position_T[t]) == depth else kept.tolist().index(before[int(t)]) for t in kept
    ]
    assert left.parent_T.tolist() == expected


def test_a_depth_beyond_every_path_leaves_nothing() -> None:
    left, kept = Forest.packed([[1, 2], [3]]).without_first(2)
    assert len(left) == len(kept) == 0


@pytest.mark.parametrize(
    ("start", "end", "parent", "sentence"),
    [
        ([0, 3], [3, 9], [-1, 0], "cover 10 tokens"),
        ([0, 4], [3, 10], [-1, 0], "cover 10 tokens"),
        ([0, 3, 3], [3, 3, 10], [-1, 0, 0], "none of them empty"),
        ([0, 3], [3, 10], [-1, 1], "after its parent"),
        ([0, 2, 4, 6], [2, 4, 6, 10], [-1, 0, 0, 1], "depth-first"),
        ([0, 2, 4], [2, 4, 10], [-1, -1, 0], "depth-first"),
        ([0], [10], [-1, -1], "one entry a node"),
    ],
)
def test_what_is_no_forest_is_refused(start: list, end: list, parent: list, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Forest.of_nodes(TOKENS, start, end, parent)
