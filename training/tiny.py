"""A tiny causal language model: pre-norm transformer, rotary positions, one fused attention call per example.

It stands where the real model will: same data, same loss, same optimiser step. A batch is examples laid end
to end; attention runs within each, so an example's logits do not depend on its neighbours, and no mask is
built.

Shapes: T tokens of a packed batch, S tokens of one example, D hidden, H heads, K head width, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.settings import TinyConfig


def rotate(x_SHK: Tensor) -> Tensor:
    """Rotary positions 0 … S-1, by halves."""
    length, _, width = x_SHK.shape
    inverse_K = 10_000.0 ** (-torch.arange(0, width, 2, device=x_SHK.device, dtype=torch.float64) / width)
    angle_SK = torch.outer(torch.arange(length, device=x_SHK.device, dtype=torch.float64), inverse_K)
    cos, sin = (f.to(x_SHK.dtype)[:, None, :] for f in (angle_SK.cos(), angle_SK.sin()))
    a, b = x_SHK.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Attention(nn.Module):
    """Causal self-attention within each example."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.hidden, 3 * config.hidden, bias=False)
        self.out = nn.Linear(config.hidden, config.hidden, bias=False)

    def forward(self, x_TD: Tensor, lengths: list[int]) -> Tensor:
        mixed = [self._example(qkv_SD) for qkv_SD in self.qkv(x_TD).split(lengths)]
        return self.out(torch.cat(mixed))

    def _example(self, qkv_SD: Tensor) -> Tensor:
        q_SHK, k_SHK, v_SHK = (p.unflatten(-1, (self.heads, -1)) for p in qkv_SD.chunk(3, dim=-1))
        q_HSK, k_HSK, v_HSK = (p.transpose(0, 1)[None] for p in (rotate(q_SHK), rotate(k_SHK), v_SHK))
        o_HSK = F.scaled_dot_product_attention(q_HSK, k_HSK, v_HSK, is_causal=True)[0]
        return o_HSK.transpose(0, 1).flatten(1)


class Block(nn.Module):
    """x + attention(norm x), then x + mlp(norm x)."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.hidden)
        self.attention = Attention(config)
        self.mlp_norm = nn.RMSNorm(config.hidden)
        self.mlp = nn.Sequential(
            nn.Linear(config.hidden, 4 * config.hidden, bias=False),
            nn.GELU(),
            nn.Linear(4 * config.hidden, config.hidden, bias=False),
        )

    def forward(self, x_TD: Tensor, lengths: list[int]) -> Tensor:
        x_TD = x_TD + self.attention(self.attention_norm(x_TD), lengths)
        return x_TD + self.mlp(self.mlp_norm(x_TD))


class TinyLM(nn.Module):
    """Token ids in, next-token logits out."""

    def __init__(self, config: TinyConfig, vocabulary: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, config.hidden)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.hidden)
        self.head = nn.Linear(config.hidden, vocabulary, bias=False)
        # zero logits: the first loss is ln(vocabulary) exactly, whatever the sizes
        nn.init.normal_(self.embed.weight, std=0.02)
        nn.init.zeros_(self.head.weight)

    def forward(self, tokens_T: Tensor, lengths: list[int]) -> Tensor:
        """Logits [T, V] of the token after each of `tokens_T`; `lengths` of the examples sum to T."""
        x_TD = self.embed(tokens_T)
        for block in self.blocks:
            x_TD = block(x_TD, lengths)
        return self.head(self.norm(x_TD))
