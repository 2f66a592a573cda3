"""The model that a run starts with: new weights or a checkpoint, grown and sharded as its settings say."""

from __future__ import annotations

from pathlib import Path

import torch

from training.model import checkpoint
from training.model.expansion import expand_mtp
from training.model.model import Model
from training.settings import SftConfig
from training.trainer.sharding import WEIGHTS, Group, shard
from warehouse.errors import FactoryError


def starting_model(config: SftConfig, vocabulary: int, group: Group) -> Model:
    """The model for a tokenizer of `vocabulary` tokens. To be sharded, each worker makes all of it once.

    Raises FactoryError where settings, checkpoint, tokenizer and machine do not fit each other.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise FactoryError("This machine has no GPU that torch can use; set device to 'cpu'.")
    if config.start:
        model = checkpoint.load(Path(config.start), dtype=WEIGHTS[config.dtype])
        longest = max(stage.sequence_length for stage in config.stages)
        if longest > model.config.max_positions:
            raise FactoryError(
                f"The checkpoint {config.start} is meant for {model.config.max_positions} positions, but "
                f"sequence_length is {longest}; lower it, or raise max_position_embeddings in config.json."
            )
    else:
        with torch.random.fork_rng(devices=[]):  # modules draw first values, which are overwritten
            model = Model(config.model, seed=config.seed).to(WEIGHTS[config.dtype])
    if vocabulary > model.config.vocab_size:
        raise FactoryError(
            f"The tokenizer {config.tokenizer} has {vocabulary} tokens, but the model only "
            f"{model.config.vocab_size}; use the model's own tokenizer, or set model.vocab_size."
        )
    if config.mtp.expand_to:
        model = expand_mtp(model, config.mtp.expand_to)
    return shard(model, group, config.dtype) if group.shards(config.dtype) else model.to(group.device)


def set_rope(model: Model, theta: float) -> None:
    """The base of the rotary frequencies from now on; 0 leaves it."""
    if theta and theta != model.config.rope_theta:
        model.config = model.config.replace(rope_theta=theta)
        for depth in range(1, len(model.mtp) + 1):
            model.depth(depth).config = model.config
