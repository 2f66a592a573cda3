"""The benchmark's experiment, small: writers and the loader killed, nothing lost, doubled or torn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "loader_kill.py"


def test_three_kills_lose_and_double_nothing() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--json", "--kills", "3"],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    result = json.loads(done.stdout)
    assert result["passed"], result
    assert result["items"] > 0
    assert result["loader_kills"] + result["writer_kills"] == 3
