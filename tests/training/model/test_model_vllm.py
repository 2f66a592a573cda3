"""A checkpoint saved here, run by vLLM: the same log-probabilities.

vLLM lives in an environment of its own, which `make rollout-env` makes; without it this is skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from training.model import checkpoint
from training.model.config import preset
from training.model.layout import Forest
from training.model.model import Model

PYTHON = Path(__file__).parents[3] / ".venv-rollout" / "bin" / "python"
CONFIG = preset("tiny").replace(
    head_dim=32, rotary_dim=16, expert_hidden=64, hidden=128, init_std=0.2, max_positions=512
)
SCORE = """
import json, sys
from vllm import LLM, SamplingParams
folder, prompts = sys.argv[1], json.loads(sys.argv[2])
model = LLM(folder, skip_tokenizer_init=True, dtype="float32", enforce_eager=True, max_model_len=256,
            kv_cache_memory_bytes=1 << 26, max_num_seqs=8, max_num_batched_tokens=512, seed=0)
asked = [{"prompt_token_ids": prompt} for prompt in prompts]
answers = model.generate(asked, SamplingParams(prompt_logprobs=0, max_tokens=1, detokenize=False))
scores = [[step[token].logprob for step, token in zip(a.prompt_logprobs[1:], a.prompt_token_ids[1:])]
          for a in answers]
print("SCORES " + json.dumps(scores))
"""


@pytest.mark.skipif(not PYTHON.exists(), reason="there is no .venv-rollout; `make rollout-env` makes it")
def test_vllm_gives_the_same_log_probabilities(tmp_path: Path) -> None:
    model = Model(CONFIG, seed=6)
    for name, buffer in model.named_buffers():
        if name.endswith("router.bias"):  # they change choices, as a trained model's do
            buffer.copy_(torch.rand(buffer.shape, generator=torch.Generator().manual_seed(1)) * 0.2)
    folder = checkpoint.save(model, tmp_path / "saved", extra={"eos_token_id": 1})
    rng = np.random.default_rng(0)
    prompts = [rng.integers(0, CONFIG.vocab_size, n).tolist() for n in (5, 40, 130)]

    found = vllm_scores(folder, prompts)
    with torch.no_grad():
        logits = model.logits(model.states(Forest.packed(prompts)).trunk_TD).log_softmax(-1)
    at = 0
    for prompt, scores in zip(prompts, found, strict=True):
        rows = logits[at : at + len(prompt) - 1]
        wanted = rows.gather(1, torch.tensor(prompt[1:])[:, None])[:, 0]
        assert (torch.tensor(scores) - wanted).abs().max() <= 5e-5
        at += len(prompt)


def vllm_scores(folder: Path, prompts: list[list[int]]) -> list[list[float]]:
    """Log-probabilities of each prompt's tokens after the first, by vLLM in its own process."""
    quiet = {
        "OMP_NUM_THREADS": "1",
        "TORCHDYNAMO_DISABLE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }
    ran = subprocess.run(
        [str(PYTHON), "-c", SCORE, str(folder), json.dumps(prompts)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, **quiet},
    )
    lines = [line for line in ran.stdout.splitlines() if line.startswith("SCORES ")]
    assert lines, ran.stdout[-2000:] + ran.stderr[-4000:]
    return json.loads(lines[-1].removeprefix("SCORES "))
