"""Cheats in the languages whose runners report by themselves, on a small project of each."""

from __future__ import annotations

import asyncio

import native_targets
import pytest
from native_targets import LIMITS, NativeTarget

from envs.docker.backend import DockerBackend
from verifiers.integrity import baselines
from verifiers.integrity.cheat import Target
from verifiers.integrity.cheats.native import CHEATS
from verifiers.integrity.honest import honest
from verifiers.tests.bundle import load
from verifiers.verdict import Haste, VerdictKind
from warehouse.settings import Settings

pytestmark = [pytest.mark.docker, pytest.mark.network]

# One project of each language; those whose environment takes longest last.
NAMES = ("bash", "perl", "lua", "javascript", "ruby", "php", "c", "cpp", "go", "r", "rust", "java")


@pytest.fixture(scope="module", params=NAMES)
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NativeTarget:
    folder = tmp_path_factory.mktemp(f"native-{request.param}")
    settings = Settings(home=folder / "home")

    async def make() -> NativeTarget:
        async with DockerBackend(settings) as backend:
            return await native_targets.native_target(request.param, backend, settings, folder)

    return asyncio.run(make())


async def test_cheats_beat_their_baselines_and_not_us(target: NativeTarget, backend: DockerBackend) -> None:
    aim = Target.of(target.bundle)
    mine = [cheat for cheat in CHEATS if aim.language in cheat.languages]
    assert mine
    wrong = []
    for cheat in mine:
        submission = cheat.build(aim)
        baseline, verdict = await asyncio.gather(
            baselines.grade(
                cheat.baseline, target.bundle, target.image, submission, backend, limits=LIMITS, seconds=300
            ),
            target.verifier.grade(target.bundle.path, submission, backend, Haste()),
        )
        if baseline != 1.0:
            wrong.append(f"{cheat.name} does not beat {cheat.baseline}")
        if verdict.reward != 0.0 or verdict.kind is VerdictKind.INFRASTRUCTURE:
            wrong.append(f"{cheat.name}: {verdict}")
    assert wrong == []


async def test_honest_work_is_paid_and_tests_are_inverted(
    target: NativeTarget, backend: DockerBackend
) -> None:
    work = honest(load(target.bundle.path))
    assert len(work) >= 5
    verdicts = {
        name: await target.verifier.grade(target.bundle.path, submission, backend)
        for name, submission in work.items()
    }
    assert {n: v for n, v in verdicts.items() if (v.kind, v.reward) != (VerdictKind.SCORED, 1.0)} == {}
    assert min(verdict.inverted for verdict in verdicts.values()) >= 1
