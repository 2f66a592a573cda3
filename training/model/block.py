"""One transformer block over a forest, and the parts that the trunk and MTP modules share.

Shapes: T tokens, P tokens of an earlier path, D hidden, H query heads, G key heads, W head width, K experts
per token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.model.attention import attend
from training.model.config import ModelConfig
from training.model.experts import Experts, Router
from training.model.layout import Forest

KeyValues = tuple[Tensor, Tensor]  # rotated keys and values of a path, each [P, G, W]


class RMSNorm(nn.Module):
    """x / √(mean x² + ε) · weight, in at least float32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        high = torch.promote_types(x.dtype, torch.float32)
        return F.rms_norm(x.to(high), self.weight.shape, self.weight.to(high), self.eps).to(x.dtype)


@dataclass(frozen=True)
class Rotation:
    """Cosines and sines [T, rotary_dim / 2] of each token's position."""

    cos: Tensor
    sin: Tensor

    @classmethod
    def of(cls, config: ModelConfig, position_T: Tensor, dtype: torch.dtype) -> Rotation:
        """Angles are made in float64: in float32 those of position 190 000 are off by 0.01."""
        high = torch.promote_types(dtype, torch.float32)
        steps = torch.arange(0, config.rotary_dim, 2, dtype=torch.float64, device=position_T.device)
        angles = torch.outer(position_T.double(), config.rope_theta ** (-steps / config.rotary_dim))
        return cls(angles.cos().to(high), angles.sin().to(high))

    def turn(self, x_THW: Tensor) -> Tensor:
        """Rotates the first rotary_dim of each head by halves; the rest stays."""
        half = self.cos.shape[1]
        a, b = x_THW[..., :half].to(self.cos.dtype), x_THW[..., half : 2 * half].to(self.cos.dtype)
        cos, sin = self.cos[:, None], self.sin[:, None]
        turned = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x_THW.dtype)
        return torch.cat((turned, x_THW[..., 2 * half :]), dim=-1)


class Attention(nn.Module):
    """Grouped-query attention; queries and keys are normed over all heads at once, then rotated."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.width = config.head_dim
        q, kv = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.q = nn.Linear(config.hidden, q, bias=False)
        self.k = nn.Linear(config.hidden, kv, bias=False)
        self.v = nn.Linear(config.hidden, kv, bias=False)
        self.o = nn.Linear(q, config.hidden, bias=False)
        self.q_norm = RMSNorm(q, config.rms_eps)
        self.k_norm = RMSNorm(kv, config.rms_eps)

    def forward(
        self, x_TD: Tensor, forest: Forest, rotation: Rotation, past: KeyValues | None
    ) -> tuple[Tensor, KeyValues]:
        q_THW, k_TGW, v_TGW = (
            y.unflatten(1, (-1, self.width))
            for y in (self.q_norm(self.q(x_TD)), self.k_norm(self.k(x_TD)), self.v(x_TD))
        )
        k_TGW = rotation.turn(k_TGW)
        out_THW = attend(rotation.turn(q_THW), k_TGW, v_TGW, forest, past)
        return self.o(out_THW.flatten(1)), (k_TGW, v_TGW)


class Block(nn.Module):
    """x + attention(norm x), then x + experts(norm x)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.hidden, config.rms_eps)
        self.attention = Attention(config)
        self.experts_norm = RMSNorm(config.hidden, config.rms_eps)
        self.router = Router(config)
        self.experts = Experts(config)

    def forward(
        self,
        x_TD: Tensor,
        forest: Forest,
        rotation: Rotation,
        routes_TK: Tensor | None = None,
        past: KeyValues | None = None,
    ) -> tuple[Tensor, Tensor, KeyValues]:
        """States, the experts [T, K] that tokens were sent to, and this block's keys and values."""
        mixed_TD, keys = self.attention(self.attention_norm(x_TD), forest, rotation, past)
        x_TD = x_TD + mixed_TD
        normed_TD = self.experts_norm(x_TD)
        routes_TK, weights_TK = self.router(normed_TD, routes_TK)
        return x_TD + self.experts(normed_TD, routes_TK, weights_TK), routes_TK, keys


def expert_counts(routes_TK: Tensor, count_T: Tensor, experts: int) -> Tensor:
    """Sequences' tokens that each of E experts got: integers, each token counted as often as it is shared."""
    counts_E = torch.zeros(experts, dtype=torch.int64, device=routes_TK.device)
    return counts_E.index_add_(0, routes_TK.flatten(), count_T.repeat_interleave(routes_TK.shape[1]))
