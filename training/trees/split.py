"""Micro-batches of a tree by a budget of tokens, losing as little sharing as can be.

Paths that stand side by side in depth-first order share most. A cut between two of them costs what they
share: that part of the tree is computed on both sides. So with the paths in that order a split into runs
computes N + Σ (shared at each cut) tokens, and the least under a budget is found exactly, in linear time.

Shapes: P paths.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from training.trees.edges import Sample
from training.trees.merge import Batch, merged
from training.trees.trie import Trie
from warehouse.errors import FactoryError


def micro_batches(
    samples: Sequence[Sample], budget: int, make: Callable[[Sequence[Sample]], Batch] = merged
) -> list[Batch]:
    """The samples of a step as trees (or `side_by_side`) of at most `budget` tokens each."""
    whole = make(samples)
    if len(whole) <= budget:
        return [whole] if len(whole) else []
    return [make([samples[index] for index in group]) for group in split(whole.trie, budget)]


def split(trie: Trie, budget: int) -> list[list[int]]:
    """Groups of paths whose own trees hold at most `budget` tokens each, fewest tokens in all.

    Raises `FactoryError` for a path longer than the budget (`training.trees.paths` runs such trees).
    """
    order_P, length_P = trie.order_P, trie.length_P
    if not len(order_P):
        return []
    longest = int(length_P.argmax())
    if length_P[longest] > budget:
        raise FactoryError(
            f"Sample {longest} has {length_P[longest]} tokens, more than a micro-batch's {budget}; raise the "
            "token budget, drop the sample, or run the tree path by path."
        )
    first = _cuts(length_P[order_P].tolist(), trie.shared_P.tolist(), budget)
    bounds = [*first, len(order_P)]
    return [order_P[a:b].tolist() for a, b in pairwise(bounds)]


def _cuts(length_P: list[int], shared_P: list[int], budget: int) -> list[int]:
    """Where groups begin.

    best[j] is the least that is lost by cutting paths 0 … j−1 into groups. A group i … j−1 holds
    length_i + Σ_{i<k<j} (length_k − shared_k) tokens, so the first i that fits moves only forward, and the
    least of best[i] + shared_i over those that fit is the head of a monotone queue. Ties go to fewer groups.
    """
    paths = len(length_P)
    fresh = np.cumsum(
        [0, *(length - shared for length, shared in zip(length_P, shared_P, strict=True))]
    ).tolist()
    best: list[tuple[int, int]] = [(0, 0)]  # tokens lost, groups
    begins = [0] * (paths + 1)
    queue: deque[tuple[tuple[int, int], int]] = deque()
    for stop in range(1, paths + 1):
        start = stop - 1
        lost, groups = best[start]
        here = (lost + (shared_P[start] if start else 0), groups + 1)
        while queue and queue[-1][0] >= here:
            queue.pop()
        queue.append((here, start))
        while fresh[stop] - fresh[queue[0][1]] + shared_P[queue[0][1]] > budget:
            queue.popleft()
        best.append(queue[0][0])
        begins[stop] = queue[0][1]
    cuts, stop = [], paths
    while stop:
        stop = begins[stop]
        cuts.append(stop)
    return cuts[::-1]
