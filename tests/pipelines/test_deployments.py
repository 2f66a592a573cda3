"""`prefect.yaml` on a real server: every deployment is accepted with its schedule, and a worker runs one."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from training.model import checkpoint
from training.model.config import preset
from training.model.model import Model
from warehouse.query import Reader
from warehouse.settings import Settings

ROOT = Path(__file__).parents[2]
PREFECT = str(Path(sys.executable).parent / "prefect")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Prefect server of its own on loopback; yields the environment of its clients."""
    port = _free_port()
    env = {
        **os.environ,
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "COLUMNS": "200",  # tables that do not cut names
        "VERIFACTORY_DIR": str(ROOT),
        "VERIFACTORY_HOME": str(tmp_path / "home"),
    }
    command = [PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=tmp_path)
        try:
            _wait_healthy(env["PREFECT_API_URL"], process, tmp_path / "server.log")
            yield env
        finally:
            process.terminate()
            process.wait(30)


def _wait_healthy(api: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{api}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"the Prefect server did not come up: {log.read_text()}")


def _prefect(env: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [PREFECT, "--no-prompt", *arguments], env=env, cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.prefect
def test_deployments_are_accepted_scheduled_and_run(server: dict[str, str], tmp_path: Path) -> None:
    _prefect(server, "work-pool", "create", "--type", "process", "local")
    _prefect(server, "deploy", "--all")
    listed = _prefect(server, "deployment", "ls")
    for name in ("releases-nightly", "github-nightly", "train-rl", "load-warehouse", "reclaim"):
        assert name in listed.replace("\n", "")
    schedules = _prefect(server, "deployment", "schedule", "ls", "run-family/releases-nightly")
    assert "0 2 * * *" in schedules
    _prefect(server, "deployment", "run", "load-warehouse/load-warehouse")
    _prefect(server, "worker", "start", "--pool", "local", "--run-once")
    runs = _prefect(server, "flow-run", "ls", "--state", "COMPLETED")
    assert "load-warehouse" in runs, runs
    assert (tmp_path / "home" / "warehouse.duckdb").exists()


DOMAIN = """
import itertools
import aiohttp
from training.forge.rl.domain import Judgement, Prompt

class Letters:
    name = "letters"

    async def open(self): ...

    async def close(self): ...

    def prompts(self, seed):
        return (Prompt(letter) for letter in itertools.cycle("abcd"))

    async def attempt(self, key, url, attempt):
        body = {"model": "m", "messages": [{"role": "user", "content": key}], "max_tokens": 8}
        async with aiohttp.ClientSession() as client:
            async with client.post(f"{url}/chat/completions", json=body) as got:
                text = str((await got.json())["choices"][0]["message"])
        return Judgement(text.count(key) / len(text))
"""
CONFIG = """
start = "{folder}/start"
out = "{folder}/runs"
steps = {steps}
groups = 1
samples = 2
engine = "own"
threads = 1
limits = {{ tokens = 64 }}
scheduler = {{ policy = "fifo", bound = 0 }}

[domains.letters]
domain = "letters"
"""


def _learning_run(folder: Path, steps: int) -> Path:
    """An RL run without containers or vLLM, of a domain that is installed in `folder`."""
    shape = preset("tiny").replace(vocab_size=272, layers=1, mtp_depth=0, max_positions=256)
    checkpoint.save(Model(shape, seed=1), folder / "start")
    info = folder / "letters-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: letters\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[verifactory.domains]\nletters = letters:Letters\n")
    (folder / "letters.py").write_text(DOMAIN)
    (folder / "rl.toml").write_text(CONFIG.format(folder=folder, steps=steps))
    return folder / "rl.toml"


def _wait(what: Callable[[], object], log: Path, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.5)


@contextmanager
def _worker(env: dict[str, str], log: Path) -> Generator[None]:
    command = [PREFECT, "--no-prompt", "worker", "start", "--pool", "local"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=out, stderr=out)
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


@pytest.mark.prefect
def test_a_cancelled_learning_run_ends_after_a_step(server: dict[str, str], tmp_path: Path) -> None:
    config, log = _learning_run(tmp_path, steps=100_000), tmp_path / "worker.log"
    env = {**server, "PYTHONPATH": str(tmp_path)}
    settings = Settings(home=tmp_path / "home")

    def steps() -> int:
        return sum(len(path.read_text().splitlines()) for path in tmp_path.glob("runs/*/metrics.jsonl"))

    _prefect(env, "work-pool", "create", "--type", "process", "local")
    _prefect(env, "deploy", "--name", "train-rl")
    said = _prefect(env, "deployment", "run", "train-rl/train-rl", "--param", f"config={config}")
    (number,) = set(re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", said))
    with _worker(env, log):
        _wait(lambda: steps() >= 2, log)
        _prefect(env, "flow-run", "cancel", number)
        _wait(lambda: number in _prefect(env, "flow-run", "ls", "--state", "CANCELLED"), log)
    (saved,) = tmp_path.glob("runs/*/checkpoint.pt")
    assert torch.load(saved, weights_only=True)["step"] == steps() >= 2, "it did not end after a step"
    query = "SELECT max(stage), count(*) FROM training_runs WHERE step >= 0"
    assert Reader(settings).sql(query).rows == [("rl", steps())]
