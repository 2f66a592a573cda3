"""The supervisor and its reporters on suites that break runners: every test gets an outcome, and the right
one.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import verifier_projects as projects
from verifier_projects import make_project, observe_here, statuses

from envs.docker.backend import DockerBackend
from envs.reports import TestReport
from envs.sandbox import BuiltImage, Limits, SandboxSpec
from verifiers.tests.bundle import HiddenFiles, write_tests
from verifiers.tests.grader import ObserveError, observe
from verifiers.tests.spec import TestSpec


def by_name(report: TestReport) -> dict[str, str]:
    return {result.id.partition("::")[2]: result.status.value for result in report.results}


async def run(
    backend: DockerBackend, image: BuiltImage, folder: Path, limits: Limits, *,
    hidden: HiddenFiles | None = None,
    state: str = "before", seed: int | None = None, faketime: str = "", patch: bytes = b"", **spec: object,
) -> TestReport:  # fmt: skip
    values = {"runner": "pytest", "args": ("tests",), "test_seconds": 2, "suite_seconds": 100, **spec}
    write_tests(folder / "tests", TestSpec.model_validate(values), hidden or {})
    return await observe(
        backend, image.tag, folder / "tests",
        state="base" if state == "base" else "after" if state == "after" else "before",
        seed=seed, faketime=faketime, patch=patch, limits=limits,
    )  # fmt: skip


@pytest.mark.docker
async def test_every_test_of_the_zoo_gets_its_outcome(
    backend: DockerBackend, image: BuiltImage, tmp_path: Path, limits: Limits
) -> None:
    report = await run(backend, image, tmp_path, limits, args=("zoo",))
    assert by_name(report) == {**projects.ZOO_FAST, **projects.ZOO_SLOW}
    assert {error.id for error in report.collection_errors} == projects.ZOO_UNCOLLECTABLE
    assert report.outcome == "finished"
    assert report.disagreements == ()


@pytest.mark.docker
async def test_unittest_suites(
    backend: DockerBackend, image: BuiltImage, tmp_path: Path, limits: Limits
) -> None:
    report = await run(backend, image, tmp_path, limits, runner="unittest", args=("unit",))
    assert {r.id.partition(".")[2]: r.status.value for r in report.results} == projects.UNITTEST_STATUSES
    assert report.outcome == "finished"
    assert report.disagreements == ()


HOSTILE = """\
import os
import subprocess
import sys


def test_prints_a_gigabyte(capfd):
    with capfd.disabled():
        for _ in range(1024):
            os.write(1, b"x" * (1 << 20))


def test_cannot_read_what_decides():
    for path in ("/tests/spec.json", "/tests/hidden", "/logs/verifier/reward.json", "/submission.patch"):
        try:
            open(path).close()
        except OSError:
            continue
        raise AssertionError(path)


def test_cannot_change_the_hidden_test():
    move = lambda: os.rename("tests", "elsewhere")
    for action in (lambda: open(__file__, "a"), lambda: os.unlink(__file__), move):
        try:
            action()
        except OSError:
            continue
        raise AssertionError("changed")


def test_can_write_where_developers_write():
    open("tests/output.txt", "w").close()
    open("calc.py", "a").close()


def test_is_not_root():
    assert os.getuid() == 1001 and os.geteuid() == 1001
    child = [sys.executable, "-c", "import os; os.setuid(0)"]
    assert subprocess.run(child, stderr=subprocess.DEVNULL).returncode


def test_git_works():
    assert subprocess.run(["git", "status", "--short"], check=True, stdout=subprocess.PIPE)


def test_eats_memory():
    held = [bytearray(1 << 26) for _ in range(40)]
    assert held


def test_after_all_that():
    pass
"""


@pytest.mark.docker
async def test_the_container_holds(
    backend: DockerBackend, image: BuiltImage, tmp_path: Path, limits: Limits
) -> None:
    hidden = {"tests/test_hostile.py": ("100644", HOSTILE.encode())}
    report = await run(
        backend, image, tmp_path, limits, hidden=hidden, args=("tests/test_hostile.py",), test_seconds=30
    )
    found = by_name(report)
    assert found.pop("test_eats_memory") in ("crashed", "failed")
    assert set(found.values()) == {"passed"}, [r for r in report.results if r.status != "passed"]
    assert len(found) == 7
    assert len(report.log) < 20_000


STATE = """\
import datetime
import os
import time

import pytest

from calc import add


def test_add():
    assert add(1, 1) == 2


@pytest.mark.parametrize("n", range(8))
def test_many(n):
    pass


def test_date():
    assert datetime.date.today().year < 2035


def test_clocks_run():
    begin = time.monotonic()
    time.sleep(0.2)
    assert 0.1 < time.monotonic() - begin < 2
"""


@pytest.mark.docker
async def test_states_shuffle_and_date(
    backend: DockerBackend, image: BuiltImage, tmp_path: Path, limits: Limits
) -> None:
    hidden = {"tests/test_state.py": ("100644", STATE.encode())}
    spec = {"hidden": hidden, "args": ("tests/test_state.py", "tests/test_double.py")}
    base = await run(backend, image, tmp_path, limits, state="base", **spec)
    before = await run(backend, image, tmp_path, limits, state="before", **spec)
    patch = projects.diff("calc.py", projects.CALC, projects.FIXED)
    after = await run(backend, image, tmp_path, limits, state="after", patch=patch, seed=7, **spec)
    later = await run(backend, image, tmp_path, limits, state="after", patch=patch, faketime="+4000d", **spec)
    assert [r.id for r in base.results] == [
        "tests/test_double.py::test_double",
        "tests/test_double.py::test_double_zero",
    ]
    assert by_name(before)["test_add"] == "failed"
    assert by_name(after)["test_add"] == "passed"
    assert [r.id for r in after.results] != [r.id for r in before.results]
    assert {r.id for r in after.results} == {r.id for r in before.results}
    assert {name for name, status in by_name(later).items() if status != "passed"} == {"test_date"}
    with pytest.raises(ObserveError, match="patch_does_not_apply"):
        await run(backend, image, tmp_path, limits, state="after", patch=b"not a patch", **spec)


@pytest.mark.docker
async def test_rebuild_and_deleted_tests(
    backend: DockerBackend, image: BuiltImage, tmp_path: Path, limits: Limits
) -> None:
    """The command runs as the tester; its failure ends the run."""
    patch = projects.diff("calc.py", projects.CALC, projects.FIXED)
    script = "test $(id -un) = tester && echo 'def test_made(): pass' > tests/test_made.py"
    made = await run(
        backend, image, tmp_path / "1", limits, state="after", patch=patch, deleted=("tests/test_double.py",),
        rebuild=("/bin/sh", "-c", script), protected=("setup.cfg",),
    )  # fmt: skip
    assert by_name(made) == {"test_made": "passed"}
    failed = await run(
        backend,
        image,
        tmp_path / "2",
        limits,
        state="after",
        patch=patch,
        rebuild=("/bin/sh", "-c", "echo no; exit 3"),
    )
    assert (failed.outcome, failed.exit_code, failed.results, failed.log) == ("rebuild_failed", 3, (), "no\n")


@pytest.mark.docker
async def test_nothing_of_a_run_is_left(
    backend: DockerBackend, image: BuiltImage, tmp_path: Path, limits: Limits
) -> None:
    """In one container: no process of the tester lives on, and no file of the supervisor is left."""
    values = {"runner": "pytest", "args": ("zoo/test_zoo.py",), "test_seconds": 1, "suite_seconds": 60}
    write_tests(tmp_path / "tests", TestSpec.model_validate(values), {})
    sandbox = await backend.start(SandboxSpec(image=image.tag, limits=limits))
    try:
        await sandbox.upload({"/tests": tmp_path / "tests"})
        command = [
            "python3",
            "-I",
            "/tests/supervisor.py",
            "observe",
            "--state",
            "base",
            "--output",
            "/r.json",
        ]
        assert (await sandbox.exec(command, timeout=100)).ok
        listing = "grep -l '^Uid:.1001' /proc/[0-9]*/status; ls -d /tmp/verifier-*"
        assert (await sandbox.exec(["/bin/sh", "-c", listing], timeout=10)).stdout == b""
    finally:
        await sandbox.stop()


SLOW = "import time\n\n\ndef test_a():\n    pass\n\n\ndef test_b():\n    time.sleep(60)\n"


def test_suite_limit_ends_everything(tmp_path: Path) -> None:
    project = make_project(tmp_path / "app", {"tests/test_slow.py": SLOW})
    report = observe_here(tmp_path, project, "--state", "base", test_seconds=50, suite_seconds=3)
    assert statuses(report) == {
        "tests/test_slow.py::test_a": "passed",
        "tests/test_slow.py::test_b": "timeout",
    }
    assert report["outcome"] == "timeout"
    assert report["seconds"] < 20


def test_import_that_hangs_costs_one_file(tmp_path: Path) -> None:
    files = {
        "tests/test_a_hangs.py": "import time\n\ntime.sleep(600)\n",
        "tests/test_b.py": "def test_b():\n    pass\n",
    }
    report = observe_here(
        tmp_path, make_project(tmp_path / "app", files), "--state", "base", collect_seconds=2
    )
    assert statuses(report) == {"tests/test_b.py::test_b": "passed"}
    assert [(e["id"], e["status"]) for e in report["collection_errors"]] == [
        ("tests/test_a_hangs.py", "timeout")
    ]


def test_project_options_do_not_change_what_is_reported(tmp_path: Path) -> None:
    """`-x` would end the run at the first failure, workers and random order would tear the report."""
    files = {
        "setup.cfg": "[tool:pytest]\naddopts = -x -n 2 -q\n",
        "tests/test_two.py": "def test_1():\n    assert 0\n\n\ndef test_2():\n    pass\n",
    }
    report = observe_here(tmp_path, make_project(tmp_path / "app", files), "--state", "base")
    assert list(statuses(report).values()) == ["failed", "passed"]


def test_duplicate_ids_count_by_the_worse(tmp_path: Path) -> None:
    conftest = """\
def pytest_collection_modifyitems(items):
    items.extend(list(items))
"""
    test = "seen = []\n\n\ndef test_once():\n    seen.append(1)\n    assert len(seen) == 1\n"
    project = make_project(tmp_path / "app", {"conftest.py": conftest, "tests/test_d.py": test})
    report = observe_here(tmp_path, project, "--state", "base")
    assert statuses(report) == {"tests/test_d.py::test_once": "failed"}
    assert report["disagreements"] == []


def test_reports_that_are_rewritten_show(tmp_path: Path) -> None:
    conftest = """\
import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport():
    outcome = yield
    outcome.get_result().outcome = "passed"
"""
    project = make_project(
        tmp_path / "app", {"conftest.py": conftest, "tests/test_f.py": "def test_f():\n    assert 0\n"}
    )
    report = observe_here(tmp_path, project, "--state", "base")
    assert statuses(report) == {"tests/test_f.py::test_f": "passed"}
    assert any(text.startswith("canary:") for text in report["disagreements"])


def test_exit_status_without_a_failure_shows(tmp_path: Path) -> None:
    conftest = "def pytest_sessionfinish(session):\n    session.exitstatus = 1\n"
    project = make_project(
        tmp_path / "app", {"conftest.py": conftest, "tests/test_p.py": "def test_p():\n    pass\n"}
    )
    report = observe_here(tmp_path, project, "--state", "base")
    assert report["disagreements"] == ["exit: status 1, but no test failed"]


def test_a_suite_without_tests(tmp_path: Path) -> None:
    project = make_project(tmp_path / "app", {"tests/test_none.py": "x = 1\n"})
    report = observe_here(tmp_path, project, "--state", "base")
    assert (report["outcome"], report["exit_code"], report["disagreements"]) == ("no_tests", 5, [])


@pytest.mark.network
@pytest.mark.parametrize("version", ["6.2.5", "8.3.5"])
def test_older_pytest_versions(version: str, tmp_path: Path) -> None:
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    if not Path(uv).exists():
        pytest.skip("uv is not installed")
    subprocess.run([uv, "venv", "-q", "-p", sys.executable, str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    subprocess.run([uv, "pip", "install", "-q", "-p", python, f"pytest=={version}"], check=True)
    project = make_project(tmp_path / "app", projects.ZOO_FILES)
    spec = {
        "args": ("zoo/test_zoo.py", "zoo/test_import_error.py"),
        "options": ("-k", "not for_ever and not alarm"),
    }
    report = observe_here(tmp_path, project, "--state", "base", python=python, **spec)
    assert {i.partition("::")[2]: s for i, s in statuses(report).items()} == projects.ZOO_FAST
    assert report["disagreements"] == []
