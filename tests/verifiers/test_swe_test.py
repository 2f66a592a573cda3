"""Tests that somebody wrote, graded: the right one, worthless ones, ones that cheat, and what is no patch."""

from __future__ import annotations

from pathlib import Path

import pytest
import verifier_projects as projects
from pydantic import ValidationError
from verifier_projects import diff

from envs.docker.backend import DockerBackend
from envs.sandbox import BuiltImage, Limits
from verifiers import swe_test
from verifiers.swe_test import State, TestWritingVerifier, WrittenTestsSpec
from verifiers.tests.bundle import Bundle, render
from verifiers.tests.spec import TestSpec
from verifiers.verdict import Submission, Verdict, VerdictKind
from warehouse.errors import FactoryError

GOLD = diff("calc.py", projects.CALC, projects.FIXED)
OTHER_WORDS = diff("calc.py", projects.CALC, projects.FIXED.replace("a + b", "sum((a, b))"))
# Wrong in ways that a test of one example may not see.
MUTANTS = {
    "mutant_1": projects.FIXED.replace("a + b", "a + b if a < 100 else 0"),
    "mutant_2": projects.FIXED.replace("a + b", "a * b"),
}
SPEC = WrittenTestsSpec(
    schema=1,
    states=(
        State(name="base", role="base"),
        State(name="gold", role="gold", patch="gold.patch"),
        State(name="other_words", role="gold", patch="other_words.patch"),
        *(State(name=name, role="mutant", patch=f"{name}.patch") for name in MUTANTS),
    ),
    kill_share=0.5,
    state_seconds=30,
    test_folders=("tests",),
    known=("tests/test_double.py::test_double", "tests/test_double.py::test_double_zero"),
)
PATCHES = {
    "gold.patch": GOLD,
    "other_words.patch": OTHER_WORDS,
    **{f"{name}.patch": diff("calc.py", projects.CALC, code) for name, code in MUTANTS.items()},
}
PATH = "tests/test_written.py"
GOOD = "from calc import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n    assert add(0, 5) == 5\n"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    environment = tmp_path / "environment"
    environment.mkdir()
    (environment / "app.tar").write_bytes(projects.app_tar())
    (environment / "Dockerfile").write_text("FROM scratch\nADD app.tar /app/\n")
    spec = TestSpec(
        runner="pytest", args=("tests",), protected=("setup.cfg", "tests/"), test_seconds=5,
        suite_seconds=SPEC.grading_seconds,
    )  # fmt: skip
    render(
        tmp_path / "bundle", task_id="t1", kind="swe_test", repo="calc", instruction="Write a test.\n",
        environment_dir=environment, hidden={}, gold_patch=diff(PATH, "", GOOD), spec=spec,
        licenses={"MIT.txt": b"MIT"}, metadata={}, more=swe_test.files(SPEC, PATCHES),
    )  # fmt: skip
    return tmp_path / "bundle"


@pytest.fixture
def verifier(image: BuiltImage, limits: Limits) -> TestWritingVerifier:
    async def image_for(bundle: Bundle) -> BuiltImage:
        return image

    return TestWritingVerifier(image_for, limits=limits)


def _written(body: str, imports: str = "") -> Submission:
    return Submission(patch=diff(PATH, "", f"{imports}from calc import add\n\n\ndef test_written():\n{body}"))


async def _grade(
    verifier: TestWritingVerifier, bundle: Path, submission: Submission, backend: DockerBackend
) -> Verdict:
    """The verdict; what fails for infrastructure is tried again, as the factory does."""
    for _ in range(3):
        verdict = await verifier.grade(bundle, submission, backend)
        if verdict.kind is not VerdictKind.INFRASTRUCTURE:
            return verdict
    pytest.fail(f"three gradings failed for infrastructure: {verdict.reason}")


def _passed(verdict: Verdict) -> dict[str, bool]:
    return {check.name: check.passed for check in verdict.checks}


# what is written → (passes_after, fails_before, finds_mutants)
WORTHLESS = {
    "passes_everywhere": (_written("    assert 1 + 1 == 2\n"), (True, False, False)),
    "fails_everywhere": (_written("    assert add(1, 2) == 4\n"), (False, False, False)),
    "too_weak": (_written("    assert add(2, 2) == 4\n"), (True, True, False)),
    "knows_the_base": (
        _written("    assert 'a - b' not in open('/app/calc.py').read()\n"),
        (True, True, False),
    ),
    "wants_one_spelling": (
        _written("    assert 'a + b' in open('/app/calc.py').read()\n    assert add(1, 2) == 3\n"),
        (False, False, False),
    ),
    "counts_its_runs": (
        _written(
            "    places = ['/tmp/n', '/dev/shm/n', '/var/tmp/n', os.path.expanduser('~/n'), '/app/n']\n"
            "    seen = any(os.path.exists(place) for place in places)\n"
            "    for place in places:\n"
            "        open(place, 'w').close()\n"
            "    assert seen\n",
            "import os\n",
        ),
        (False, False, False),
    ),
}


@pytest.mark.docker
class TestWrittenTests:
    async def test_right_tests_earn_the_reward_every_time(
        self, bundle: Path, verifier: TestWritingVerifier, backend: DockerBackend
    ) -> None:
        verdicts = [
            await _grade(verifier, bundle, Submission(patch=diff(PATH, "", GOOD)), backend) for _ in range(2)
        ]
        assert [(v.kind, v.reward) for v in verdicts] == [(VerdictKind.SCORED, 1.0)] * 2
        assert verdicts[0].checks == verdicts[1].checks
        assert _passed(verdicts[0]) == {"passes_after": True, "fails_before": True, "finds_mutants": True}

    async def test_nothing_earns_nothing(
        self, bundle: Path, verifier: TestWritingVerifier, backend: DockerBackend
    ) -> None:
        verdict = await _grade(verifier, bundle, Submission(), backend)
        assert (verdict.kind, verdict.reward) == (VerdictKind.SCORED, 0.0)
        assert verdict.reason == "no test was written"

    @pytest.mark.parametrize("name", WORTHLESS)
    async def test_worthless_tests_earn_nothing_for_the_right_reason(
        self, name: str, bundle: Path, verifier: TestWritingVerifier, backend: DockerBackend
    ) -> None:
        submission, expected = WORTHLESS[name]
        verdict = await _grade(verifier, bundle, submission, backend)
        assert (verdict.kind, verdict.reward) == (VerdictKind.SCORED, 0.0)
        assert tuple(_passed(verdict).values()) == expected, verdict.checks

    async def test_only_test_files_count_and_existing_ones_may_be_changed(
        self, bundle: Path, verifier: TestWritingVerifier, backend: DockerBackend
    ) -> None:
        """The submission mends the source, too: undone, or its own test would not fail before."""
        more = projects.CALC_TESTS + "\n\n" + GOOD
        patch = GOLD + diff("tests/test_double.py", projects.CALC_TESTS, more)
        verdict = await _grade(verifier, bundle, Submission(patch=patch), backend)
        assert (verdict.kind, verdict.reward) == (VerdictKind.SCORED, 1.0), verdict.checks
        source_only = await _grade(verifier, bundle, Submission(patch=GOLD), backend)
        assert source_only.reason == "no test was written"

    async def test_what_is_no_patch_is_malformed(
        self, bundle: Path, verifier: TestWritingVerifier, backend: DockerBackend
    ) -> None:
        patch = b"diff --git a/x.py b/x.py\n--- a/x.py\n+++ b/x.py\n@@ nonsense\n"
        for _ in range(2):
            verdict = await _grade(verifier, bundle, Submission(patch=patch), backend)
            assert (verdict.kind, verdict.reward) == (VerdictKind.MALFORMED, 0.0)


def test_states_must_tell_something() -> None:
    with pytest.raises(ValidationError, match="at least one mutant"):
        WrittenTestsSpec(
            schema=1, kill_share=0.5, state_seconds=1,
            states=(State(name="base", role="base"), State(name="gold", role="gold", patch="gold.patch")),
        )  # fmt: skip


def test_a_bundle_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment" / "app.tar").write_bytes(projects.app_tar())
    render(
        tmp_path / "bundle", task_id="t1", kind="bug_fix", repo="calc", instruction="Sums are wrong.\n",
        environment_dir=tmp_path / "environment", hidden={}, gold_patch=GOLD,
        spec=TestSpec(runner="pytest", args=("tests",)), licenses={}, metadata={},
    )  # fmt: skip
    with pytest.raises(FactoryError, match="no task of writing tests"):
        swe_test.read(tmp_path / "bundle")
