"""The whole model on a forest of tokens: embedding, trunk, MTP depths, one output head.

`states` returns a state per token; the head is applied by the caller, and only to the rows from which an
edge is learnt, since the vocabulary is the widest product of a small model. Nothing is cast down: norms,
gates, softmax and logits are computed in at least float32, and a float64 model stays float64 throughout.

Shapes: T tokens, P tokens of an earlier path, D hidden, V vocabulary, L routers (trunk blocks, then MTP
depths), K experts per token; rows E of `logits` are edges, E of `expert_counts_LE` experts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.model.block import Block, KeyValues, RMSNorm, Rotation, expert_counts
from training.model.config import ModelConfig
from training.model.layout import NO_ROUTE, Forest
from training.model.mtp import MtpModule
from warehouse.errors import FactoryError


@dataclass(frozen=True)
class Past:
    """What later tokens of a path need of its earlier ones: to compute a tree piece by piece.

    `keys` are those of each trunk block, then of each MTP depth k (its P - k last tokens); `tails_D` the last
    token's state at depths 0 … K-1, before any norm.
    """

    keys: tuple[KeyValues, ...]
    tails_D: tuple[Tensor, ...]


@dataclass(frozen=True)
class Hidden:
    """States of a forest, ready for the head, and what the routers did.

    `mtp_TD[k-1]` is depth k; its rows of tokens at positions < k are zero and mean nothing. `routes_TLK` is
    -1 there. `residuals_TD` are the states before their last norms, by depth from 0; `keys` each block's.
    """

    trunk_TD: Tensor
    mtp_TD: tuple[Tensor, ...]
    routes_TLK: Tensor
    expert_counts_LE: Tensor
    residuals_TD: tuple[Tensor, ...]
    keys: tuple[KeyValues, ...]


class Model(nn.Module):
    """A mixture-of-experts language model."""

    def __init__(self, config: ModelConfig, *, seed: int | None = 0) -> None:
        """Weights are drawn from `seed`; with None they are left as they are allocated, to be loaded."""
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.hidden, config.rms_eps)
        self.mtp = nn.ModuleList(MtpModule(config) for _ in range(config.mtp_depth))
        self.head = None if config.tied else nn.Linear(config.hidden, config.vocab_size, bias=False)
        if seed is not None and not self.embedding.weight.is_meta:
            self.initialise(seed)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Matrices are normal with the configured deviation, norms 1, selection biases 0."""
        source = torch.Generator(self.embedding.weight.device).manual_seed(seed)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, self.config.init_std, generator=source)

    def states(self, forest: Forest, past: Past | None = None) -> Hidden:
        """The states of every token of `forest`, at every depth."""
        self._check(forest)
        x_TD = self.embedding(forest.tokens_T)
        rotation = Rotation.of(self.config, forest.position_T, x_TD.dtype)
        routes, counts, keys = [], [], []
        for layer, block in enumerate(self.blocks):
            x_TD, routes_TK, kv = block(
                x_TD, forest, rotation, _replayed(forest, layer), past and past.keys[layer]
            )
            routes.append(routes_TK)
            keys.append(kv)
        counts = [expert_counts(r, forest.count_T, self.config.experts) for r in routes]
        residuals, normed = [x_TD], []
        for depth in range(1, len(self.mtp) + 1):
            x_TD, routes_TK, kv, kept = self._depth(depth, residuals[-1], forest, past)
            residuals.append(x_TD)
            normed.append(self.depth(depth).norm(x_TD))
            routes.append(routes_TK)
            keys.append(kv)
            counts.append(expert_counts(routes_TK[kept], forest.count_T[kept], self.config.experts))
        return Hidden(
            self.norm(residuals[0]),
            tuple(normed),
            torch.stack(routes, dim=1),
            torch.stack(counts),
            tuple(residuals),
            tuple(keys),
        )

    def logits(self, rows_ED: Tensor) -> Tensor:
        """Scores over the vocabulary [E, V] of states made ready by `states`, in at least float32."""
        weight_VD = self.embedding.weight if self.head is None else self.head.weight
        high = torch.promote_types(rows_ED.dtype, torch.float32)
        return F.linear(rows_ED.to(high), weight_VD.to(high))

    def depth(self, depth: int) -> MtpModule:
        """The MTP module that looks `depth` tokens further than the trunk."""
        module = self.mtp[depth - 1]
        assert isinstance(module, MtpModule)
        return module

    def _depth(
        self, depth: int, before_TD: Tensor, forest: Forest, past: Past | None
    ) -> tuple[Tensor, Tensor, KeyValues, Tensor]:
        """Depth `depth` from the states `before_TD` of depth - 1: states and routes of all T, its rows."""
        left, kept_U = forest.without_first(depth)
        parent_U = forest.parent_T[kept_U]
        if past is None or depth > forest.past:
            parent_UD = before_TD.index_select(0, parent_U)
        else:
            parent_UD = torch.cat((past.tails_D[depth - 1][None], before_TD)).index_select(0, parent_U + 1)
        layer = self.config.layers + depth - 1
        state_UD, routes_UK, keys = self.depth(depth)(
            self.embedding(left.tokens_T),
            parent_UD,
            left,
            _replayed(left, layer),
            past.keys[layer] if past is not None and left.past else None,
        )
        if len(kept_U) == len(forest):
            return state_UD, routes_UK, keys, kept_U
        routes_TK = routes_UK.new_full((len(forest), routes_UK.shape[1]), NO_ROUTE)
        routes_TK[kept_U] = routes_UK
        state_TD = torch.zeros_like(before_TD).index_copy(0, kept_U, state_UD)
        return state_TD, routes_TK, keys, kept_U

    def _check(self, forest: Forest) -> None:
        if not len(forest):
            raise FactoryError("The batch holds no tokens; leave empty batches out.")
        highest, lowest = int(forest.tokens_T.max()), int(forest.tokens_T.min())
        if highest >= self.config.vocab_size or lowest < 0:
            wrong = highest if highest >= self.config.vocab_size else lowest
            raise FactoryError(
                f"Token {wrong} is outside the model's vocabulary of {self.config.vocab_size}; "
                "train with the tokenizer that the data was made with, or set vocab_size."
            )
        layers = (self.config.layers, self.config.layers + self.config.mtp_depth)
        if forest.routes_TLK is not None and forest.routes_TLK.shape[1:] not in [
            (n, self.config.experts_per_token) for n in layers
        ]:
            raise FactoryError(
                f"The routes have shape {tuple(forest.routes_TLK.shape)}, but the model has {layers[0]} "
                f"routers ({layers[1]} with MTP) of {self.config.experts_per_token} experts; "
                "replay only routes of the same model."
            )


def _replayed(forest: Forest, layer: int) -> Tensor | None:
    routes = forest.routes_TLK
    return None if routes is None or layer >= routes.shape[1] else routes[:, layer]
