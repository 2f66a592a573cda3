"""Which tensor of ours is which tensor of a Hugging Face checkpoint, as a table that reads both ways.

The names are those of `MiniMaxM2ForCausalLM` on disk: one key an expert and matrix. Ours hold all experts of
a block in two tensors, as transformers does in memory, so an entry has one key, or one for each expert and
matrix. MTP module i is written as layer N + i, N the trunk's layers, which readers of the trunk skip; no MTP
weights of M2 were published, so part names follow DeepSeek-V3's (`enorm`, `hnorm`, `eh_proj`,
`shared_head.norm`).

`entries` writes the table out for a config; an entry's `split` and `join` are inverse to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from training.model.config import ModelConfig

# ours → theirs; `*` in both is the layer of a block
ENDS = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
BLOCK = {
    "attention_norm.weight": "input_layernorm.weight",
    "attention.q.weight": "self_attn.q_proj.weight",
    "attention.k.weight": "self_attn.k_proj.weight",
    "attention.v.weight": "self_attn.v_proj.weight",
    "attention.o.weight": "self_attn.o_proj.weight",
    "attention.q_norm.weight": "self_attn.q_norm.weight",
    "attention.k_norm.weight": "self_attn.k_norm.weight",
    "experts_norm.weight": "post_attention_layernorm.weight",
    "router.weight": "block_sparse_moe.gate.weight",
    "router.bias": "block_sparse_moe.e_score_correction_bias",
}
EXPERTS = {  # ours → the matrices of one expert that are laid on top of each other
    "experts.gate_up": ("w1", "w3"),
    "experts.down": ("w2",),
}
MTP = {
    "token_norm.weight": "enorm.weight",
    "state_norm.weight": "hnorm.weight",
    "join.weight": "eh_proj.weight",
    "norm.weight": "shared_head.norm.weight",
}


@dataclass(frozen=True)
class Entry:
    """One of our tensors and its keys in a checkpoint: one, or `matrices` for each expert in turn."""

    ours: str
    theirs: tuple[str, ...]
    matrices: int = 0

    def split(self, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The checkpoint's tensors, as views."""
        if not self.matrices:
            yield self.theirs[0], tensor
            return
        for i, key in enumerate(self.theirs):
            yield key, self.part(tensor, i)

    def part(self, tensor: Tensor, index: int) -> Tensor:
        """The view of `tensor` that key number `index` fills."""
        if not self.matrices:
            return tensor
        expert, matrix = divmod(index, self.matrices)
        rows = tensor.shape[1] // self.matrices
        return tensor[expert, matrix * rows : (matrix + 1) * rows]

    def join(self, parts: list[Tensor]) -> Tensor:
        """Our tensor from the checkpoint's, in the order of `theirs`: the inverse of `split`."""
        if not self.matrices:
            return parts[0]
        return torch.stack(parts).unflatten(0, (-1, self.matrices)).flatten(1, 2)


def entries(config: ModelConfig) -> list[Entry]:
    """Every tensor of a model of these sizes, in the order in which it is written."""
    table = [Entry(o, (t,)) for o, t in ENDS.items() if not (config.tied and o == "head.weight")]
    for layer in range(config.layers):
        table += _block(f"blocks.{layer}.", f"model.layers.{layer}.", config)
    for depth in range(config.mtp_depth):
        theirs = f"model.layers.{config.layers + depth}."
        table += [Entry(f"mtp.{depth}.{o}", (theirs + t,)) for o, t in MTP.items()]
        table += _block(f"mtp.{depth}.block.", theirs, config)
    return table


def _block(ours: str, theirs: str, config: ModelConfig) -> list[Entry]:
    table = [Entry(ours + o, (theirs + t,)) for o, t in BLOCK.items()]
    for name, matrices in EXPERTS.items():
        keys = tuple(
            f"{theirs}block_sparse_moe.experts.{expert}.{matrix}.weight"
            for expert in range(config.experts)
            for matrix in matrices
        )
        table.append(Entry(ours + name, keys, len(matrices)))
    return table
