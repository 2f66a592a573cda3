"""A factory's home of one's own, and a full disk to write to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from warehouse.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def on_small_disk(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a Python script in its own mount namespace; `sys.argv[1]` is a folder on a disk of a few MB."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("a small disk of one's own needs root and unshare")
    disk = tmp_path / "disk"
    disk.mkdir()

    def run(script: str, megabytes: int) -> subprocess.CompletedProcess[str]:
        mounted = f'mount -t tmpfs -o size={megabytes}m none "$1" && exec "$2" -c "$3" "$1"'
        command = ["unshare", "--mount", "sh", "-c", mounted, "sh", str(disk), sys.executable, script]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=120,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )

    return run
