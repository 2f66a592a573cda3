"""Engines as processes, and weights on their way into them; with real vLLM where its environment is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
import torch

from training.forge.rollout import keeper
from training.forge.rollout.parcels import Item, pack, parcels, unpack
from training.forge.rollout.server import EngineError, Server
from training.forge.rollout.settings import EngineConfig
from training.forge.rollout.sync import WeightSync, trunk
from training.model import checkpoint
from training.model.config import preset
from training.model.keymap import entries
from training.model.layout import Forest
from training.model.model import Model

PYTHON = Path(__file__).parents[3] / ".venv-rollout" / "bin" / "python"
CONFIG = preset("tiny").replace(
    head_dim=32, rotary_dim=16, expert_hidden=64, hidden=128, init_std=0.2, max_positions=512
)
ENGINE = EngineConfig(
    python=PYTHON, max_model_len=256, max_num_seqs=8, kv_cache_bytes=1 << 26, args=("--seed", "0")
)
LIMIT = 5e-5  # of a log-probability in float32


def made(seed: int) -> Model:
    model = Model(CONFIG, seed=seed)
    for name, buffer in model.named_buffers():
        if name.endswith("router.bias"):  # they change choices, as a trained model's do
            buffer.copy_(torch.rand(buffer.shape, generator=torch.Generator().manual_seed(seed)) * 0.2)
    return model


def test_parcels_bring_every_bit() -> None:
    items, tensors = trunk(made(1))
    given = list(tensors)
    assert [item.name for item in items] == [
        k for e in entries(CONFIG.replace(mtp_depth=0)) for k in e.theirs
    ]
    cut = parcels(items, 100_000)
    assert [item for parcel in cut for item in parcel] == items
    assert len(cut) > 3
    assert all(sum(i.nbytes for i in p) <= 100_000 or len(p) == 1 for p in cut)
    rest: Iterator[torch.Tensor] = iter(given)
    arrived = [pair for p in cut for pair in unpack(pack([next(rest) for _ in p]), p)]
    for (name, tensor), item, wanted in zip(arrived, items, given, strict=True):
        assert name == item.name
        assert torch.equal(tensor, wanted)


def test_a_parcel_may_hold_types_side_by_side() -> None:
    tensors = [torch.arange(3, dtype=torch.bfloat16), torch.tensor([[1.5]], dtype=torch.float64)]
    items = [Item(str(i), t.dtype, tuple(t.shape)) for i, t in enumerate(tensors)]
    for (_, found), wanted in zip(unpack(pack(tensors), items), tensors, strict=True):
        assert found.dtype == wanted.dtype
        assert torch.equal(found, wanted)


def test_what_is_kept_ends_with_its_owner() -> None:
    """The owner is killed; the command, deaf to SIGTERM, and what it started are gone soon after."""
    deaf = "import signal, subprocess, sys, time; signal.signal(15, signal.SIG_IGN); "
    deaf += "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    deaf += "print('up', flush=True); time.sleep(600)"
    owner = "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE); p.wait()"
    command = [
        sys.executable,
        "-c",
        owner,
        sys.executable,
        keeper.__file__,
        "0.5",
        sys.executable,
        "-c",
        deaf,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) == 3
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    process.stdout.close()
    assert not alive


def test_what_is_kept_ends_with_its_keeper() -> None:
    keeping = [sys.executable, keeper.__file__, "60", sys.executable, "-c"]
    waits = "import time; print('up', flush=True); time.sleep(600)"
    process = subprocess.Popen([*keeping, waits], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    family = psutil.Process(process.pid).children()
    assert len(family) == 1
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    process.stdin.close()
    process.stdout.close()
    assert not alive


def test_an_engine_that_ends_says_why(tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho no room on the device\nexit 3\n")
    fake.chmod(0o755)
    server = Server(EngineConfig(python=fake), tmp_path, tmp_path / "engine.log")
    with pytest.raises(EngineError, match="ended with status 3: no room on the device"):
        server.start()


def test_an_engine_that_is_never_ready_is_ended(tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nexec sleep 600\n")
    fake.chmod(0o755)
    config = EngineConfig(python=fake, start_seconds=1, stop_seconds=1)
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(EngineError, match="was not ready after 1 s"):
        Server(config, tmp_path, tmp_path / "engine.log").start()
    assert set(psutil.Process().children(recursive=True)) == before


def test_a_missing_environment_is_said(tmp_path: Path) -> None:
    config = EngineConfig(python=tmp_path / "none")
    with pytest.raises(EngineError, match="make rollout-env"):
        Server(config, tmp_path, tmp_path / "engine.log").start()


@pytest.mark.skipif(not PYTHON.exists(), reason="there is no .venv-rollout; `make rollout-env` makes it")
def test_weights_arrive_in_a_running_engine(tmp_path: Path) -> None:
    first, second = made(6), made(7)
    folder = checkpoint.save(first, tmp_path / "saved", extra={"eos_token_id": 1})
    prompts = [np.random.default_rng(n).integers(0, CONFIG.vocab_size, n).tolist() for n in (5, 40, 200)]
    with Server(ENGINE, folder, tmp_path / "engine.log") as server:
        assert gap(server, first, prompts) <= LIMIT
        sync = WeightSync([server.url], parcel_bytes=200_000)
        for version, model in ((1, second), (2, first), (3, second)):
            sync.push(model, version)
            assert sync.versions() == [str(version)]
            assert gap(server, model, prompts) <= LIMIT
        assert server._process is not None
        psutil.Process(server._process.pid).children()[0].kill()
        began = time.monotonic()
        with pytest.raises(EngineError, match=f"The engine at {server.url} failed at pause"):
            sync.push(first, 4)
        assert time.monotonic() - began < 60
        server._process.wait(60)
        with pytest.raises(EngineError, match="ended with status"):
            server.require_alive()


def gap(server: Server, model: Model, prompts: list[list[int]]) -> float:
    """The largest difference of log-probabilities of what the engine samples, also with tokens cached."""
    worst = 0.0
    for prompt in prompts:
        answer = requests.post(
            f"{server.url}/inference/v1/generate",
            json={"token_ids": prompt, "sampling_params": {"max_tokens": 8, "logprobs": 0, "seed": 1}},
            timeout=120,
        ).json()["choices"][0]
        tokens = answer["token_ids"]
        found = torch.tensor([step["logprob"] for step in answer["logprobs"]["content"]])
        with torch.no_grad():
            states = model.states(Forest.packed([prompt + tokens]))
            scores = model.logits(states.trunk_TD[len(prompt) - 1 : -1]).log_softmax(-1)
        wanted = scores.gather(1, torch.tensor(tokens)[:, None])[:, 0]
        worst = max(worst, float((found - wanted).abs().max()))
    return worst
