"""Trees larger than memory: one piece at a time, depth first, holding what one path needs.

The tree is cut into pieces of at most `tokens` tokens. A piece is a stretch of one path that has more below
it (*trunk*), or everything that hangs on a trunk's end (*twigs*: whole subtrees side by side). Going down, a
trunk is run without a graph, and its keys and values are put after those of its ancestors. Twigs are run
once, forward and backward, against copies of the path's keys and values that gather gradients. Going up, a
trunk is run again with its graph, and backward from its own edges and from what the pieces below it left for
its keys, values and last states. So the memory is the keys, values and their gradients of one path, and the
graph of one piece; trunks are run forward twice, which is what activation checkpointing costs too.

Gradients are those of the whole tree at once: they are summed in another order, no more.

Shapes: T tokens of a piece, P tokens of the path above it, D hidden, G key heads, W head width; layers are
the trunk blocks, then MTP depths, of which depth k lacks the first k tokens of a path.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.model.layout import Forest
from training.model.model import Hidden, Model, Past
from training.objective import Objective
from training.trees.merge import Batch
from training.trees.step import Evaluation, Tally, evaluate
from training.trees.trie import Trie
from warehouse.errors import FactoryError


@dataclass(frozen=True)
class Piece:
    """Tokens `start:stop` of the tree, after `past` tokens of their path. A trunk has pieces below it."""

    start: int
    stop: int
    past: int
    trunk: bool


@dataclass(frozen=True)
class Up:
    """Return to a trunk: all below it is done."""

    piece: Piece


def pieces(trie: Trie, tokens: int) -> Iterator[Piece | Up]:
    """The order of execution: each trunk, what is below it, `Up` of the trunk."""
    if tokens < 1:
        raise FactoryError(f"Pieces of {tokens} tokens cannot be run; set a positive number.")
    children: dict[int, list[int]] = {}
    for node, parent in enumerate(trie.parent_N.tolist()):
        children.setdefault(parent, []).append(node)
    start_N, end_N, below_N = trie.start_N.tolist(), trie.end_N.tolist(), trie.subtree_end_N.tolist()
    # What is left, last first. A pair is a node and the token from which it is left.
    todo: list[Piece | Up | tuple[int, int]] = []

    def hang(siblings: list[tuple[int, int]]) -> None:
        """Puts subtrees that hang on one token on the list, small neighbours together."""
        found: list[Piece | Up | tuple[int, int]] = []
        for node, begin in siblings:
            stop, past = below_N[node], int(trie.position_T[begin])
            if stop - begin > tokens:
                found.append((node, begin))
                continue
            last = found[-1] if found else None
            if isinstance(last, Piece) and stop - last.start <= tokens and last.stop == begin:
                found[-1] = Piece(last.start, stop, past, trunk=False)
            else:
                found.append(Piece(begin, stop, past, trunk=False))
        todo.extend(reversed(found))

    hang([(node, start_N[node]) for node in children.get(-1, [])])
    while todo:
        item = todo.pop()
        if not isinstance(item, tuple):
            yield item
            continue
        node, begin = item
        # As far as more than a piece is left below, so that what follows can be twigs.
        stop = min(end_N[node], begin + tokens, max(below_N[node] - tokens, begin + 1))
        trunk = Piece(begin, stop, int(trie.position_T[begin]), trunk=True)
        yield trunk
        todo.append(Up(trunk))
        if stop < end_N[node]:
            hang([(node, stop)])
        else:
            hang([(child, start_N[child]) for child in children.get(node, [])])


class _Path:
    """Keys, values and last states of the path at hand, and the gradients that pieces below left for them."""

    def __init__(self, model: Model, longest: int) -> None:
        config, weight = model.config, model.embedding.weight
        self.depths = config.mtp_depth
        self.layers = config.layers
        shape = (config.layers + config.mtp_depth, 2, longest, config.kv_heads, config.head_dim)
        self.kept = weight.new_zeros(shape)
        # Sums of many pieces' gradients, so at least float32.
        self.high = torch.promote_types(weight.dtype, torch.float32)
        self.gradients = weight.new_zeros(shape, dtype=self.high)
        self.tails: dict[int, tuple[Tensor, Tensor]] = {}  # by length of path: states, gradients

    def lacks(self, layer: int) -> int:
        """Leading tokens of a path that the layer has nothing for."""
        return max(0, layer - self.layers + 1)

    def push(self, hidden: Hidden, piece: Piece) -> None:
        """Puts a trunk's keys, values and last states after those before it."""
        length = piece.past + piece.stop - piece.start
        for layer, keys in enumerate(hidden.keys):
            for which, tensor in enumerate(keys):
                start, stop = self._rows(layer, piece)
                self.kept[layer, which, start:stop] = tensor
                self.gradients[layer, which, start:stop] = 0
        if self.depths:
            tails = torch.stack([state_TD[-1] for state_TD in hidden.residuals_TD[: self.depths]])
            self.tails[length] = (tails, torch.zeros_like(tails, dtype=self.high))

    def past(self, length: int, graph: bool) -> tuple[Past | None, list[Tensor]]:
        """What a piece after `length` tokens is given; with `graph`, leaves that gather gradients, listed."""
        if not length:
            return None, []
        keys, leaves = [], []
        for layer in range(len(self.kept)):
            stop = max(0, length - self.lacks(layer))
            pair = [self.kept[layer, which, :stop] for which in (0, 1)]
            pair = [tensor.detach().requires_grad_(graph) for tensor in pair]
            leaves += pair
            keys.append((pair[0], pair[1]))
        tails = [tail.detach().requires_grad_(graph) for tail in self.tails[length][0]] if self.depths else []
        return Past(tuple(keys), tuple(tails)), leaves + tails

    def gather(self, length: int, found: list[Tensor | None]) -> None:
        """Adds the gradients of the leaves of `past(length)`."""
        if not length:
            return
        layers = len(self.kept)
        for index, gradient in enumerate(found):
            if gradient is None:
                continue
            if index < 2 * layers:
                self.gradients[index // 2, index % 2, : len(gradient)] += gradient
            else:
                self.tails[length][1][index - 2 * layers] += gradient

    def left_for(self, hidden: Hidden, piece: Piece) -> tuple[list[Tensor], list[Tensor]]:
        """A trunk's tensors that pieces below used, and the gradients they left; the tails are given up."""
        tensors, gradients = [], []
        for layer, keys in enumerate(hidden.keys):
            start, stop = self._rows(layer, piece)
            for which, tensor in enumerate(keys):
                if stop > start:
                    tensors.append(tensor)
                    gradients.append(self.gradients[layer, which, start:stop].to(tensor.dtype))
        if self.depths:
            _, tails = self.tails.pop(piece.past + piece.stop - piece.start)
            tensors += [state_TD[-1] for state_TD in hidden.residuals_TD[: self.depths]]
            gradients += list(tails.to(self.kept.dtype))
        return tensors, gradients

    def _rows(self, layer: int, piece: Piece) -> tuple[int, int]:
        lacks = self.lacks(layer)
        start = max(0, piece.past - lacks)
        return start, max(start, piece.past + piece.stop - piece.start - lacks)


def run_by_paths(model: Model, batch: Batch, objective: Objective, tokens: int) -> Tally:
    """Adds the gradients of a tree of any size to the parameters, in memory for its longest path."""
    trie, tally = batch.trie, Tally()
    path = _Path(model, int(trie.length_P.max(initial=0)))
    for item in pieces(trie, tokens):
        piece = item.piece if isinstance(item, Up) else item
        forest = _forest(trie, piece)
        if piece.trunk and not isinstance(item, Up):
            with torch.no_grad():
                past, _ = path.past(piece.past, graph=False)
                path.push(model.states(forest.to(path.kept.device), past), piece)
            continue
        past, leaves = path.past(piece.past, graph=True)
        edges = batch.edges.leaving(piece.start, piece.stop)
        evaluation = evaluate(model, forest, edges, objective, past)
        _backward(evaluation, *(path.left_for(evaluation.hidden, piece) if piece.trunk else ([], [])))
        path.gather(piece.past, [leaf.grad for leaf in leaves])
        tally.add(evaluation, piece.stop - piece.start, edges)
    return tally


def _backward(evaluation: Evaluation, tensors: list[Tensor], gradients: list[Tensor]) -> None:
    roots = [(evaluation.loss, None), *zip(tensors, gradients, strict=True)]
    live = [(tensor, gradient) for tensor, gradient in roots if tensor.requires_grad]
    if live:
        torch.autograd.backward([tensor for tensor, _ in live], [gradient for _, gradient in live])


def _forest(trie: Trie, piece: Piece) -> Forest:
    """The piece as a layout of its own, after its path."""
    first = np.searchsorted(trie.start_N, piece.start, "right") - 1
    nodes = slice(first, np.searchsorted(trie.start_N, piece.stop))
    start_N = np.maximum(trie.start_N[nodes], piece.start) - piece.start
    end_N = np.minimum(trie.end_N[nodes], piece.stop) - piece.start
    parent_N = np.maximum(trie.parent_N[nodes] - first, -1)
    at = slice(piece.start, piece.stop)
    routes_TLK = None if trie.routes_TLK is None else trie.routes_TLK[at]
    return Forest.of_nodes(
        trie.tokens_T[at], start_N, end_N, parent_N, trie.count_T[at], routes_TLK, past=piece.past
    )
