"""What an RL run is asked to do, as data: read from TOML, checked at once, printable. Takes no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.advantages import AdvantageConfig, Normalizer, RewardConfig
from training.forge.gateway.settings import Deadlines, Limits, Policy
from training.forge.rollout.settings import EngineConfig
from training.forge.scheduler.settings import SchedulerConfig
from training.objective import MtpLoss
from training.settings import OptimizerConfig


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DomainShare(_Section):
    """A domain and how many of the prompts are its."""

    domain: str = Field(description="Its name: file-operations, tasks, or one that is installed.")
    share: float = Field(1.0, gt=0, description="Share of the prompts, against the other domains'.")
    options: dict[str, Any] = Field(default_factory=dict, description="Its own settings.")


class ClockConfig(_Section):
    """Durations of rollouts that are drawn instead of measured (training/forge/rl/clock.py)."""

    seed: int = Field(0, ge=0, description="What durations are drawn from.")
    mean: float = Field(2.4, gt=0, description="Mean duration of a group, in training steps.")
    sigma: float = Field(0.8, ge=0, description="Standard deviation of its logarithm.")


class RlConfig(_Section):
    """Reinforcement learning with CISPO on rollouts through the gateway."""

    start: str = Field(description="Checkpoint folder (Hugging Face layout) to start from.")
    out: Path = Field(Path("runs"), description="Folder of runs; each run gets a folder named by its id.")
    seed: int = Field(0, ge=0, description="Seed of the prompts' order and of sampling.")
    steps: int = Field(200, ge=1, description="Optimiser steps.")
    groups: int = Field(16, ge=1, description="Prompts in a step.")
    samples: int = Field(8, ge=2, description="Rollouts of each prompt.")
    tokenizer: str = Field("bytes", description="bytes, or the checkpoint's tokenizer.json.")
    keep_reasoning: bool = Field(
        False, description="Keep reasoning past the next user message, where the template drops it."
    )
    rewards: Literal["true", "shuffled"] = Field(
        "true",
        description="shuffled: outcomes change places within a step; a control that learns nothing.",
    )
    micro_batch_tokens: int = Field(16_384, ge=2, description="Most tokens computed at once.")
    save_every: int = Field(10, ge=1, description="Steps between checkpoints; the last is always saved.")
    threads: int = Field(0, ge=0, description="CPU threads of the trainer; 0 leaves the choice to torch.")
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where to train.")
    dtype: Literal["float32", "float64"] = Field("float32", description="Type of the trainer's weights.")
    ratio_max: float = Field(5.0, gt=0, description="CISPO: the largest importance ratio itself.")
    normalizer: Normalizer = Field(Normalizer.GROUP, description="Whose tokens a token's weight is over.")
    mtp: MtpLoss = Field(MtpLoss.NONE, description="What MTP modules learn: policy (top-K KL), or none.")
    engine: Literal["vllm", "own"] = Field(
        "vllm", description="vllm, or our own model in the trainer's process (slow; for tests)."
    )
    vllm: EngineConfig = Field(default_factory=EngineConfig, description="How an engine is started.")
    sampling: Policy = Field(
        default_factory=lambda: Policy(temperature=1.0), description="How tokens are drawn."
    )
    limits: Limits = Field(default_factory=Limits, description="What one rollout may use.")
    deadlines: Deadlines = Field(default_factory=Deadlines, description="Longest waits of the gateway.")
    rollout_seconds: float = Field(1_800, gt=0, description="A rollout that takes longer is given up.")
    tries: int = Field(3, ge=1, description="Attempts at a rollout that infrastructure breaks.")
    clock: ClockConfig | None = Field(
        None,
        description="Order everything by drawn durations, so that batches and losses are a function of the "
        "settings, bit for bit, whatever is killed. Slow, for tests: no rollout runs beside a step.",
    )
    scheduler: SchedulerConfig = Field(
        default_factory=SchedulerConfig, description="Which prompts start, and which finished groups train."
    )
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig, description="The optimiser.")
    advantage: AdvantageConfig = Field(default_factory=AdvantageConfig, description="Rewards to advantages.")
    reward: RewardConfig = Field(default_factory=RewardConfig, description="The composite reward.")
    domains: dict[str, DomainShare] = Field(min_length=1, description="Sources of prompts by name.")

    @model_validator(mode="after")
    def _fits(self) -> RlConfig:
        if self.sampling.temperature == 0:
            raise ValueError("sampling.temperature = 0 draws one answer again and again; nothing is learnt")
        if self.clock and self.engine != "own":
            raise ValueError("clock: only engine = 'own' draws the same tokens again; use it or no clock")
        if self.clock and self.reward.beta:
            raise ValueError("clock: drawn durations are no speed to reward; set reward.beta = 0")
        return self

    def to_toml(self) -> str:
        """Every setting with its value, as the TOML that would give them again (what `--dry-run` prints)."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))
