"""Grading runs the bundle: full, zero, malformed and repeated submissions, and attacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import verifier_projects as projects
from verifier_projects import diff

from envs.docker.backend import DockerBackend
from envs.images import ensure_base
from envs.sandbox import BuiltImage, Limits, SandboxError, SandboxSpec
from verifiers.tests.bundle import Bundle, load, render
from verifiers.tests.grader import TestsVerifier
from verifiers.tests.spec import TestSpec
from verifiers.verdict import Submission, Verdict, VerdictKind
from warehouse.errors import FactoryError
from warehouse.settings import Settings

GOLD = diff("calc.py", projects.CALC, projects.FIXED)
MORE = "more/test_more.py::test_more"
ADD = (
    "tests/test_add.py::test_add[one two]",
    "tests/test_add.py::test_add[three::four]",
    "tests/test_add.py::test_add_zero",
)
DOUBLE = ("tests/test_double.py::test_double", "tests/test_double.py::test_double_zero")

# Rewrites reports from inside the package, as only a test that must fail can show.
REWRITING = (
    projects.CALC
    + """

import _pytest.runner as runner

original = runner.pytest_runtest_makereport


def rewritten(item, call):
    report = original(item, call)
    report.outcome, report.longrepr = "passed", None
    return report


runner.pytest_runtest_makereport = rewritten
for plugin in __import__("gc").get_objects():
    if type(plugin).__name__ == "HookImpl" and plugin.function is original:
        plugin.function = rewritten
"""
)
FORGING = (
    projects.CALC
    + """

import json, os

for number in range(3, 64):
    try:
        if "pipe" in os.readlink("/proc/self/fd/%d" % number):
            line = {"event": "finish", "id": "tests/test_add.py::test_add_zero", "status": "passed"}
            os.write(number, json.dumps(dict(line, seconds=0, message="")).encode() + b"\\n")
    except OSError:
        pass
"""
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    environment = tmp_path / "environment"
    environment.mkdir()
    (environment / "app.tar").write_bytes(projects.app_tar())
    (environment / "Dockerfile").write_text("FROM scratch\nADD app.tar /app/\n")
    spec = TestSpec(
        runner="pytest", args=("tests", "more"),
        fail_to_pass=ADD[:2], new=(*ADD[2:], MORE), pass_to_pass=DOUBLE,
        protected=("setup.cfg", "tests/"), test_seconds=5, suite_seconds=60,
    )  # fmt: skip
    render(
        tmp_path / "bundle", task_id="t1", kind="bug_fix", repo="calc", instruction="Sums are wrong.\n",
        environment_dir=environment, hidden=projects.HIDDEN, gold_patch=GOLD, spec=spec,
        licenses={"MIT.txt": b"MIT"}, metadata={"language": "python", "quarantined": 0, "nothing": None},
    )  # fmt: skip
    return tmp_path / "bundle"


@pytest.fixture
def verifier(image: BuiltImage, limits: Limits) -> TestsVerifier:
    async def image_for(_: Bundle) -> BuiltImage:
        return image

    return TestsVerifier(image_for, limits=limits)


def names(verdict: Verdict, *, passed: bool) -> set[str]:
    return {check.name for check in verdict.checks if check.passed is passed}


@pytest.mark.docker
async def test_full_score_and_the_same_again(
    verifier: TestsVerifier, bundle: Path, backend: DockerBackend
) -> None:
    first = await verifier.grade(bundle, Submission(patch=load(bundle).gold_patch), backend)
    again = await verifier.grade(bundle, Submission(patch=GOLD), backend)
    assert (first.kind, first.reward, first.reason) == (VerdictKind.SCORED, 1.0, "")
    assert names(first, passed=True) == {
        *(f"fail_to_pass: {i}" for i in ADD[:2]), f"new: {ADD[2]}", f"new: {MORE}", "pass_to_pass", "run",
    }  # fmt: skip
    assert first.image_digest.startswith("sha256:")
    assert (again.kind, again.reward, again.checks) == (first.kind, first.reward, first.checks)


@pytest.mark.docker
async def test_zero(verifier: TestsVerifier, bundle: Path, backend: DockerBackend) -> None:
    verdict = await verifier.grade(bundle, Submission(), backend)
    assert (verdict.kind, verdict.reward) == (VerdictKind.SCORED, 0.0)
    assert names(verdict, passed=True) == {"pass_to_pass", "run"}
    assert all("failed: " in check.evidence for check in verdict.checks if not check.passed)


@pytest.mark.docker
@pytest.mark.parametrize(
    "patch",
    [
        b"this is no patch\n",
        GOLD.replace(b"-    return a - b", b"-    return a % b"),
        diff("calc.py", projects.CALC, projects.FIXED).replace(b"/calc.py", b"/../calc.py"),
        diff(".git/hooks/post-checkout", "", "#!/bin/sh\n"),
    ],
    ids=["garbage", "does not apply", "leaves the tree", "into .git"],
)
async def test_malformed(verifier: TestsVerifier, bundle: Path, backend: DockerBackend, patch: bytes) -> None:
    verdict = await verifier.grade(bundle, Submission(patch=patch), backend)
    assert (verdict.kind, verdict.reward) == (VerdictKind.MALFORMED, 0.0)
    assert verdict.reason


BREAKS_DOUBLE = projects.FIXED.replace("a * 2", "a + 2")
LINK = (
    b"diff --git a/%s b/%s\nnew file mode 120000\n--- /dev/null\n+++ b/%s\n"
    b"@@ -0,0 +1 @@\n+%s\n\\ No newline at end of file\n"
)
SETUP = "[tool:pytest]\naddopts = -q\n"
EXITS_LATE = "\nimport atexit, os\natexit.register(os._exit, 3)\n"
EASY = "def test_add():\n    pass\n"


@pytest.mark.docker
@pytest.mark.parametrize(
    ("patch", "reward", "reason"),
    [
        (GOLD + diff("tests/test_double.py", projects.CALC_TESTS, EASY), 1.0, ""),
        (GOLD + diff("tests/test_add.py", "", EASY), 1.0, ""),
        (diff("tests/test_add.py", "", EASY), 0.0, ""),
        (diff("conftest.py", "", "import pytest, os\nos._exit(0)\n"), 0.0, ""),
        (GOLD + diff("pytest.ini", "", "[pytest]\naddopts = --collect-only\n"), 1.0, ""),
        (GOLD + diff("sitecustomize.py", "", "raise SystemExit\n"), 1.0, ""),
        (GOLD + diff("setup.cfg", SETUP, SETUP.replace("-q", "--version")), 1.0, ""),
        (GOLD + diff("reporter_channel.py", "", "raise SystemExit\n"), 1.0, ""),
        (GOLD + diff("pytest.py", "", "raise SystemExit\n"), 1.0, ""),
        (diff("calc.py", projects.CALC, BREAKS_DOUBLE), 0.0, ""),
        (diff("calc.py", projects.CALC, "import os\n\nos._exit(0)\n"), 0.0, ""),
        (diff("calc.py", projects.CALC, "import sys\n\nsys.exit(0)\n"), 0.0, ""),
        (diff("calc.py", projects.CALC, projects.FIXED + EXITS_LATE), 0.0, "exit"),
        (diff("calc.py", projects.CALC, ""), 0.0, ""),
        (GOLD + LINK % (b"data", b"data", b"data", b"/tests/hidden"), 0.0, "no_tests"),
        (GOLD + LINK % (b"more", b"more", b"more", b"/etc"), 1.0, ""),
    ],
    ids=[
        "edits a test", "overwrites a hidden test", "only overwrites a hidden test", "adds conftest",
        "adds pytest.ini",
        "adds sitecustomize", "edits setup.cfg", "shadows the reporter", "shadows pytest",
        "breaks another test",
        "exits at import", "leaves at import", "exits at the end", "deletes the code",
        "links to the hidden tests",
        "links a hidden test's folder",
    ],
)  # fmt: skip
async def test_scored(
    verifier: TestsVerifier, bundle: Path, backend: DockerBackend, patch: bytes, reward: float, reason: str
) -> None:
    verdict = await verifier.grade(bundle, Submission(patch=patch), backend)
    assert (verdict.kind, verdict.reward) == (VerdictKind.SCORED, reward), verdict
    assert reason in verdict.reason


@pytest.mark.docker
async def test_broken_tests_are_named(verifier: TestsVerifier, bundle: Path, backend: DockerBackend) -> None:
    verdict = await verifier.grade(
        bundle, Submission(patch=diff("calc.py", projects.CALC, BREAKS_DOUBLE)), backend
    )
    check = next(check for check in verdict.checks if check.name == "pass_to_pass")
    assert check.score == 0.5
    assert check.evidence == f"1 of 2 broken: {DOUBLE[1]} (failed)"


@pytest.mark.docker
@pytest.mark.parametrize(
    ("code", "reason"), [(REWRITING, "canary"), (FORGING, "stream")], ids=["rewrites", "forges"]
)
async def test_tampered(
    verifier: TestsVerifier, bundle: Path, backend: DockerBackend, code: str, reason: str
) -> None:
    verdict = await verifier.grade(bundle, Submission(patch=diff("calc.py", projects.CALC, code)), backend)
    assert (verdict.kind, verdict.reward) == (VerdictKind.TAMPERED, 0.0), verdict
    assert verdict.reason.startswith(reason)


@pytest.mark.docker
async def test_no_way_out(verifier: TestsVerifier, bundle: Path, backend: DockerBackend) -> None:
    """A submission that fills what it can write, forks without end and hangs gets its zero, not a retry."""
    code = projects.CALC + "\nimport os\n\nfor _ in range(100):\n    os.fork()\n\nwhile True:\n    pass\n"
    spec = json.loads((bundle / "tests" / "spec.json").read_text())
    assert spec["suite_seconds"] == 60
    rerender = TestSpec.model_validate(spec | {"suite_seconds": 6})
    small = bundle.parent / "small"
    render(
        small, task_id="t2", kind="bug_fix", repo="calc", instruction="",
        environment_dir=bundle / "environment",
        hidden=projects.HIDDEN, gold_patch=GOLD, spec=rerender, licenses={}, metadata={},
    )  # fmt: skip
    verdict = await verifier.grade(small, Submission(patch=diff("calc.py", projects.CALC, code)), backend)
    assert (verdict.kind, verdict.reward) == (VerdictKind.SCORED, 0.0), verdict


@pytest.mark.docker
async def test_infrastructure_is_not_the_submissions_fault(
    bundle: Path, backend: DockerBackend, image: BuiltImage, limits: Limits
) -> None:
    async def gone(_: Bundle) -> BuiltImage:
        raise SandboxError("The daemon does not answer.")

    async def no_project(_: Bundle) -> BuiltImage:
        return image.model_copy(update={"tag": await ensure_base("bookworm", Settings())})

    for image_for in (gone, no_project):
        verdict = await TestsVerifier(image_for, limits=limits).grade(bundle, Submission(patch=GOLD), backend)
        assert (verdict.kind, verdict.reward) == (VerdictKind.INFRASTRUCTURE, None)


async def test_an_edited_bundle_grades_nothing(bundle: Path) -> None:
    (bundle / "tests" / "test.sh").write_text(
        "#!/bin/sh\necho '{\"reward\": 1}' > /logs/verifier/reward.json\n"
    )
    with pytest.raises(FactoryError, match=r"tests/test\.sh"):
        load(bundle)


@pytest.mark.docker
async def test_the_tree_as_it_stands(
    bundle: Path, backend: DockerBackend, image: BuiltImage, limits: Limits
) -> None:
    """Harbor's way: no patch, the agent's own container is graded, and solve.sh is the gold control."""
    sandbox = await backend.start(SandboxSpec(image=image.tag, limits=limits))
    try:
        await sandbox.upload({"/tests": bundle / "tests", "/solution": bundle / "solution"})
        rewards = []
        commit = "git -c user.name=a -c user.email=a@b commit -qam 'Tests as I like them'"
        easier = f"cd /app && echo 'assert False' > tests/test_double.py && {commit}"
        assert (await sandbox.exec(["/bin/sh", "-c", easier], user="agent", timeout=30)).ok
        for command in (["true"], ["/bin/sh", "/solution/solve.sh"]):
            assert (await sandbox.exec(command, timeout=30)).ok
            result = await sandbox.exec(["/bin/sh", "/tests/test.sh"], timeout=100)
            assert result.ok, result.text()
            files = await sandbox.download("/logs/verifier", max_bytes=1 << 20)
            rewards.append(json.loads(files["reward.json"]))
        assert rewards == [
            {"reward": 0.0, "tests_fail_to_pass": 0.0, "tests_pass_to_pass": 1.0},
            {"reward": 1.0, "tests_fail_to_pass": 1.0, "tests_pass_to_pass": 1.0},
        ]
        # Harbor sorts the names and shows the first as the task's score
        assert all(min(reward) == "reward" for reward in rewards)
    finally:
        await sandbox.stop()
