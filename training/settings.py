"""What a training run is asked to do, as data: read from TOML, checked at once, printable in full.

Importing this module takes no torch, so `verifactory train sft CONFIG --dry-run` answers at once anywhere.
A key that is not listed here is an error, never ignored: a misspelt setting must not train with the
default.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from warehouse.errors import FactoryError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TinyConfig(_Section):
    """The sizes of the tiny causal language model (`training.tiny`)."""

    layers: int = Field(2, ge=1, description="Transformer blocks.")
    hidden: int = Field(128, ge=8, description="Width of the residual stream.")
    heads: int = Field(4, ge=1, description="Attention heads; hidden / heads is even, for rotary positions.")

    @model_validator(mode="after")
    def _heads_fit(self) -> TinyConfig:
        if self.hidden % (2 * self.heads):
            raise ValueError(f"hidden = {self.hidden} must be a multiple of 2 * heads = {2 * self.heads}")
        return self


class OptimizerConfig(_Section):
    """AdamW, with linear warm-up and cosine decay to a tenth of the peak."""

    lr: float = Field(3e-3, gt=0, description="Peak learning rate.")
    warmup_steps: int = Field(2, ge=0, description="Steps of linear warm-up.")
    weight_decay: float = Field(0.1, ge=0, description="Decoupled decay, on matrices only.")
    clip_norm: float = Field(1.0, gt=0, description="Largest global gradient norm.")


class SftConfig(_Section):
    """Supervised fine-tuning on a shard that `verifactory export sft` wrote."""

    data: str = Field(description="The shard: a Parquet file, a folder of them, or a glob.")
    out: Path = Field(Path("runs"), description="Folder of runs; each run gets a folder named by its id.")
    seed: int = Field(0, ge=0, description="Seed of initial weights and example order.")
    steps: int = Field(20, ge=1, description="Optimiser steps.")
    batch_tokens: int = Field(
        8192, ge=2, description="Most tokens in a step; whole examples are packed into it."
    )
    sequence_length: int = Field(4096, ge=2, description="Most tokens of one example.")
    too_long: Literal["drop", "truncate", "error"] = Field(
        "drop",
        description="What becomes of an example over sequence_length; the report counts each kind.",
    )
    save_every: int = Field(10, ge=1, description="Steps between checkpoints; the last step is always saved.")
    threads: int = Field(0, ge=0, description="CPU threads; 0 leaves the choice to torch.")
    model: TinyConfig = Field(default_factory=TinyConfig, description="Sizes of the model.")
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig, description="The optimiser.")

    @model_validator(mode="after")
    def _one_example_fits(self) -> SftConfig:
        if self.batch_tokens < self.sequence_length:
            raise ValueError(
                f"batch_tokens = {self.batch_tokens} is less than sequence_length = {self.sequence_length}"
            )
        return self

    @classmethod
    def read(cls, path: Path) -> SftConfig:
        """The settings in the TOML file `path`; its relative paths start at the working directory."""
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise FactoryError(f"There is no training config at {path}; name a TOML file.") from None
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or 'config'}: {e['msg'].removeprefix('Value error, ')}"
                for e in error.errors()
            )
            raise FactoryError(f"The training config {path} is not valid: {problems}.") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise FactoryError(f"The training config {path} cannot be read: {error}.") from error

    def to_toml(self) -> str:
        """Every setting with its value, as the TOML that would give them again (what `--dry-run` prints)."""
        return tomli_w.dumps(self.model_dump(mode="json"))
