"""How an engine is started, as settings. Takes no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

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
