"""How large a model is, as data, and how many parameters that makes. Takes no torch.

Three presets: `tiny` for tests, `small` (about 100 M parameters) for one machine, `m2` with the published
sizes of MiniMax-M2. Every size is a setting. Fixed are only the kinds of parts: grouped-query attention with
one RMS norm over all query (key) heads before the partial rotation, sigmoid gates with a selection bias,
fine-grained experts without a shared one, no biases, an output head of its own unless `tied`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from warehouse.errors import FactoryError


class ModelConfig(BaseModel):
    """Sizes and constants of a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    vocab_size: int = Field(320, ge=2, description="Tokens of the vocabulary.")
    hidden: int = Field(64, ge=1, description="Width of the residual stream.")
    layers: int = Field(2, ge=1, description="Blocks of the trunk.")
    heads: int = Field(4, ge=1, description="Query heads.")
    kv_heads: int = Field(2, ge=1, description="Key and value heads; query heads share them in equal groups.")
    head_dim: int = Field(16, ge=1, description="Width of a head; heads * head_dim need not be hidden.")
    rotary_dim: int = Field(8, ge=2, description="Leading dimensions of a head that are rotated.")
    rope_theta: float = Field(5e6, gt=1, description="Base of the rotary frequencies.")
    experts: int = Field(8, ge=1, description="Experts of a block.")
    experts_per_token: int = Field(2, ge=1, description="Experts that a token is sent to.")
    expert_hidden: int = Field(32, ge=1, description="Inner width of an expert.")
    mtp_depth: int = Field(1, ge=0, description="Multi-token-prediction modules (K); 0 for none.")
    rms_eps: float = Field(1e-6, gt=0, description="Added to the mean square in norms.")
    max_positions: int = Field(4096, ge=1, description="Longest path that the model is meant for, in tokens.")
    init_std: float = Field(0.02, gt=0, description="Standard deviation of initial matrices.")
    tied: bool = Field(False, description="Whether the output head is the embedding.")

    @model_validator(mode="after")
    def _sizes_fit(self) -> ModelConfig:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads = {self.heads} must be a multiple of kv_heads = {self.kv_heads}")
        if self.rotary_dim % 2 or self.rotary_dim > self.head_dim:
            raise ValueError(
                f"rotary_dim = {self.rotary_dim} must be even and at most head_dim = {self.head_dim}"
            )
        if self.experts_per_token > self.experts:
            raise ValueError(
                f"experts_per_token = {self.experts_per_token} is more than experts = {self.experts}"
            )
        return self

    def replace(self, **changes: Any) -> ModelConfig:
        """The same sizes but for `changes`, validated again."""
        return ModelConfig.model_validate(self.model_dump() | changes)

    def counts(self) -> Counts:
        """Parameters of each part."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = self.hidden * (2 * q + 2 * kv) + q + kv
        expert = 3 * self.hidden * self.expert_hidden
        router = self.experts * (self.hidden + 1)  # the selection bias is a weight of the checkpoint
        block_rest = attention + router + 2 * self.hidden
        block = block_rest + self.experts * expert
        return Counts(
            embedding=self.vocab_size * self.hidden,
            head=0 if self.tied else self.vocab_size * self.hidden,
            attention=self.layers * attention,
            experts=self.layers * self.experts * expert,
            active_experts=self.layers * self.experts_per_token * expert,
            router=self.layers * router,
            norms=self.layers * 2 * self.hidden + self.hidden,
            mtp=self.mtp_depth * (block + 2 * self.hidden * self.hidden + 3 * self.hidden),
            active_mtp=self.mtp_depth
            * (block_rest + self.experts_per_token * expert + 2 * self.hidden**2 + 3 * self.hidden),
        )


@dataclass(frozen=True)
class Counts:
    """Parameters per part. `mtp` modules share the trunk's embedding and head."""

    embedding: int
    head: int
    attention: int
    experts: int
    active_experts: int
    router: int
    norms: int
    mtp: int
    active_mtp: int

    def parts(self) -> dict[str, int]:
        """Parameters by part, then the sums that are quoted."""
        return {
            "embedding": self.embedding,
            "head": self.head,
            "attention": self.attention,
            "experts": self.experts,
            "routers": self.router,
            "norms": self.norms,
            "mtp modules": self.mtp,
            "blocks": self.attention + self.experts + self.router + self.norms,
            "without mtp": self.trunk,
            "total": self.total,
        }

    def active_parts(self) -> dict[str, int]:
        """As `parts`: what one token is multiplied with. Of the embedding it reads one row."""
        return {
            "embedding": 0,
            "head": self.head or self.embedding,
            "attention": self.attention,
            "experts": self.active_experts,
            "routers": self.router,
            "norms": self.norms,
            "mtp modules": self.active_mtp,
            "blocks": self.blocks_active,
            "without mtp": self.active,
            "total": self.active + self.active_mtp,
        }

    @property
    def trunk(self) -> int:
        """What a checkpoint without MTP modules holds."""
        return self.embedding + self.head + self.attention + self.experts + self.router + self.norms

    @property
    def total(self) -> int:
        return self.trunk + self.mtp

    @property
    def blocks_active(self) -> int:
        """Trunk parameters that one token is multiplied with, without embedding and head."""
        return self.attention + self.active_experts + self.router + self.norms

    @property
    def active(self) -> int:
        """As `blocks_active`, with the head; the embedding is a look-up of one row."""
        return self.blocks_active + (self.head or self.embedding)


PRESETS: dict[str, ModelConfig] = {
    "tiny": ModelConfig(),
    "small": ModelConfig(
        vocab_size=16_384,
        hidden=512,
        layers=8,
        heads=8,
        kv_heads=2,
        head_dim=64,
        rotary_dim=32,
        experts=32,
        experts_per_token=4,
        expert_hidden=192,
        max_positions=32_768,
    ),
    "m2": ModelConfig(
        vocab_size=200_064,
        hidden=3072,
        layers=62,
        heads=48,
        kv_heads=8,
        head_dim=128,
        rotary_dim=64,
        experts=256,
        experts_per_token=8,
        expert_hidden=1536,
        mtp_depth=3,
        max_positions=196_608,
    ),
}


def preset(name: str) -> ModelConfig:
    """The sizes called `name`."""
    if name not in PRESETS:
        raise FactoryError(f"There is no model preset named {name}; the presets are {', '.join(PRESETS)}.")
    return PRESETS[name]
