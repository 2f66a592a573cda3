"""The scheduled form of a run: plain parameters, as a deployment has them, and nobody who watches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from calc_repo import make
from cli_command import QUICK, Command

from envs.docker.backend import DockerBackend
from warehouse.query import Reader

SCHEDULED = """
import asyncio, json, sys
from pipelines.flows import run_family
asyncio.run(run_family(**json.loads(sys.argv[1])))
"""


@pytest.mark.docker
@pytest.mark.network
@pytest.mark.prefect
def test_a_scheduled_run_takes_a_candidate_through_its_stages(tmp_path: Path, docker: DockerBackend) -> None:
    """One candidate, that compose rejects; what a killed run left in the work folder goes."""
    command = Command(tmp_path)
    left = command.home / "work" / "of-a-killed-run"
    left.mkdir(parents=True)
    (left / "large").write_bytes(bytes(1000))
    parameters = {
        "family_name": "swe",
        "options": {
            "source": "git", "repo": [str(make(tmp_path / "calc"))],
            "since": "2024-03-03T00:00:00Z", "until": "2024-03-04T00:00:00Z",
        },
    }  # fmt: skip
    own = {"VERIFACTORY_HOME": str(command.home), "PREFECT_HOME": str(tmp_path / "prefect")}
    done = subprocess.run(
        [sys.executable, "-c", SCHEDULED, json.dumps(parameters)],
        env={**os.environ, **QUICK, **own}, cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with Reader(command.settings) as reader:
        rows = reader.sql("SELECT stage, outcome, reason FROM events ORDER BY recorded_at").rows
    assert [tuple(row) for row in rows] == [
        ("mine", "ok", ""),
        ("build", "ok", ""),
        ("compose", "rejected", "no_fail_to_pass"),
    ]
    assert list((command.home / "work").iterdir()) == []
    assert command.left_behind() == []
