"""The supervisor's view of memory kills: the counters of both cgroup versions, and a real kill."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from envs.docker.backend import DockerBackend
from envs.sandbox import BuiltImage, Limits
from verifiers.tests.bundle import INSIDE, write_tests
from verifiers.tests.grader import observe
from verifiers.tests.spec import TestSpec

V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
V2 = "low 0\nhigh 12\nmax 40\noom 7\noom_kill 2\noom_group_kill 1\n"


@pytest.fixture
def segment(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module as the supervisor imports it: by its bare name, beside its neighbours."""
    monkeypatch.syspath_prepend(INSIDE)
    yield importlib.import_module("segment")
    for name in ("segment", "account"):
        del sys.modules[name]


@pytest.mark.parametrize(
    ("v2", "v1", "kills"),
    [(V2, None, 2), (None, V1, 3), (None, None, 0), (None, "under_oom 0\n", 0)],
    ids=["v2", "v1", "neither", "v1 without the counter"],
)
def test_either_version_is_read(
    segment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    v2: str | None, v1: str | None, kills: int,
) -> None:  # fmt: skip
    paths = (tmp_path / "memory.events", tmp_path / "memory.oom_control")
    for path, text in zip(paths, (v2, v1), strict=True):
        if text is not None:
            path.write_text(text)
    monkeypatch.setattr(segment, "OOM_COUNTERS", tuple(map(str, paths)))
    assert segment._oom_kills() == kills


GREEDY = """\
import subprocess


def test_a_child_is_killed_and_its_test_survives():
    assert subprocess.run(["tail", "/dev/zero"]).returncode == -9


def test_eats_all():
    eaten = []
    while True:
        eaten.append(bytearray(1 << 24))


def test_after():
    pass
"""


@pytest.mark.docker
async def test_a_test_that_eats_all_memory_crashes_alone(
    backend: DockerBackend, image: BuiltImage, tmp_path: Path
) -> None:
    spec = TestSpec(runner="pytest", args=("tests/test_greedy.py",), test_seconds=30, suite_seconds=100)
    write_tests(tmp_path / "tests", spec, {"tests/test_greedy.py": ("100644", GREEDY.encode())})
    report = await observe(
        backend, image.tag, tmp_path / "tests", state="before", limits=Limits(memory_mb=192, pids=64)
    )
    told = {result.id.partition("::")[2]: (result.status.value, result.message) for result in report.results}
    assert told["test_a_child_is_killed_and_its_test_survives"] == ("passed", "")
    assert told["test_eats_all"] == ("crashed", "the process was ended for memory")
    assert told["test_after"] == ("passed", "")
    assert (report.outcome, report.disagreements) == ("finished", ())
