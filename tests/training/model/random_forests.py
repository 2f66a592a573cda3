"""Random forests with the sequences they stand for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.model.layout import Forest


@dataclass(frozen=True)
class Tree:
    """A forest, its sequences (each a path from a root to a leaf), and where each one's tokens are in it."""

    forest: Forest
    sequences: list[np.ndarray]
    rows: list[np.ndarray]

    @property
    def packed_rows(self) -> np.ndarray:
        """For each token of `Forest.packed(sequences)`, its token in `forest`."""
        return np.concatenate(self.rows)


def grow(seed: int, *, nodes: int, longest: int, vocabulary: int = 97, roots: float = 0.1) -> Tree:
    """A forest of `nodes` nodes of 1 to `longest` tokens, each under a random earlier node or a root."""
    rng = np.random.default_rng(seed)
    above = [-1] + [-1 if rng.random() < roots else int(rng.integers(0, n)) for n in range(1, nodes)]
    children: list[list[int]] = [[] for _ in range(nodes)]
    for node, parent in enumerate(above):
        if parent >= 0:
            children[parent].append(node)
    order: list[int] = []
    open_nodes = [n for n in range(nodes) if above[n] < 0][::-1]
    while open_nodes:
        order.append(open_nodes.pop())
        open_nodes += children[order[-1]][::-1]
    number = {node: n for n, node in enumerate(order)}
    parent_N = np.array([number[above[node]] if above[node] >= 0 else -1 for node in order])
    length_N = rng.integers(1, longest + 1, nodes)
    end_N = np.cumsum(length_N)
    tokens = rng.integers(0, vocabulary, int(end_N[-1]))
    rows: list[np.ndarray] = []
    count = np.zeros(len(tokens), np.int64)
    for leaf in set(range(nodes)) - set(parent_N.tolist()):
        path, node = [], leaf
        while node >= 0:
            path.append(np.arange(end_N[node] - length_N[node], end_N[node]))
            node = int(parent_N[node])
        rows.append(np.concatenate(path[::-1]))
        count[rows[-1]] += 1
    forest = Forest.of_nodes(tokens, end_N - length_N, end_N, parent_N, count)
    return Tree(forest, [tokens[row] for row in rows], rows)
