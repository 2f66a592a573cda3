"""A stranger's first minute: a fresh environment, `pip install .`, and a flow of one task."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOW = """
from pipelines.prefect_settings import configure_prefect
configure_prefect()
from prefect import flow, task

@task
def double(x: int) -> int:
    return 2 * x

@flow
def one_task() -> int:
    return double(21)

print("answer", one_task())
"""


@pytest.mark.network
@pytest.mark.prefect
def test_fresh_install_resolves_and_runs_a_flow(tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = str(environment / "bin" / "python")
    source = tmp_path / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    for name in filter(None, tracked.decode().split("\0")):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            target.write_bytes((ROOT / name).read_bytes())
    subprocess.run([python, "-m", "pip", "install", "-q", str(source)], check=True, timeout=500)
    env = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")}
    env.pop("PREFECT_API_URL", None)
    done = subprocess.run(
        [python, "-c", FLOW], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "answer 42" in done.stdout
    command = [str(environment / "bin" / "verifactory"), "--help"]
    told = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    assert "doctor" in told.stdout
    assert "train" in told.stdout
    missing = [str(environment / "bin" / "verifactory"), "sql", "SELECT 1"]
    told = subprocess.run(missing, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1, told.stderr
