"""How a batch of tokens is laid out: a forest. The one description of a batch that the model ever sees.

Sequences packed end to end are a forest of roots; a prefix tree is a forest with branches. A *node* is a run
of tokens without a branch. Nodes stand in depth-first order, each before its children and followed by its
subtree, the tokens of a node stand side by side, and a child continues its parent's last token. So the
tokens before token t on its path are those of its node's ancestors and those before it in its node; its
position is how many they are. Every layer treats a token by its path alone, so what a path's states are does
not depend on what else is in the batch.

A forest may continue a path computed earlier (`past` tokens, see `model.Past`): its roots then stand at
position `past`.

Shapes: T tokens, N nodes, L routers (trunk blocks, then MTP depths), K experts per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

Integers = Any  # what numpy makes an integer array of

NO_ROUTE = -1  # where a depth has no state


@dataclass(frozen=True, eq=False)
class Forest:
    """Tokens with their places. Make one by `Forest.packed` or `Forest.of_nodes`.

    Node arrays are numpy (plans are made on the host), token arrays torch. `count_T` is how many sequences
    pass through a token, which weights statistics only, never states. `routes_TLK`, where given, are the
    experts to be used instead of the router's own choice, -1 where it is to choose; L is the trunk's layers,
    or these and all MTP depths.
    """

    tokens_T: Tensor
    parent_T: Tensor
    position_T: Tensor
    count_T: Tensor
    start_N: np.ndarray
    end_N: np.ndarray
    parent_N: np.ndarray
    past: int = 0
    routes_TLK: Tensor | None = None
    _cache: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def packed(cls, sequences: Sequence[Integers], routes: Sequence[Integers] | None = None) -> Forest:
        """Sequences side by side, each a root; `routes`, if given, is one [S, L, K] array a sequence."""
        arrays = [np.asarray(sequence, np.int64) for sequence in sequences]
        lengths = np.array([len(a) for a in arrays], np.int64)
        end_N = np.cumsum(lengths)
        return cls.of_nodes(
            np.concatenate(arrays) if arrays else np.empty(0, np.int64),
            end_N - lengths,
            end_N,
            np.full(len(arrays), -1, np.int64),
            routes=None if routes is None else np.concatenate([np.asarray(r, np.int64) for r in routes]),
        )

    @classmethod
    def of_nodes(
        cls,
        tokens: Integers,
        start: Integers,
        end: Integers,
        parent: Integers,
        count: Integers | None = None,
        routes: Integers | None = None,
        past: int = 0,
    ) -> Forest:
        """The forest of nodes `start[n]:end[n]` under node `parent[n]` (-1: a root); positions are derived.

        Raises ValueError where the nodes do not describe a forest in depth-first order.
        """
        tokens_T = torch.as_tensor(np.asarray(tokens, np.int64))
        start_N, end_N, parent_N = (np.asarray(a, np.int64) for a in (start, end, parent))
        _check(len(tokens_T), start_N, end_N, parent_N)
        base_N = _bases(start_N, end_N, parent_N, past)
        length_N = end_N - start_N
        parent_T = np.arange(-1, len(tokens_T) - 1, dtype=np.int64)
        parent_T[start_N] = np.where(parent_N < 0, -1, end_N[parent_N] - 1)
        position_T = np.arange(len(tokens_T), dtype=np.int64) + np.repeat(base_N - start_N, length_N)
        count_T = np.ones(len(tokens_T), np.int64) if count is None else np.asarray(count, np.int64)
        if count_T.shape != parent_T.shape:
            raise ValueError(f"count has shape {count_T.shape}, but there are {len(tokens_T)} tokens")
        return cls(
            tokens_T,
            torch.from_numpy(parent_T),
            torch.from_numpy(position_T),
            torch.as_tensor(count_T),
            start_N,
            end_N,
            parent_N,
            past,
            None if routes is None else torch.as_tensor(np.asarray(routes, np.int64)),
        )

    def __len__(self) -> int:
        """T, the number of tokens."""
        return len(self.tokens_T)

    @cached_property
    def base_N(self) -> np.ndarray:
        """Position of each node's first token."""
        return _bases(self.start_N, self.end_N, self.parent_N, self.past)

    @cached_property
    def subtree_end_N(self) -> np.ndarray:
        """One past the last token of each node's subtree."""
        ends = self.end_N.copy()
        for node in range(len(ends) - 1, -1, -1):
            above = self.parent_N[node]
            if above >= 0 and ends[node] > ends[above]:
                ends[above] = ends[node]
        return ends

    @cached_property
    def node_T(self) -> np.ndarray:
        """The node of each token."""
        return np.repeat(np.arange(len(self.start_N)), self.end_N - self.start_N)

    def spans(self, node: int) -> np.ndarray:
        """Token ranges [n, 2] of the ancestors of `node`, root first, neighbours joined, without the past."""
        path, parents = [], self._parents
        above = parents[node]
        while above >= 0:
            path.append(above)
            above = parents[above]
        return joined(self.start_N[path[::-1]], self.end_N[path[::-1]])

    @cached_property
    def _parents(self) -> list[int]:
        return self.parent_N.tolist()

    def without_first(self, depth: int) -> tuple[Forest, Tensor]:
        """The forest without the first `depth` tokens of each path, and the rows of T that stay.

        An MTP module of that depth has a state for exactly these tokens. Positions count from what is left of
        the path: a token at `p` stands at `p - depth`.
        """
        key = ("without_first", depth)
        if key not in self._cache:
            self._cache[key] = _without_first(self, depth)
        return self._cache[key]

    def to(self, device: torch.device | str) -> Forest:
        """The forest with its token arrays on `device`; what was derived is kept."""
        if self.tokens_T.device == torch.device(device):
            return self
        moved = {
            name: getattr(self, name).to(device) for name in ("tokens_T", "parent_T", "position_T", "count_T")
        }
        routes = None if self.routes_TLK is None else self.routes_TLK.to(device)
        return Forest(
            **moved,
            start_N=self.start_N,
            end_N=self.end_N,
            parent_N=self.parent_N,
            past=self.past,
            routes_TLK=routes,
        )


def joined(start_n: np.ndarray, end_n: np.ndarray) -> np.ndarray:
    """Ranges [n, 2] in order, those that touch made one."""
    if not len(start_n):
        return np.empty((0, 2), np.int64)
    breaks = np.flatnonzero(start_n[1:] != end_n[:-1])
    return np.stack((start_n[np.append(0, breaks + 1)], end_n[np.append(breaks, len(end_n) - 1)]), axis=1)


def _check(tokens: int, start_N: np.ndarray, end_N: np.ndarray, parent_N: np.ndarray) -> None:
    if not (len(start_N) == len(end_N) == len(parent_N)):
        raise ValueError("start, end and parent must have one entry a node")
    edges = np.concatenate(([0], end_N))
    if edges[-1] != tokens or (edges[:-1] != start_N).any() or (end_N <= start_N).any():
        raise ValueError(f"the nodes must cover {tokens} tokens in order, none of them empty")
    if ((parent_N >= np.arange(len(parent_N))) | (parent_N < -1)).any():
        raise ValueError("a node must stand after its parent")
    path: list[int] = []
    for node, above in enumerate(parent_N.tolist()):
        while path and path[-1] != above:
            path.pop()
        if above >= 0 and not path:
            raise ValueError(f"node {node} is not in depth-first order: its parent's subtree had ended")
        path.append(node)


def _bases(start_N: np.ndarray, end_N: np.ndarray, parent_N: np.ndarray, past: int) -> np.ndarray:
    base = np.full(len(start_N), past, np.int64)
    lengths, parents = (end_N - start_N).tolist(), parent_N.tolist()
    for node, above in enumerate(parents):
        if above >= 0:
            base[node] = base[above] + lengths[above]
    return base


def _without_first(forest: Forest, depth: int) -> tuple[Forest, Tensor]:
    if depth <= forest.past:
        kept = torch.arange(len(forest), device=forest.tokens_T.device)
        moved = Forest(
            forest.tokens_T,
            forest.parent_T,
            forest.position_T - depth,
            forest.count_T,
            forest.start_N,
            forest.end_N,
            forest.parent_N,
            forest.past - depth,
            forest.routes_TLK,
        )
        return moved, kept
    cut_N = np.clip(depth - forest.base_N, 0, forest.end_N - forest.start_N)
    length_N = forest.end_N - forest.start_N - cut_N
    stays = length_N > 0
    kept = torch.nonzero(forest.position_T >= depth)[:, 0]
    number_N = np.cumsum(stays) - 1  # an ancestor that goes takes its own ancestors with it
    parent_N = np.where((forest.parent_N >= 0) & stays[forest.parent_N], number_N[forest.parent_N], -1)[stays]
    end_N = np.cumsum(length_N[stays])
    kept_host = kept.cpu()
    left = Forest.of_nodes(
        forest.tokens_T.cpu()[kept_host],
        end_N - length_N[stays],
        end_N,
        parent_N,
        forest.count_T.cpu()[kept_host],
        None if forest.routes_TLK is None else forest.routes_TLK.cpu()[kept_host],
    )
    return left.to(forest.tokens_T.device), kept
