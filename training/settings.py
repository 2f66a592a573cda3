"""What a training run is asked to do, as data: read from TOML, checked at once, printable in full.

Importing this module takes no torch, so `verifactory train sft CONFIG --dry-run` answers at once anywhere.
A key that is not listed here is an error, never ignored: a misspelt setting must not train with the
default. Short forms are spelt out by `SftConfig.resolved`, which is what a run reads and records.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from training.config_file import read_config
from training.model.config import ModelConfig, preset
from training.objective import MtpLoss
from warehouse.errors import FactoryError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OptimizerConfig(_Section):
    """AdamW. The learning rate rises linearly, then falls to a share of its peak at the last step."""

    lr: float = Field(3e-3, gt=0, description="Peak learning rate.")
    warmup_steps: int = Field(2, ge=0, description="Steps of linear warm-up.")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="How the rate falls.")
    final_share: float = Field(0.1, ge=0, le=1, description="Share of the peak left at the last step.")
    betas: tuple[float, float] = Field((0.9, 0.95), description="Decay of the gradient's two moments.")
    eps: float = Field(1e-8, gt=0, description="Added to the root of the second moment.")
    weight_decay: float = Field(0.1, ge=0, description="Decoupled decay, on matrices only.")
    clip_norm: float = Field(1.0, gt=0, description="Largest global gradient norm.")


class MtpConfig(_Section):
    """What MTP modules learn, and for how long they learn alone."""

    loss: MtpLoss = Field(MtpLoss.TARGETS, description="targets, policy (top-K KL to the trunk), or none.")
    weight: float = Field(0.3, ge=0, description="Weight of their mean loss at the first step.")
    final_weight: float = Field(0.1, ge=0, description="Its weight at the last step; linear in between.")
    top_k: int = Field(64, ge=1, description="policy: likeliest tokens that are told apart.")
    expand_to: int = Field(0, ge=0, description="Grow to this many modules by copying first; 0: as they are.")
    alone_steps: int = Field(
        0, ge=0, description="At most so many first steps in which only MTP modules learn."
    )
    settled_steps: int = Field(10, ge=1, description="They settle when the mean loss of so many steps …")
    settled_change: float = Field(
        0.01, ge=0, description="… is less than this share below that of as many before; then all learn."
    )


class CleaningConfig(_Section):
    """Which examples are left out; the report counts them by reason."""

    min_reward: float = Field(1.0, description="Least reward of a row that has one (rejection sampling).")
    tool_format: bool = Field(True, description="Leave out answers with a malformed tool call.")
    reasoning: bool = Field(
        False, description="Leave out answers without reasoning; the model is asked to think."
    )
    foreign_letters: float = Field(
        1.0, ge=0, le=1, description="Largest share of an answer's letters in a script of another language."
    )
    duplicates: bool = Field(True, description="Leave out all but the first of equal conversations.")


class DomainConfig(_Section):
    """Where the examples of a domain come from: a shard, or a query on the warehouse."""

    data: str = Field("", description="A shard: a Parquet file, a folder of them, or a glob.")
    where: str = Field("true", description="SQL condition on the shard's rows.")
    sql: str = Field(
        "", description="Instead: a SELECT on the warehouse, of messages (or trajectory), task_id and weight."
    )

    @model_validator(mode="after")
    def _one_place(self) -> DomainConfig:
        if bool(self.data) == bool(self.sql):
            raise ValueError("a domain has either data (a shard) or sql (a query on the warehouse)")
        if self.sql and self.where != "true":
            raise ValueError("where is a condition on a shard's rows; put it into the sql")
        return self


class StageConfig(_Section):
    """A stretch of a run with its own mixture. Stages follow each other in one schedule of the rate."""

    name: str = Field("all", min_length=1, description="What reports call it.")
    steps: int = Field(0, ge=0, description="Optimiser steps; 0: as the run's.")
    sequence_length: int = Field(
        0, ge=0, description="Most tokens of an example, whatever its domain; 0: the run's."
    )
    context: dict[str, int] = Field(
        default_factory=dict, description="Most tokens of an example by domain, where that is less."
    )
    ratios: dict[str, float] = Field(
        default_factory=dict, description="Share of the tokens by domain; without any: by their size."
    )
    difficulty: tuple[float, float] = Field(
        (0.0, 1.0), description="Least and most difficulty of examples that have one, 0 to 1."
    )
    rope_theta: float = Field(0.0, ge=0, description="Base of the rotary frequencies from here on; 0: as is.")

    @model_validator(mode="after")
    def _numbers_fit(self) -> StageConfig:
        if not 0 <= self.difficulty[0] <= self.difficulty[1] <= 1:
            raise ValueError(f"difficulty = {list(self.difficulty)} is not a range within 0 to 1")
        if self.ratios and (min(self.ratios.values()) < 0 or sum(self.ratios.values()) <= 0):
            raise ValueError(f"ratios of stage {self.name} must be shares, at least one above 0")
        if any(length < 2 for length in self.context.values()):
            raise ValueError(f"context of stage {self.name} must be at least 2 tokens")
        return self


class SftConfig(_Section):
    """Supervised fine-tuning on shards that `verifactory export sft` wrote, or on the warehouse."""

    data: str = Field(
        "", description="The shard: a Parquet file, a folder of them, or a glob. Or give domains."
    )
    out: Path = Field(Path("runs"), description="Folder of runs; each run gets a folder named by its id.")
    seed: int = Field(0, ge=0, description="Seed of initial weights, example order and prompt distillation.")
    steps: int = Field(20, ge=1, description="Optimiser steps (of each stage that has no own number).")
    batch_tokens: int = Field(
        8192, ge=2, description="Most tokens in a step; whole examples are packed into it."
    )
    micro_batch_tokens: int = Field(
        0, ge=0, description="Most tokens computed at once; 0: a step's. Changes memory, not the loss."
    )
    merge: bool = Field(
        True, description="Compute what examples of a micro-batch share once. Changes time, not the loss."
    )
    verify_merge: int = Field(
        0, ge=0, description="First steps of which the gradient is compared with that of examples run alone."
    )
    sequence_length: int = Field(4096, ge=2, description="Most tokens of one example.")
    too_long: Literal["drop", "truncate", "error"] = Field(
        "drop",
        description="What becomes of an example over sequence_length; the report counts each kind.",
    )
    sections_dropped: float = Field(
        0.0, ge=0, le=1, description="Prompt distillation: share of a system prompt's sections left out."
    )
    tokenizer: str = Field("bytes", description="bytes, or a tokenizer.json that has the format's marks.")
    save_every: int = Field(10, ge=1, description="Steps between checkpoints; the last step is always saved.")
    threads: int = Field(0, ge=0, description="CPU threads; 0 leaves the choice to torch.")
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where to train.")
    workers: int = Field(
        1, ge=1, description="Processes that share each step and the weights (FSDP2); on cuda, a GPU each."
    )
    worker_timeout: float = Field(
        600.0, gt=0, description="Seconds that a worker waits for the others before the run ends."
    )
    dtype: Literal["float32", "float64", "bfloat16"] = Field(
        "float32", description="Type of weights and states; bfloat16: of states, weights being float32."
    )
    start: str = Field(
        "", description="Checkpoint folder (Hugging Face layout) to start from; empty: new weights."
    )
    router_bias_rate: float = Field(
        1e-3, ge=0, description="Step of the routers' selection biases towards even experts; 0: frozen."
    )
    model: ModelConfig = Field(
        default_factory=ModelConfig,
        description="Sizes of a new model; `preset` names those that are not given.",
    )
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig, description="The optimiser.")
    mtp: MtpConfig = Field(default_factory=MtpConfig, description="Multi-token prediction.")
    cleaning: CleaningConfig = Field(default_factory=CleaningConfig, description="What is left out.")
    domains: dict[str, DomainConfig] = Field(
        default_factory=dict, description="Sources of examples by name, instead of data."
    )
    stages: tuple[StageConfig, ...] = Field((), description="Stages in order; without any, one of all data.")

    @field_validator("model", mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "preset" not in given:
            return given
        try:
            sizes = preset(given["preset"]).model_dump()
        except FactoryError as error:
            raise ValueError(str(error).removesuffix(".")) from error
        return sizes | {key: value for key, value in given.items() if key != "preset"}

    @model_validator(mode="after")
    def _parts_fit(self) -> SftConfig:
        if bool(self.data) == bool(self.domains):
            raise ValueError("name the examples: either data (a shard) or domains")
        for stage in self.resolved_stages():
            if stage.sequence_length > self.batch_tokens:
                raise ValueError(
                    f"batch_tokens = {self.batch_tokens} is less than sequence_length = "
                    f"{stage.sequence_length}"
                )
            if not self.start and stage.sequence_length > self.model.max_positions:
                raise ValueError(
                    f"sequence_length = {stage.sequence_length} is more than model.max_positions = "
                    f"{self.model.max_positions}"
                )
            unknown = sorted((stage.context.keys() | stage.ratios.keys()) - self.sources().keys())
            if unknown:
                raise ValueError(f"stage {stage.name} names {', '.join(unknown)}, which is not a domain")
        if self.micro_batch_tokens and self.micro_batch_tokens < max(
            stage.sequence_length for stage in self.resolved_stages()
        ):
            raise ValueError(
                f"micro_batch_tokens = {self.micro_batch_tokens} is less than sequence_length; an example "
                "is not cut"
            )
        return self

    def sources(self) -> dict[str, DomainConfig]:
        """The domains by name."""
        return self.domains or {"all": DomainConfig(data=self.data)}

    def resolved_stages(self) -> tuple[StageConfig, ...]:
        """The stages with everything they take from the run."""
        return tuple(
            stage.model_copy(
                update={
                    "steps": stage.steps or self.steps,
                    "sequence_length": stage.sequence_length or self.sequence_length,
                }
            )
            for stage in self.stages or (StageConfig(),)
        )

    def resolved(self) -> SftConfig:
        """The same run with every short form spelt out."""
        return self.model_copy(
            update={
                "data": "",
                "domains": self.sources(),
                "stages": self.resolved_stages(),
                "micro_batch_tokens": self.micro_batch_tokens or self.batch_tokens,
            }
        )

    @classmethod
    def read(cls, path: Path) -> SftConfig:
        """The settings in the TOML file `path`; its relative paths start at the working directory."""
        return read_config(cls, path)

    def to_toml(self) -> str:
        """Every setting with its value, as the TOML that would give them again (what `--dry-run` prints)."""
        return tomli_w.dumps(self.resolved().model_dump(mode="json"))
