"""Reviews graded by file and line: all, none, some, everything, twice, and what is no answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import verifier_projects as projects
from verifier_projects import diff

from envs.docker.backend import DockerBackend
from envs.sandbox import BuiltImage, Limits
from verifiers import review
from verifiers.review import ANSWER, Defect, ReviewSpec, ReviewVerifier
from verifiers.tests.bundle import Bundle, render
from verifiers.tests.spec import TestSpec
from verifiers.verdict import Submission, Verdict, VerdictKind

Finding = tuple[str, int, str]
SPEC = ReviewSpec(
    schema=1,
    defects=(
        Defect(path="calc.py", first=10, last=12, kind="guard_removed"),
        Defect(path="calc.py", first=15, last=15, kind="off_by_one"),
        Defect(path="other.py", first=100, last=100, kind="return_changed"),
    ),
)
GOLD: list[Finding] = [("calc.py", 10, "a"), ("calc.py", 15, "b"), ("other.py", 100, "c")]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    environment = tmp_path / "environment"
    environment.mkdir()
    (environment / "app.tar").write_bytes(projects.app_tar())
    (environment / "Dockerfile").write_text("FROM scratch\nADD app.tar /app/\n")
    render(
        tmp_path / "bundle", task_id="t1", kind="code_review", repo="calc", instruction="Review this.\n",
        environment_dir=environment, hidden={}, gold_patch=_patch(review.answer(GOLD).decode()),
        spec=TestSpec(runner="pytest", args=("tests",), suite_seconds=60), licenses={"MIT.txt": b"MIT"},
        metadata={}, more=review.files(SPEC, b""),
    )  # fmt: skip
    return tmp_path / "bundle"


@pytest.fixture
def verifier(image: BuiltImage, limits: Limits) -> ReviewVerifier:
    async def image_for(bundle: Bundle) -> BuiltImage:
        return image

    return ReviewVerifier(image_for, limits=limits)


async def _grade(
    verifier: ReviewVerifier, bundle: Path, submission: Submission, backend: DockerBackend
) -> Verdict:
    """The verdict; what fails for infrastructure is tried again, as the factory does."""
    for _ in range(3):
        verdict = await verifier.grade(bundle, submission, backend)
        if verdict.kind is not VerdictKind.INFRASTRUCTURE:
            return verdict
    pytest.fail(f"three gradings failed for infrastructure: {verdict.reason}")


def _patch(text: str) -> bytes:
    return diff(ANSWER, "", text)


# findings → reward
ANSWERS: dict[str, tuple[list[Finding], float]] = {
    "all": (GOLD, 1.0),
    "within the window": ([("./calc.py", 8, "a"), ("calc.py", 17, "b"), ("other.py", 102, "c")], 1.0),
    "past the window": ([("calc.py", 7, "a"), ("calc.py", 18, "b"), ("other.py", 103, "c")], 0.0),
    "in another file": ([("else.py", 10, "a"), ("else.py", 15, "b"), ("calc.py", 100, "c")], 0.0),
    "some": (GOLD[:1], 0.5),
    "one twice": ([("other.py", 100, "c"), ("other.py", 101, "c")], 0.4),
    # Line 14 is near two defects, line 17 only near the second: both must count.
    "between two": ([("calc.py", 14, "b"), ("calc.py", 17, "b")], 0.8),
    "none": ([], 0.0),
    "every line": (
        [(path, line, "?") for path in ("calc.py", "other.py") for line in range(1, 151)], 0.019802,
    ),
}  # fmt: skip

MALFORMED = {
    "not JSON": "no findings",
    "no list": json.dumps({"findings": 3}),
    "a line that is none": json.dumps({"findings": [{"file": "calc.py", "line": True, "claim": "a"}]}),
    "no claim": json.dumps({"findings": [{"file": "calc.py", "line": 10, "claim": " "}]}),
    "deep": "[" * 100_000,
}


@pytest.mark.docker
class TestReviews:
    @pytest.mark.parametrize("name", ANSWERS)
    async def test_findings_are_worth_what_they_find(
        self, name: str, bundle: Path, verifier: ReviewVerifier, backend: DockerBackend
    ) -> None:
        findings, reward = ANSWERS[name]
        submission = Submission(patch=_patch(review.answer(findings).decode()))
        verdicts = [await _grade(verifier, bundle, submission, backend) for _ in range(1 + (name == "all"))]
        for verdict in verdicts:
            assert (verdict.kind, verdict.reward) == (VerdictKind.SCORED, reward), verdict.checks
        assert verdicts[0].checks == verdicts[-1].checks

    async def test_silence_is_worth_nothing(
        self, bundle: Path, verifier: ReviewVerifier, backend: DockerBackend
    ) -> None:
        for patch in (b"", diff("calc.py", projects.CALC, projects.FIXED)):
            verdict = await _grade(verifier, bundle, Submission(patch=patch), backend)
            assert (verdict.kind, verdict.reward) == (VerdictKind.SCORED, 0.0)
            assert verdict.reason == "no review was written"

    @pytest.mark.parametrize("name", MALFORMED)
    async def test_what_is_no_answer_is_malformed(
        self, name: str, bundle: Path, verifier: ReviewVerifier, backend: DockerBackend
    ) -> None:
        verdict = await _grade(verifier, bundle, Submission(patch=_patch(MALFORMED[name] + "\n")), backend)
        assert (verdict.kind, verdict.reward) == (VerdictKind.MALFORMED, 0.0)

    async def test_a_link_is_no_answer(
        self, bundle: Path, verifier: ReviewVerifier, backend: DockerBackend
    ) -> None:
        patch = (
            f"diff --git a/{ANSWER} b/{ANSWER}\nnew file mode 120000\n--- /dev/null\n+++ b/{ANSWER}\n"
            "@@ -0,0 +1 @@\n+/tests/review.json\n\\ No newline at end of file\n"
        ).encode()
        verdict = await _grade(verifier, bundle, Submission(patch=patch), backend)
        assert (verdict.kind, verdict.reward) == (VerdictKind.MALFORMED, 0.0)


def test_a_blanket_leaves_no_line_uncovered() -> None:
    lines = {"a.py": {1, 2, 3, 10, 11, 12, 13, 14, 15}, "b.py": {7}}
    findings = review.blanket(lines, 2)
    assert [(path, line) for path, line, _ in findings] == [
        ("a.py", 3), ("a.py", 12), ("a.py", 17), ("b.py", 9),
    ]  # fmt: skip
    for path, numbers in lines.items():
        near = [line for found, line, _ in findings if found == path]
        assert all(any(abs(number - line) <= 2 for line in near) for number in numbers)
