"""What every kind of task keeps, whatever grades it: full, zero, malformed, and the same again.

A kind brings a `Case` in `CASES`: how its bundle is made, what earns nothing, and what is no answer. The way
that a bundle is graded is in the bundle; only who reads the verdict differs.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kind_projects
import pytest
import test_performance
import test_refactor
import test_review
import test_swe_test
import verifier_projects as projects
from kind_projects import kinds_image
from verifier_projects import diff

from envs.docker.backend import DockerBackend
from envs.sandbox import BuiltImage, Limits, Sandbox, SandboxSpec
from pipelines.swe import kinds
from pipelines.transform.verifier import VERIFIERS
from verifiers import performance, refactor, review, swe_test
from verifiers.review import ReviewVerifier
from verifiers.swe_test import TestWritingVerifier
from verifiers.tests.bundle import Bundle, load, render
from verifiers.tests.grader import TestsVerifier
from verifiers.tests.lint import lint
from verifiers.tests.spec import TestSpec
from verifiers.verdict import Submission, Verdict, VerdictKind, Verifier
from warehouse.errors import FactoryError

assert kinds_image  # a fixture

CALC_GOLD = diff("calc.py", projects.CALC, projects.FIXED)
PRODUCT = "\n\ndef product(a, b):\n    return a * b\n"
FEATURE_GOLD = diff("calc.py", projects.CALC, projects.CALC + PRODUCT)
FEATURE_TESTS = "from calc import product\n\n\ndef test_product():\n    assert product(2, 3) == 6\n"


Grade = Callable[[bytes | None], Awaitable[Verdict]]


def _calc_bundle(
    folder: Path, kind: str, *, gold: bytes, more: dict[str, bytes] | None = None, hidden: str = "",
    **spec: object,
) -> Path:  # fmt: skip
    environment = folder / "environment"
    environment.mkdir()
    (environment / "app.tar").write_bytes(projects.app_tar())
    (environment / "Dockerfile").write_text("FROM scratch\nADD app.tar /app/\n")
    values = {"runner": "pytest", "args": ("tests",), "protected": ("setup.cfg", "tests/"),
              "test_seconds": 60,
              "suite_seconds": 300, **spec}  # fmt: skip
    render(
        folder / "bundle", task_id=f"t-{kind}", kind=kind, repo="calc", instruction="Do what is asked for.\n",
        environment_dir=environment, gold_patch=gold, spec=TestSpec.model_validate(values), metadata={},
        hidden={"tests/test_hidden.py": ("100644", hidden.encode())} if hidden else {},
        licenses={"MIT.txt": b"MIT"}, more=more,
    )  # fmt: skip
    return folder / "bundle"


def _bug_fix(folder: Path) -> Path:
    names = [f"tests/test_hidden.py::test_add[{i}]" for i in ("one two", "three::four")]
    return _calc_bundle(
        folder, "bug_fix", gold=CALC_GOLD, hidden=projects.HIDDEN_TESTS,
        fail_to_pass=(*names, "tests/test_hidden.py::test_add_zero"),
        pass_to_pass=("tests/test_double.py::test_double",),
    )  # fmt: skip


def _feature(folder: Path) -> Path:
    return _calc_bundle(
        folder, "feature", gold=FEATURE_GOLD, hidden=FEATURE_TESTS,
        new=("tests/test_hidden.py::test_product",),
        pass_to_pass=("tests/test_double.py::test_double",),
    )  # fmt: skip


def _performance(folder: Path) -> Path:
    spec = test_performance.SPEC
    return kind_projects.bundle(
        folder, kind="performance", about="slow", gold=test_performance.GOLD,
        more=performance.files(spec, test_performance.GOLD), suite_seconds=spec.grading_seconds,
    )  # fmt: skip


def _refactor(folder: Path) -> Path:
    spec = test_refactor.SPEC
    return kind_projects.bundle(
        folder, kind="refactor", about="tangled", gold=test_refactor.GOLD, more=refactor.files(spec),
        suite_seconds=spec.grading_seconds,
    )  # fmt: skip


def _swe_test(folder: Path) -> Path:
    spec = test_swe_test.SPEC
    return _calc_bundle(
        folder, "swe_test", gold=diff(test_swe_test.PATH, "", test_swe_test.GOOD),
        more=swe_test.files(spec, test_swe_test.PATCHES), suite_seconds=spec.grading_seconds,
    )  # fmt: skip


def _review(folder: Path) -> Path:
    answer = review.answer(test_review.GOLD).decode()
    return _calc_bundle(
        folder, "code_review", gold=diff(review.ANSWER, "", answer), more=review.files(test_review.SPEC, b"")
    )


@dataclass(frozen=True)
class Case:
    """One kind."""

    make: Callable[[Path], Path]
    wrong: bytes
    """A submission that does something, and earns nothing."""
    verifier: Callable[..., Verifier] = TestsVerifier
    image: str = "image"
    malformed: bytes = b"this is no patch\n"


CASES = {
    "bug_fix": Case(_bug_fix, diff("calc.py", projects.CALC, projects.CALC.replace("a - b", "a * b"))),
    "feature": Case(_feature, diff("calc.py", projects.CALC, projects.CALC + PRODUCT.replace("*", "+"))),
    "performance": Case(
        _performance, kind_projects.patch("slow.py", test_performance.WRONG), image="kinds_image"
    ),
    "refactor": Case(_refactor, kind_projects.patch("tangled.py", test_refactor.BREAKS), image="kinds_image"),
    "swe_test": Case(
        _swe_test, diff(test_swe_test.PATH, "", "def test_nothing():\n    assert True\n"), TestWritingVerifier
    ),
    "code_review": Case(
        _review, diff(review.ANSWER, "", json.dumps({"findings": []}) + "\n"), ReviewVerifier,
        malformed=diff(review.ANSWER, "", "no findings\n"),
    ),
}  # fmt: skip


def test_every_way_of_grading_has_a_case() -> None:
    assert set(CASES) == {"bug_fix", "feature", *kinds.ROUTED, *VERIFIERS}


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def grade(
    case: Case, request: pytest.FixtureRequest, tmp_path: Path, backend: DockerBackend, limits: Limits
) -> Grade:
    """Grade a patch; None is the gold one."""
    image: BuiltImage = request.getfixturevalue(case.image)
    made = case.make(tmp_path)

    async def image_for(_: Bundle) -> BuiltImage:
        return image

    verifier = case.verifier(image_for, limits=limits)

    async def graded(patch: bytes | None) -> Verdict:
        submission = Submission(patch=load(made).gold_patch if patch is None else patch)
        return await verifier.grade(made, submission, backend)

    return graded


@pytest.mark.docker
async def test_full_and_the_same_again(grade: Grade) -> None:
    first, again = await grade(None), await grade(None)
    assert (first.kind, first.reward, first.reason) == (VerdictKind.SCORED, 1.0, ""), first
    assert first.checks
    assert all(check.passed for check in first.checks)
    told = [[(check.name, check.passed) for check in verdict.checks] for verdict in (first, again)]
    assert told[0] == told[1]
    assert (again.kind, again.reward) == (first.kind, first.reward)


@pytest.mark.docker
async def test_zero(grade: Grade, case: Case) -> None:
    for patch in (b"", case.wrong):
        verdict = await grade(patch)
        assert (verdict.kind, verdict.reward) == (VerdictKind.SCORED, 0.0), verdict


@pytest.mark.docker
async def test_malformed(grade: Grade, case: Case) -> None:
    verdict = await grade(case.malformed)
    assert (verdict.kind, verdict.reward) == (VerdictKind.MALFORMED, 0.0), verdict
    assert verdict.reason


def test_a_bundle_carries_all_that_grades_it(case: Case, tmp_path: Path) -> None:
    made = case.make(tmp_path)
    modules = {path.stem for path in (made / "tests").glob("*.py")}
    for path in sorted((made / "tests").glob("*.py")):
        source = path.read_text()
        assert "from verifiers" not in source, path
        assert "import verifiers" not in source, path
    assert {"supervisor", "suite", "tree", "account"} <= modules
    (made / "tests" / "spec.json").write_text("{}")
    with pytest.raises(FactoryError, match=r"tests/spec\.json"):
        load(made)


def test_a_bundle_of_every_kind_says_what_decides(case: Case, tmp_path: Path) -> None:
    if case.verifier is not TestsVerifier:
        pytest.skip("its family brings rules of its own")
    found = {problem.code for problem in lint(load(case.make(tmp_path)), ("MIT",))}
    assert not found & {"nothing_decides", "nothing_maintained", "hidden_test_in_image", "solution_in_image"}


@pytest.mark.docker
@pytest.mark.parametrize(
    ("make", "work", "checks"),
    [
        (_refactor, "true", {"structure: complexity price tangled.py", "structure: worst_complexity"}),
        (_refactor, "sh /solution/solve.sh", set()),
        (_performance, "true", {"faster"}),
        (_performance, "sed -i 's/return found/return found[::-1]/' slow.py", {"faster", "pass_to_pass"}),
    ],
    ids=["refactor, nothing", "refactor, gold", "performance, nothing", "performance, wrong"],
)
async def test_the_tree_as_it_stands(
    make: Callable[[Path], Path], work: str, checks: set[str], kinds_image: BuiltImage,
    backend: DockerBackend, limits: Limits, tmp_path: Path,
) -> None:  # fmt: skip
    """Harbor's way: no patch, the agent's own container is graded."""
    made = make(tmp_path)
    sandbox = await backend.start(SandboxSpec(image=kinds_image.tag, limits=limits))
    try:
        await sandbox.upload({"/tests": made / "tests", "/solution": made / "solution"})
        assert (await sandbox.exec(["/bin/sh", "-c", f"cd /app && {work}"], timeout=60)).ok
        reward, report = await _as_it_stands(sandbox)
    finally:
        await sandbox.stop()
    assert {check["name"] for check in report["checks"] if not check["passed"]} == checks
    assert reward["reward"] == float(not checks)
    assert min(reward) == "reward"  # which Harbor shows as the score


async def _as_it_stands(sandbox: Sandbox) -> tuple[dict[str, float], dict[str, Any]]:
    result = await sandbox.exec(["/bin/sh", "/tests/test.sh"], timeout=600)
    assert result.ok, result.text()
    files = await sandbox.download("/logs/verifier", max_bytes=4 << 20)
    return json.loads(files["reward.json"]), json.loads(files["report.json"])
