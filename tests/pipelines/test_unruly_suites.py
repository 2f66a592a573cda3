"""A suite that forks daemons, writes outside its tree and prints too much costs its task nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from calc_repo import LICENSE, PYPROJECT
from test_git import History

from envs.docker.backend import DockerBackend
from pipelines.family import Context, Done
from pipelines.swe.family import SweFamily, SweOptions
from verifiers.tests.bundle import load
from warehouse.records import Validation
from warehouse.settings import Settings

OUTSIDE = "written-outside-of-the-tree"
TESTS = f'''\
import contextlib
import os
import time
import unittest

from calc import double


class Unruly(unittest.TestCase):
    def test_daemon(self):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                while True:
                    with contextlib.suppress(OSError), open("/tmp/beat", "a") as file:
                        file.write(".")
                    time.sleep(0.05)
            os._exit(0)
        os.wait()

    def test_outside(self):
        for folder in ("/tmp", "/var/tmp", "/etc", "/usr/lib", os.path.expanduser("~"), "/tests", "/logs"):
            with contextlib.suppress(OSError), open(os.path.join(folder, "{OUTSIDE}"), "w") as file:
                file.write("here")

    def test_output(self):
        for _ in range(160):
            os.write(1, b"noise " * 174762 + b"\\\\n")

    def test_double(self):
        self.assertEqual(double(4), 8)
'''


def history(folder: Path) -> Path:
    made = History(folder)
    start = {"LICENSE": LICENSE, "pyproject.toml": PYPROJECT, "pkg/a.py": None, "tests/test_a.py": None}
    before = TESTS.replace("double(4), 8", "double(2), 4")
    made.commit(
        "Start",
        {**start, "calc/__init__.py": "def double(x):\n    return x * x\n", "tests/test_calc.py": before},
    )
    made.commit(
        "Fix double of all but two (#2)\n\nIt multiplied a number by itself; it should add it to itself.",
        {"calc/__init__.py": "def double(x):\n    return x + x\n", "tests/test_calc.py": TESTS},
    )
    return folder


@pytest.mark.docker
@pytest.mark.network
async def test_it_becomes_a_task_and_leaves_nothing(docker: DockerBackend, tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path / "home", runs_per_side=2, test_seconds=120, suite_seconds=300, memory_mb=256
    )
    family, options = SweFamily(), SweOptions(source="git", repo=(history(tmp_path / "repo"),))
    (mined,) = family.mine(str(tmp_path / "repo"), options, settings)
    context = Context(settings=settings, sandboxes=docker, run_id="unruly", workdir=tmp_path / "work")
    done = await family.build(mined, context)
    assert isinstance(done, Done), done
    composed = await family.compose(done.value, context)
    assert isinstance(composed, Done), composed
    outcomes = {name.rpartition("::")[2]: r for name, r in composed.value.base.by_id().items()}
    assert outcomes["test_output"].status == "crashed"
    assert outcomes["test_output"].message == "the process was ended for memory"
    assert {outcomes[name].status for name in ("test_daemon", "test_outside", "test_double")} == {"passed"}
    done = await family.validate(composed.value, context)
    assert isinstance(done, Done), done
    task = done.value
    assert [name.rpartition("::")[2] for name in task.fail_to_pass] == ["test_double"]
    assert {name.rpartition("::")[2] for name in task.pass_to_pass} == {"test_daemon", "test_outside"}
    controls = {r.control: r.reward for r in done.records if isinstance(r, Validation)}
    assert controls == {"gold": 1.0, "nop": 0.0}
    kept = sum(path.stat().st_size for path in settings.home.rglob("*") if path.is_file())
    assert kept < 30e6, "the noise was kept"
    assert not any(Path(folder, OUTSIDE).exists() for folder in ("/tmp", "/var/tmp", "/etc", Path.home()))
    assert load(settings.bundles / task.task_id).gold_patch
