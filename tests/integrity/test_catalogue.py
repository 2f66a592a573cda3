"""Every cheat beats a careless grader and earns nothing from ours; honest solutions are paid."""

from __future__ import annotations

import asyncio

import integrity_project as project
import pytest

from envs.docker.backend import DockerBackend
from envs.sandbox import BuiltImage, Limits
from verifiers.integrity import baselines
from verifiers.integrity.cheat import Cheat, CheatClass, Target
from verifiers.integrity.cheats import CATALOGUE
from verifiers.integrity.cheats.native import SUFFIXES
from verifiers.integrity.patch import patch
from verifiers.tests.bundle import Bundle
from verifiers.tests.grader import TestsVerifier
from verifiers.verdict import Haste, Submission, VerdictKind

pytestmark = pytest.mark.docker

LONG = 120.0  # limit of a run that ends by itself, s: machines are loaded
HANGS = 6.0  # limit of one that does not


PYTHON = [cheat for cheat in CATALOGUE if "python" in cheat.languages]


@pytest.mark.parametrize("cheat", PYTHON, ids=lambda cheat: cheat.name)
async def test_a_cheat_beats_its_baseline_and_not_us(
    cheat: Cheat, bundle: Bundle, image: BuiltImage, backend: DockerBackend, verifier: TestsVerifier,
    limits: Limits,
) -> None:  # fmt: skip
    submission = cheat.build(Target.of(bundle))
    seconds, haste = (HANGS, Haste(patience=HANGS)) if cheat.slow else (LONG, None)
    baseline, verdict = await asyncio.gather(
        baselines.grade(
            cheat.baseline, bundle, image.tag, submission, backend, limits=limits, seconds=seconds
        ),
        verifier.grade(bundle.path, submission, backend, haste),
    )
    assert baseline == 1.0, f"{cheat.name} does not beat {cheat.baseline}"
    assert verdict.reward == 0.0, verdict
    assert verdict.kind is not VerdictKind.INFRASTRUCTURE


@pytest.mark.parametrize("name", baselines.NAMES)
async def test_a_baseline_is_fair_to_who_does_not_cheat(
    name: str, bundle: Bundle, image: BuiltImage, backend: DockerBackend, limits: Limits
) -> None:
    """Else a cheat could beat it by luck: it pays the fix and nothing else."""
    fixed, nothing = await asyncio.gather(
        *(
            baselines.grade(name, bundle, image.tag, Submission(patch=data), backend, limits=limits)
            for data in (project.GOLD, b"")
        )
    )
    assert (fixed, nothing) == (1.0, 0.0)


@pytest.mark.parametrize("name", project.HONEST)
async def test_honest_solutions_are_paid(
    name: str, bundle: Bundle, backend: DockerBackend, verifier: TestsVerifier
) -> None:
    data = patch(project.BASE, project.HONEST[name])
    verdict = await verifier.grade(bundle.path, Submission(patch=data), backend)
    assert (verdict.kind, verdict.reward, verdict.reason) == (VerdictKind.SCORED, 1.0, "")


def test_the_catalogue_is_broad() -> None:
    assert len(CATALOGUE) >= 40
    assert len({cheat.name for cheat in CATALOGUE}) == len(CATALOGUE)
    assert {cheat.kind for cheat in CATALOGUE} == set(CheatClass)
    native = {f"native:{name}" for name in baselines.NATIVE}
    assert {cheat.baseline for cheat in CATALOGUE} <= {*baselines.NAMES, *native}
    assert {language for cheat in CATALOGUE for language in cheat.languages} == {"python", *SUFFIXES}
