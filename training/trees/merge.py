"""Samples as a batch: merged into a tree, or side by side as if nothing were shared.

Both are the same record, so that whatever is computed of a tree can be computed of its separate paths by the
same code; that is how trees are checked (`training.trees.verify`) and what they are measured against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from training.trees.edges import Edges, Sample, edges_of
from training.trees.trie import Trie, build_trie
from warehouse.errors import FactoryError

if TYPE_CHECKING:
    from training.model.layout import Forest


@dataclass(frozen=True, eq=False)
class Batch:
    """A forest of samples and what is learnt on it."""

    trie: Trie
    edges: Edges

    @cached_property
    def forest(self) -> Forest:
        """The layout the model takes."""
        return self.trie.forest()

    def __len__(self) -> int:
        """T, the tokens that are computed."""
        return len(self.trie.tokens_T)


def merged(samples: Sequence[Sample]) -> Batch:
    """Samples as a tree. Where routes are replayed, only equal routes merge."""
    trie = build_trie([sample.tokens_S for sample in samples], _routes(samples))
    return Batch(trie, edges_of(trie, samples))


def side_by_side(samples: Sequence[Sample]) -> Batch:
    """Samples packed one after another, each a root of its own."""
    lengths = np.array([len(sample.tokens_S) for sample in samples], np.int64)
    ends = np.cumsum(lengths)
    starts, size, filled = ends - lengths, int(lengths.sum()), lengths > 0
    position_T = np.arange(size) - np.repeat(starts, lengths)
    routes = _routes(samples)
    trie = Trie(
        tokens_T=np.concatenate(
            [np.asarray(s.tokens_S, np.int64) for s in samples] or [np.empty(0, np.int64)]
        ),
        parent_T=np.where(position_T == 0, -1, np.arange(size) - 1),
        position_T=position_T,
        count_T=np.ones(size, np.int64),
        last_P=np.where(filled, ends - 1, -1),
        start_N=starts[filled],
        end_N=ends[filled],
        parent_N=np.full(int(filled.sum()), -1),
        subtree_end_N=ends[filled],
        order_P=np.arange(len(samples)),
        shared_P=np.zeros(len(samples), np.int64),
        routes_TLK=None if routes is None else np.concatenate(routes),
    )
    return Batch(trie, edges_of(trie, samples))


def _routes(samples: Sequence[Sample]) -> list | None:
    given = [sample.routes_SLK for sample in samples if sample.routes_SLK is not None]
    if given and len(given) != len(samples):
        raise FactoryError(
            f"Only {len(given)} of {len(samples)} samples have routes; replay all of them or none."
        )
    return given or None
