"""What the loss is taken of: edges of a forest, and what each path says about them.

An edge leads from a token to one that follows it. Every token but a root has exactly one token before it, so
an edge is named by the token it leads to, and a token before a branch has several. The first token of a path
has no edge: nothing predicts it.

Logits are wanted once for each token that a supervised edge leaves (*row*), log-probabilities once for each
supervised edge. Weights, advantages and behaviour log-probabilities belong to (path, edge) and are kept as
such; where a loss is linear in the edge's log-probability they are summed to one weight an edge, in the order
of the paths, which changes no gradient.

Shapes: T tokens, E supervised edges, R rows, M (path, edge) pairs, S tokens of one path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.trees.trie import Trie
from warehouse.errors import FactoryError

Ints = NDArray[np.integer]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sample:
    """A training sample: a path of tokens, and how each is to be learnt as what follows those before it.

    weight_S        how much the token counts; 0: it is context. Normalisers are part of it, so that no loss
                    depends on what else is in its micro-batch. The first token's is not used.
    advantage_S     of the token, for CISPO
    behaviour_S     log-probability under the policy that sampled it, for CISPO
    routes_SLK      experts to be used, where routing is replayed
    """

    tokens_S: Ints
    weight_S: Floats
    advantage_S: Floats | None = None
    behaviour_S: Floats | None = None
    routes_SLK: Ints | None = None

    def __post_init__(self) -> None:
        for name in ("weight_S", "advantage_S", "behaviour_S", "routes_SLK"):
            given = getattr(self, name)
            if given is not None and len(given) != len(self.tokens_S):
                raise FactoryError(
                    f"A sample of {len(self.tokens_S)} tokens has {name} of {len(given)}; give one a token."
                )
        learnt = np.asarray(self.weight_S) != 0
        for name in ("weight_S", "advantage_S", "behaviour_S"):
            given = getattr(self, name)
            if given is not None and not np.isfinite(np.asarray(given, np.float64)[learnt]).all():
                raise FactoryError(
                    f"A sample's {name} is not finite at a token that is learnt; drop or mend the sample."
                )


@dataclass(frozen=True, eq=False)
class Edges:
    """The supervised edges of a forest and the (path, edge) pairs on them.

    child_E     token the edge leads to; edges stand by the token they leave, then by this
    target_E    its id
    row_E       which row the edge leaves
    source_R    the token of each row, ascending
    edge_M, path_M, weight_M, advantage_M, behaviour_M   the pairs, edge by edge, then by path
    """

    child_E: Ints
    target_E: Ints
    row_E: Ints
    source_R: Ints
    edge_M: Ints
    path_M: Ints
    weight_M: Floats
    advantage_M: Floats | None
    behaviour_M: Floats | None

    def __len__(self) -> int:
        """E, the number of supervised edges."""
        return len(self.child_E)

    def leaving(self, start: int, stop: int) -> Edges:
        """The edges that leave the tokens `start:stop`, whose sources are counted from `start`."""
        r0, r1 = np.searchsorted(self.source_R, (start, stop))
        e0, e1 = np.searchsorted(self.row_E, (r0, r1))
        m0, m1 = np.searchsorted(self.edge_M, (e0, e1))
        return Edges(
            child_E=self.child_E[e0:e1],
            target_E=self.target_E[e0:e1],
            row_E=self.row_E[e0:e1] - r0,
            source_R=self.source_R[r0:r1] - start,
            edge_M=self.edge_M[m0:m1] - e0,
            path_M=self.path_M[m0:m1],
            weight_M=self.weight_M[m0:m1],
            advantage_M=None if self.advantage_M is None else self.advantage_M[m0:m1],
            behaviour_M=None if self.behaviour_M is None else self.behaviour_M[m0:m1],
        )

    def collapsed(self, values_M: Any) -> Floats:
        """Σ over the pairs of each edge."""
        values_M = np.asarray(values_M, np.float64)
        return np.bincount(self.edge_M, values_M, len(self.child_E)).astype(np.float64, copy=False)


def edges_of(trie: Trie, samples: Sequence[Sample]) -> Edges:
    """The supervised edges of `trie`, which was built of `samples` in this order."""
    if len(samples) != len(trie.last_P):
        raise FactoryError(f"The tree has {len(trie.last_P)} paths, but {len(samples)} samples were given.")
    child, path, where = [], [], []
    for index, sample in enumerate(samples):
        learnt_S = np.asarray(sample.weight_S) != 0
        learnt_S[:1] = False
        at = np.flatnonzero(learnt_S)
        where.append(at)
        child.append(trie.path(index)[at])
        path.append(np.full(len(at), index))
    child_M = _joined(child, np.int64)
    source_M = trie.parent_T[child_M]
    order_M = np.lexsort((child_M, source_M))  # stable: pairs of an edge stay in the order of their paths
    child_M, source_M = child_M[order_M], source_M[order_M]
    first_M = np.diff(child_M, prepend=-1) != 0
    child_E = child_M[first_M]
    source_R, row_E = np.unique(source_M[first_M], return_inverse=True)
    return Edges(
        child_E=child_E,
        target_E=trie.tokens_T[child_E],
        row_E=row_E,
        source_R=source_R,
        edge_M=np.cumsum(first_M) - 1,
        path_M=_joined(path, np.int64)[order_M],
        weight_M=_picked(samples, "weight_S", where, order_M, needed=True),
        advantage_M=_picked(samples, "advantage_S", where, order_M),
        behaviour_M=_picked(samples, "behaviour_S", where, order_M),
    )


def _joined(parts: list[Any], kind: Any) -> Any:
    return np.concatenate(parts).astype(kind) if parts else np.empty(0, kind)


def _picked(
    samples: Sequence[Sample], name: str, where: list[Ints], order_M: Ints, needed: bool = False
) -> Any:
    """A field of all samples at the learnt tokens; None where no sample has it."""
    given = [getattr(sample, name) is not None for sample in samples]
    if not needed and not any(given):
        return None
    if not all(given):
        raise FactoryError(
            f"Only {sum(given)} of {len(given)} samples have {name}; give it to all of them or to none."
        )
    parts = [np.asarray(getattr(s, name), np.float64)[at] for s, at in zip(samples, where, strict=True)]
    return _joined(parts, np.float64)[order_M]
