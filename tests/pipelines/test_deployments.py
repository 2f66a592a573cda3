"""`prefect.yaml` on a real server: every deployment is accepted with its schedule, and a worker runs one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    for name in ("releases-nightly", "github-nightly", "load-warehouse", "reclaim"):
        assert name in listed.replace("\n", "")
    schedules = _prefect(server, "deployment", "schedule", "ls", "run-family/releases-nightly")
    assert "0 2 * * *" in schedules
    _prefect(server, "deployment", "run", "load-warehouse/load-warehouse")
    _prefect(server, "worker", "start", "--pool", "local", "--run-once")
    runs = _prefect(server, "flow-run", "ls", "--state", "COMPLETED")
    assert "load-warehouse" in runs, runs
    assert (tmp_path / "home" / "warehouse.duckdb").exists()
