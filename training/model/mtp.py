"""Multi-token prediction on a forest, exactly and without a copy of any state.

Depth k looks k tokens further than the trunk: its state for token t is made of depth k-1's state of t's
parent and of t itself, and predicts t's children. A state is so keyed by the last token it consumed. A token
of a tree has one parent, hence one state per depth, whatever branches below it: the depths share exactly as
much as the trunk does. Depth k has no state for the first k tokens of a path; the rest is a forest of its
own, with positions counted from its own roots (`Forest.without_first`).

The step: x = W [norm_e(embedding of t) ; norm_h(state of parent)], then a block, then a norm before the
shared head. State 0 is the trunk's residual stream before its last norm.

Shapes: T tokens of the batch, U tokens that the depth has a state for, D hidden, K experts per token.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.model.block import Block, KeyValues, RMSNorm, Rotation
from training.model.config import ModelConfig
from training.model.layout import Forest


class MtpModule(nn.Module):
    """One depth. Embedding and output head are the trunk's."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.token_norm = RMSNorm(config.hidden, config.rms_eps)
        self.state_norm = RMSNorm(config.hidden, config.rms_eps)
        self.join = nn.Linear(2 * config.hidden, config.hidden, bias=False)
        self.block = Block(config)
        self.norm = RMSNorm(config.hidden, config.rms_eps)

    def forward(
        self,
        token_UD: Tensor,
        parent_UD: Tensor,
        forest: Forest,
        routes_UK: Tensor | None,
        past: KeyValues | None,
    ) -> tuple[Tensor, Tensor, KeyValues]:
        """States of this depth's own forest from its tokens' embeddings and its parents' states before."""
        joined_UD = self.join(torch.cat((self.token_norm(token_UD), self.state_norm(parent_UD)), dim=-1))
        rotation = Rotation.of(self.config, forest.position_T, joined_UD.dtype)
        return self.block(joined_UD, forest, rotation, routes_UK, past)
