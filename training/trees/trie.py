"""Merging sequences into a forest: sort, then compare neighbours.

Any order that compares fixed-width tokens one after another puts sequences with a common prefix side by
side, so the sequences are sorted as byte strings (one `memcmp` a comparison) and each is compared with the
one before it. What a sequence does not share with its neighbour is new: the unique tokens are those suffixes,
one after another, which is the forest in depth-first order. No object exists per token.

What holds:
- A token is merged with another when everything from the root to it is equal: tokens, and routes where routes
  are given. A route enters the sort as a 64-bit hash; which tokens merge is decided by the routes themselves.
- The first child of a token is the token after it. A node is a maximal run without a branch; a sequence that
  ends inside a node does not cut it.
- Equal sequences, sequences that end inside others and empty sequences are all kept as paths.

Shapes: T unique tokens, N nodes, P paths, S suffixes, L layers, K experts per token, W words of a route.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from warehouse.errors import FactoryError

if TYPE_CHECKING:
    from training.model.layout import Forest

Ints = NDArray[np.integer]
HASH_SEEDS = range(4)


@dataclass(frozen=True)
class Trie:
    """The forest of some sequences and where each of them ends.

    tokens_T      token ids in depth-first order
    parent_T      flat index of the token before, -1 at a root
    position_T    tokens above it
    count_T       paths through it
    last_P        flat index of the last token of each path, in the order given; -1 for an empty path
    start_N, end_N, parent_N, subtree_end_N    nodes: their tokens, the node above (-1), the end of all below
    order_P, shared_P   the paths in depth-first order, and how many tokens each shares with the one before
    """

    tokens_T: Ints
    parent_T: Ints
    position_T: Ints
    count_T: Ints
    last_P: Ints
    start_N: Ints
    end_N: Ints
    parent_N: Ints
    subtree_end_N: Ints
    order_P: Ints
    shared_P: Ints
    routes_TLK: Ints | None = field(default=None)

    @cached_property
    def node_T(self) -> Ints:
        """The node of each token."""
        return np.repeat(np.arange(len(self.start_N)), self.end_N - self.start_N)

    @cached_property
    def length_P(self) -> Ints:
        """The length of each path."""
        return (
            np.where(self.last_P < 0, 0, self.position_T[self.last_P] + 1)
            if len(self.tokens_T)
            else 0 * self.last_P
        )

    def path(self, path: int) -> Ints:
        """The flat indices of a path's tokens, root first."""
        last = int(self.last_P[path])
        if last < 0:
            return np.empty(0, np.int64)
        node, end, runs = int(np.searchsorted(self.start_N, last, "right")) - 1, last + 1, []
        while node >= 0:
            start = int(self.start_N[node])
            runs.append(np.arange(start, end))
            node = int(self.parent_N[node])
            end = int(self.end_N[node])
        return np.concatenate(runs[::-1])

    def forest(self) -> Forest:
        """The layout the model takes."""
        from training.model.layout import Forest

        return Forest.of_nodes(
            self.tokens_T, self.start_N, self.end_N, self.parent_N, self.count_T, self.routes_TLK
        )


def build_trie(sequences: Sequence[Ints], routes: Sequence[Ints] | None = None) -> Trie:
    """Merge sequences of token ids (and `[L, K]` routes for each token) by their prefixes.

    Raises `FactoryError` for sequences that are not flat integers, or routes of another length.
    """
    sequences = _same_integers(sequences)
    if routes is None:
        keys, width = [tokens.tobytes() for tokens in sequences], _words(sequences)
        order, shared = _sorted_and_shared(keys, width)
    else:
        routes = _routes_of(sequences, routes)
        order, shared = _sorted_by_route(sequences, routes)
    return _grow(sequences, routes, order, shared)


def _same_integers(sequences: Sequence[Ints]) -> list[Ints]:
    arrays = [np.ascontiguousarray(tokens) for tokens in sequences]
    for index, array in enumerate(arrays):
        if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
            raise FactoryError(
                f"Sequence {index} has shape {array.shape} and type {array.dtype}; give flat arrays of ids."
            )
    kinds = {array.dtype for array in arrays if array.size}
    if len(kinds) == 1 and (only := next(iter(kinds))).itemsize in (4, 8):
        return [array if array.size else array.astype(only) for array in arrays]
    return [array.astype(np.int64) for array in arrays]


def _routes_of(sequences: list[Ints], routes: Sequence[Ints]) -> list[Ints]:
    if len(routes) != len(sequences):
        raise FactoryError(
            f"{len(routes)} lists of routes for {len(sequences)} sequences; give one for each."
        )
    arrays = [np.ascontiguousarray(route) for route in routes]
    for index, (route, tokens) in enumerate(zip(arrays, sequences, strict=True)):
        if route.ndim != 3 or len(route) != len(tokens):
            raise FactoryError(
                f"The routes of sequence {index} have shape {route.shape}; "
                f"{len(tokens)} tokens need [{len(tokens)}, layers, experts per token]."
            )
    if len({(route.dtype, route.shape[1:]) for route in arrays}) > 1:
        raise FactoryError("The routes differ in type, layers or experts per token; record them alike.")
    return arrays


def _words(sequences: list[Ints]) -> int:
    return sequences[0].dtype.itemsize // 4 if sequences else 1


def _sorted_and_shared(keys: list[bytes], width: int) -> tuple[list[int], list[int]]:
    """The order of the keys, and how many tokens (`width` words) each shares with the one before."""
    order = sorted(range(len(keys)), key=keys.__getitem__)
    shared, before = [], b""
    for index in order:
        key = keys[index]
        shared.append(
            len(before) // 4 // width if key.startswith(before) else _first_difference(before, key) // width
        )
        before = key
    return order, shared


def _first_difference(left: bytes, right: bytes) -> int:
    """The first 32-bit word in which two keys differ, one of them not being a prefix of the other."""
    size = min(len(left), len(right)) // 4
    one, other = np.frombuffer(left, np.uint32, size), np.frombuffer(right, np.uint32, size)
    start, step = 0, 256
    while start < size:
        differs = one[start : start + step] != other[start : start + step]
        first = int(differs.argmax())
        if differs[first]:
            return start + first
        start, step = start + step, step * 4
    return size


def _sorted_by_route(sequences: list[Ints], routes: list[Ints]) -> tuple[list[int], list[int]]:
    """As for tokens, each followed by a hash of its route. A hash that merges two routes is drawn again."""
    for seed in HASH_SEEDS:
        keys = [
            key for some in _stretches(sequences) for key in _route_keys(sequences[some], routes[some], seed)
        ]
        order, shared = _sorted_and_shared(keys, _words(sequences) + 2)
        pairs = zip(order, order[1:], shared[1:], strict=False)
        if all(_equal(routes[one][:same], routes[other][:same]) for one, other, same in pairs):
            return order, shared
    raise FactoryError(
        "Different routes keep one hash under every seed; check that the recorded routes are whole."
    )


def _equal(one_TLK: Ints, other_TLK: Ints) -> bool:
    one, other = (np.ascontiguousarray(routes).reshape(-1).view(np.uint8) for routes in (one_TLK, other_TLK))
    whole = one.size // 8 * 8
    return bool((one[:whole].view(np.uint64) == other[:whole].view(np.uint64)).all()) and bool(
        (one[whole:] == other[whole:]).all()
    )


def _stretches(sequences: list[Ints]) -> Iterator[slice]:
    """Sequences side by side, some 100 000 tokens at a time: few calls, and no copy of all routes."""
    start = held = 0
    for stop, tokens in enumerate(sequences, start=1):
        held += len(tokens)
        if held >= 100_000 or stop == len(sequences):
            yield slice(start, stop)
            start, held = stop, 0


def _route_keys(sequences: list[Ints], routes: list[Ints], seed: int) -> list[bytes]:
    """Each sequence as bytes: of every token its id and the hash of its route."""
    width, hashes_T = _words(sequences), hash_routes(np.concatenate(routes), seed)
    words_TW = np.empty((len(hashes_T), width + 2), np.uint32)
    words_TW[:, :width] = np.concatenate(sequences).view(np.uint32).reshape(-1, width)
    words_TW[:, width:] = hashes_T.view(np.uint32).reshape(-1, 2)
    ends = np.cumsum([len(tokens) for tokens in sequences]).tolist()
    return [words_TW[a:b].tobytes() for a, b in pairwise([0, *ends])]


def hash_routes(routes_TLK: Ints, seed: int = 0) -> NDArray[np.uint64]:
    """A 64-bit hash of each token's route: Σ a (x ⊕ x >> 32) over 8-byte words x, mod 2⁶⁴, a random and odd.

    One word needs no hash. Two routes collide by chance only; the fold lets high bits count in the product.
    """
    words_TW = _words_of(routes_TLK)
    if words_TW.shape[1] <= 1:
        return words_TW[:, 0] if words_TW.shape[1] else np.zeros(len(words_TW), np.uint64)
    folded_TW = words_TW >> np.uint64(32)
    folded_TW ^= words_TW
    odd_W = np.random.default_rng(seed).integers(0, 1 << 63, words_TW.shape[1], dtype=np.uint64) * 2 + 1
    return folded_TW @ odd_W.astype(np.uint64)


def _words_of(routes_TLK: Ints) -> NDArray[np.uint64]:
    """Each token's route as 8-byte words, filled up with zeros; a view where nothing is to fill."""
    raw_TB = routes_TLK.reshape(len(routes_TLK), math.prod(routes_TLK.shape[1:])).view(np.uint8)
    spare = -raw_TB.shape[1] % 8
    return (np.pad(raw_TB, ((0, 0), (0, spare))) if spare else raw_TB).view(np.uint64)


def _grow(sequences: list[Ints], routes: list[Ints] | None, order: list[int], shared: list[int]) -> Trie:
    """The forest of sorted sequences: their suffixes, and the token each suffix hangs on."""
    heads, above, depths, fresh, pieces = [], [], [], [], []
    last_P = np.empty(len(sequences), np.int64)
    stack: list[tuple[int, int]] = []  # the path at hand: (depth, flat index) where each of its runs begins
    cursor = 0
    for index, depth in zip(order, shared, strict=True):
        length = len(sequences[index])
        while stack and stack[-1][0] >= depth:
            stack.pop()
        parent = stack[-1][1] + depth - 1 - stack[-1][0] if stack else -1
        if length > depth:
            heads.append(cursor)
            above.append(parent)
            depths.append(depth)
            fresh.append(length - depth)
            pieces.append(index)
            stack.append((depth, cursor))
            cursor += length - depth
            last_P[index] = cursor - 1
        else:
            last_P[index] = parent
    head_S, above_S, depth_S = (np.array(values, np.int64) for values in (heads, above, depths))
    suffixes = [sequences[index][depth:] for index, depth in zip(pieces, depths, strict=True)]
    position_T = np.arange(cursor) + np.repeat(depth_S - head_S, np.array(fresh, np.int64))
    parent_T = np.arange(-1, cursor - 1)
    parent_T[head_S] = above_S
    start_N, end_N, parent_N, subtree_end_N = _nodes(head_S, above_S, cursor)
    return Trie(
        tokens_T=np.concatenate(suffixes).astype(np.int64) if suffixes else np.empty(0, np.int64),
        parent_T=parent_T,
        position_T=position_T,
        count_T=_counts(last_P, start_N, end_N, subtree_end_N, cursor),
        last_P=last_P,
        start_N=start_N,
        end_N=end_N,
        parent_N=parent_N,
        subtree_end_N=subtree_end_N,
        order_P=np.array(order, np.int64),
        shared_P=np.array(shared, np.int64),
        routes_TLK=None
        if routes is None or not suffixes
        else np.concatenate([routes[index][depth:] for index, depth in zip(pieces, depths, strict=True)]),
    )


def _nodes(head_S: Ints, above_S: Ints, size: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Nodes begin at roots, at second children, and after the tokens that those hang on."""
    branches = above_S != head_S - 1
    hung = above_S[branches]
    roots = head_S[above_S < 0]
    start_N = np.unique(np.concatenate([roots, head_S[branches], hung[hung >= 0] + 1]))
    end_N = np.append(start_N[1:], size)[: len(start_N)]
    above_N = start_N - 1
    above_N[np.searchsorted(start_N, head_S[branches])] = hung
    above_N[np.searchsorted(start_N, roots)] = -1
    parent_N = np.where(above_N < 0, -1, np.searchsorted(start_N, above_N, "right") - 1)
    ends = end_N.tolist()
    for node in range(len(ends) - 1, -1, -1):
        parent = int(parent_N[node])
        if parent >= 0 and ends[node] > ends[parent]:
            ends[parent] = ends[node]
    return start_N, end_N, parent_N, np.array(ends, np.int64)


def _counts(last_P: Ints, start_N: Ints, end_N: Ints, subtree_end_N: Ints, size: int) -> Ints:
    """Paths through each token: those that end at it or below it."""
    ended = np.concatenate([[0], np.cumsum(np.bincount(last_P[last_P >= 0], minlength=size))])
    return np.repeat(ended[subtree_end_N], end_N - start_N) - ended[:-1]
