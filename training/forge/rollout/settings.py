"""How an engine is started, as settings. Takes no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from training.forge.vllm_plugin import GLOO

BATCHED_TOKENS = 4096  # of prompts, in one pass on a CPU
SERVED = "policy"  # what the model is called there


class EngineConfig(BaseModel):
    """How vLLM is started. What is not here goes into `args` as vLLM's own options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    python: Path = Field(Path(".venv-rollout/bin/python"), description="Python of vLLM's environment.")
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where it runs.")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Type of weights and states.")
    max_model_len: int = Field(4096, ge=2, description="Most tokens of prompt and answer.")
    max_num_seqs: int = Field(64, ge=1, description="Most answers in the making.")
    kv_cache_bytes: int = Field(
        0, ge=0, description="Memory for keys and values; 0: as much as vLLM takes (on a GPU)."
    )
    start_seconds: float = Field(600, gt=0, description="Longest wait for it to be ready.")
    stop_seconds: float = Field(20, gt=0, description="Longest wait for it to end by itself.")
    args: tuple[str, ...] = Field((), description="More of vLLM's options, as on its command line.")
    engines: int | tuple[str, ...] = Field(
        1, description="How many are started; or addresses of running ones, started as docs/rl.md says."
    )
    devices: tuple[str, ...] = Field(
        (), description="CUDA_VISIBLE_DEVICES of each that is started; empty: with several, its number."
    )
    host: str = Field("127.0.0.1", description="This machine, as the engines reach it for weights.")
    prefill_tokens_per_second: float = Field(
        5_000, gt=0, description="Tokens of prompts that one computes in a second: what a cache miss costs."
    )
    cached_tokens: int = Field(200_000, ge=1, description="Tokens that one's prefix cache has room for.")

    @field_validator("engines")
    @classmethod
    def _some(cls, engines: int | tuple[str, ...]) -> int | tuple[str, ...]:
        if isinstance(engines, tuple):
            engines = tuple(url.rstrip("/").removesuffix("/v1") for url in engines)
            if len(set(engines)) != len(engines):
                raise ValueError("an engine is named twice")
        if engines in (0, ()) or (isinstance(engines, int) and engines < 0):
            raise ValueError("a run needs at least one engine")
        return engines

    @model_validator(mode="after")
    def _devices(self) -> EngineConfig:
        if self.devices and len(self.devices) != self.engines:
            raise ValueError(f"devices names {len(self.devices)}; give one for each engine that is started")
        return self

    @property
    def count(self) -> int:
        return self.engines if isinstance(self.engines, int) else len(self.engines)

    def device_of(self, number: int) -> dict[str, str]:
        """The environment that gives engine `number` its own device."""
        if self.device != "cuda" or not (self.devices or self.count > 1):
            return {}
        return {"CUDA_VISIBLE_DEVICES": self.devices[number] if self.devices else str(number)}

    def command(self, model: Path, port: int) -> list[str]:
        """vLLM's command line. Log-probabilities are those of the distribution that was sampled from."""
        options: dict[str, object] = {
            "model": model, "served-model-name": SERVED, "host": "127.0.0.1", "port": port,
            "dtype": self.dtype, "max-model-len": self.max_model_len, "max-num-seqs": self.max_num_seqs,
            "generation-config": "vllm", "logprobs-mode": "processed_logprobs",
            "weight-transfer-config": json.dumps({"backend": GLOO}),
        }  # fmt: skip
        if self.kv_cache_bytes:
            options["kv-cache-memory-bytes"] = self.kv_cache_bytes
        flags = ["--tokens-only", "--enable-return-routed-experts"]
        if self.device == "cpu":
            # A prompt that is cut in pieces would set its own generator back, which a CPU's cannot do.
            flags += ["--enforce-eager", "--no-enable-chunked-prefill"]
            options["max-num-batched-tokens"] = max(self.max_model_len, BATCHED_TOKENS)
        given = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
        python = [str(self.python), "-m", "vllm.entrypoints.openai.api_server"]
        return [*python, *given, *flags, *self.args]
