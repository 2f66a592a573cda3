"""Speed is graded by what the kernel counts: wrong and fast, noisy, forged.

Right and fast, and nothing done, are cases of `test_kind_contract`.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from kind_projects import FAST, SLOW, UNIQUE, bundle, kinds_image, patch
from pydantic import ValidationError

from envs.docker.backend import DockerBackend
from envs.sandbox import BuiltImage, Limits
from verifiers import performance
from verifiers.performance import PerformanceSpec, files
from verifiers.performance.inside.significance import finding, gains, noise, sign_flip
from verifiers.tests.bundle import Bundle
from verifiers.tests.grader import TestsVerifier
from verifiers.verdict import Submission, Verdict, VerdictKind
from warehouse.errors import FactoryError

assert kinds_image  # a fixture
GOLD = patch("slow.py", FAST)
SPEC = PerformanceSpec(
    schema=1, tests=(f"{UNIQUE}.test_of_many",), args=("tests/test_slow.py",),
    run_seconds=120, seconds=900, suite_seconds=300,
)  # fmt: skip
RULES = {"least_gain": 0.05, "alpha": 0.025, "share": 0.5}


@pytest.fixture
def task(tmp_path: Path) -> Path:
    return bundle(
        tmp_path, kind="performance", about="slow", gold=GOLD, more=files(SPEC, GOLD),
        suite_seconds=SPEC.grading_seconds,
    )  # fmt: skip


@pytest.fixture
def verifier(kinds_image: BuiltImage, limits: Limits) -> TestsVerifier:
    async def image_for(_: Bundle) -> BuiltImage:
        return kinds_image

    return TestsVerifier(image_for, limits=limits)


def check(verdict: Verdict) -> Any:
    return next(check for check in verdict.checks if check.name == "faster")


# Numbers


def test_the_permutation_test_is_exact() -> None:
    assert sign_flip([1.0] * 6) == 1 / 64
    assert (
        sign_flip([1, 2, 3, 4, 5, -6])
        == sum(
            sum(s * d for s, d in zip(signs, (1, 2, 3, 4, 5, 6), strict=True)) >= 9
            for signs in itertools.product((1, -1), repeat=6)
        )
        / 64
    )
    assert sign_flip([0.1, 0.2, 0.3]) == 1 / 8  # not for want of the last bit of a sum
    assert sign_flip([-1.0, -2.0]) == 1.0


def test_noise_is_what_the_same_code_differs_by() -> None:
    steady = {"base": [1.0, 1.0], "gold": 0.5}
    assert noise([steady] * 6) == 0.0
    assert noise([{"base": [0.9, 1.1], "gold": 0.5}] * 6) == pytest.approx(0.2 * 1.4826)
    assert gains([steady], "gold") == [0.5]


def made(seed: int, *, spread: float, gold: float, theirs: float, count: int = 6) -> list[dict[str, Any]]:
    """Blocks of a machine whose runs spread by so much."""
    rng = random.Random(seed)

    def run(cost: float) -> float:
        return cost * max(0.05, rng.gauss(1.0, spread))

    return [
        {"base": [run(1.0), run(1.0)], "gold": run(1 - gold), "submission": run(1 - theirs)}
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("theirs", "verdict"),
    [(0.5, "earned"), (0.35, "earned"), (0.1, "missed"), (0.0, "missed"), (-0.5, "missed")],
)
def test_on_a_steady_machine_the_gain_decides(theirs: float, verdict: str) -> None:
    found = [
        finding(made(seed, spread=0.01, gold=0.5, theirs=theirs), RULES)["verdict"] for seed in range(50)
    ]
    assert set(found) == {verdict}


def test_a_noisy_machine_never_pays_what_is_not_faster() -> None:
    """From steady to hopeless; the base itself, handed in as a submission, is never paid."""
    verdicts = [
        finding(made(seed, spread=spread, gold=gold, theirs=0.0), RULES)["verdict"]
        for spread in (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
        for gold in (0.06, 0.2, 0.5)
        for seed in range(150)
    ]
    assert verdicts.count("earned") <= 2, verdicts.count("earned")  # of 2700
    assert verdicts.count("unstable") > len(verdicts) / 3


def test_noise_above_the_effect_is_unstable() -> None:
    found = [finding(made(seed, spread=0.4, gold=0.2, theirs=0.2), RULES)["verdict"] for seed in range(100)]
    assert found.count("unstable") > 80
    assert (
        finding(made(1, spread=0.0, gold=0.04, theirs=0.9), RULES)["verdict"] == "unstable"
    )  # gold is too little


def test_specs_are_checked(task: Path, tmp_path: Path) -> None:
    assert performance.read(task) == SPEC
    for wrong in ({"blocks": 5}, {"blocks": 12, "most_blocks": 8}, {"tests": ()}, {"share": 0}):
        with pytest.raises(ValidationError):
            PerformanceSpec.model_validate(SPEC.model_dump() | wrong)
    with pytest.raises(FactoryError):
        performance.read(tmp_path)


# In the container


WRONG = FAST.replace("list(dict.fromkeys(items))", "sorted(items)")


def two_faced(measured: str) -> str:
    """Right where it is graded and something else where it is measured, which it tells by its home."""
    telling = f"    if '/tests/' not in os.environ['HOME'] and len(items) > 99:\n        {measured}\n"
    return "import os\n\n" + SLOW.replace("    found = []\n", telling + "    found = []\n")


PLEASES = """

class Pleases(list):
    def __getitem__(self, place):
        return Pleases()

    def __eq__(self, other):
        return True

    __hash__ = None
"""


@pytest.mark.docker
@pytest.mark.parametrize(
    ("code", "kind", "evidence"),
    [
        (WRONG, VerdictKind.SCORED, "not measured"),
        (two_faced("return [0]"), VerdictKind.SCORED, "did not pass when it was measured"),
        (two_faced("return Pleases()") + PLEASES, VerdictKind.TAMPERED, "must fail was reported as passed"),
    ],
    ids=["wrong and fast", "wrong when measured", "pleases when measured"],
)
async def test_wrong_and_fast_is_not_paid(
    verifier: TestsVerifier, task: Path, backend: DockerBackend, code: str, kind: VerdictKind, evidence: str
) -> None:
    verdict = await verifier.grade(task, Submission(patch=patch("slow.py", code)), backend)
    assert (verdict.kind, verdict.reward) == (kind, 0.0), verdict
    assert evidence in check(verdict).evidence


@pytest.mark.docker
async def test_a_machine_that_cannot_tell_gives_no_reward(
    verifier: TestsVerifier, tmp_path: Path, backend: DockerBackend
) -> None:
    hurried = SPEC.model_copy(update={"seconds": 0.01})
    task = bundle(
        tmp_path, kind="performance", about="slow", gold=GOLD, more=files(hurried, GOLD),
        suite_seconds=SPEC.grading_seconds,
    )  # fmt: skip
    verdict = await verifier.grade(task, Submission(patch=GOLD), backend)
    assert (verdict.kind, verdict.reward) == (VerdictKind.INFRASTRUCTURE, None)
    assert performance.REASON in verdict.reason


@pytest.mark.docker
async def test_base_and_gold_are_measured_before_there_is_a_bundle(
    task: Path, kinds_image: BuiltImage, backend: DockerBackend, limits: Limits
) -> None:
    """Here the change is none, and two blocks are enough to see it."""
    (task / "tests" / "performance.patch").write_bytes(patch("slow.py", SLOW + "# the same\n"))
    measured = await performance.measure(
        backend, kinds_image.tag, task / "tests", SPEC, limits=limits, runtime=None
    )
    assert not measured.unstable
    assert 2 <= len(measured.blocks) <= SPEC.most_blocks
    assert all(sample["cpu"] > 0 and sample["wall"] > 0 for b in measured.blocks for sample in b["base"])
