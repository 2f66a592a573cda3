"""Cheats in the languages whose runners report by themselves, on a small project of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import native_targets
import pytest
from docker.errors import APIError
from native_targets import LIMITS, NativeTarget

from envs.docker.backend import DockerBackend
from verifiers.integrity import baselines
from verifiers.integrity.cheat import Cheat, Target
from verifiers.integrity.cheats.native import CHEATS
from verifiers.integrity.honest import honest
from verifiers.verdict import Haste, VerdictKind
from warehouse.settings import Settings

pytestmark = [pytest.mark.docker, pytest.mark.network]

# One project of each language; those whose environment takes longest first.
NAMES = ("java", "rust", "r", "go", "cpp", "c", "php", "ruby", "javascript", "lua", "perl", "bash")
HONEST = ("gold", "comments", "notes")


@pytest.fixture(params=NAMES)
async def target(
    request: pytest.FixtureRequest, backend: DockerBackend, tmp_path: Path
) -> AsyncIterator[NativeTarget]:
    made = await native_targets.native_target(
        request.param, backend, Settings(home=tmp_path / "home"), tmp_path
    )
    yield made
    with suppress(APIError):  # another run of these tests on the machine has it in use, and removes it
        await asyncio.to_thread(backend.daemon.client.api.remove_image, made.image)


async def test_cheats_beat_their_baselines_and_honest_work_beats_ours(
    target: NativeTarget, backend: DockerBackend
) -> None:
    """And deciding tests are inverted, by which what forges whole reports is found out."""
    aim = Target.of(target.bundle)
    wrong = []
    for cheat in CHEATS:
        if aim.language in cheat.languages:
            wrong += await _tried(cheat, aim, target, backend)
    work = honest(target.bundle)
    for name in HONEST:
        verdict = await target.verifier.grade(target.bundle.path, work[name], backend)
        if (verdict.kind, verdict.reward) != (VerdictKind.SCORED, 1.0) or not verdict.inverted:
            wrong.append(f"{name}: {verdict}")
    assert wrong == []


async def _tried(cheat: Cheat, aim: Target, target: NativeTarget, backend: DockerBackend) -> list[str]:
    submission = cheat.build(aim)
    baseline, verdict = await asyncio.gather(
        baselines.grade(
            cheat.baseline, target.bundle, target.image, submission, backend, limits=LIMITS, seconds=300
        ),
        target.verifier.grade(target.bundle.path, submission, backend, Haste()),
    )
    wrong = [] if baseline == 1.0 else [f"{cheat.name} does not beat {cheat.baseline}"]
    if verdict.reward != 0.0 or verdict.kind is VerdictKind.INFRASTRUCTURE:
        wrong.append(f"{cheat.name}: {verdict}")
    return wrong
