"""Cheats that share a submission: each does its work there, by a careless grader that only it beats."""

from __future__ import annotations

import asyncio

import pytest

from envs.docker.backend import DockerBackend
from envs.sandbox import BuiltImage, Limits
from verifiers.integrity import baselines
from verifiers.integrity.cheat import Target
from verifiers.integrity.cheats import CATALOGUE
from verifiers.integrity.trials import GROUPS, catalogue_digest, inapplicable, merged, trials
from verifiers.tests.bundle import Bundle
from verifiers.tests.grader import TestsVerifier
from verifiers.verdict import Haste, Submission, VerdictKind

BY_NAME = {cheat.name: cheat for cheat in CATALOGUE}
MEMBERS = [(number, member) for number, group in enumerate(GROUPS) for member in group]


def _submission(target: Target, members: list[str]) -> Submission:
    return target.submission(merged(target, [BY_NAME[name].changed(target) for name in members]))


@pytest.mark.docker
@pytest.mark.parametrize(("number", "member"), MEMBERS, ids=[member for _, member in MEMBERS])
async def test_a_member_succeeds_inside_its_group_and_nobody_else_does_it_for_it(
    number: int, member: str, bundle: Bundle, image: BuiltImage, backend: DockerBackend, limits: Limits
) -> None:
    target, group = Target.of(bundle), GROUPS[number]
    submissions = [
        _submission(target, list(group)),
        _submission(target, [name for name in group if name != member]),
    ]
    whole, without = await asyncio.gather(
        *(
            baselines.grade(group[member], bundle, image.tag, submission, backend, limits=limits)
            for submission in submissions
        )
    )
    assert (whole, without) == (1.0, 0.0)


@pytest.mark.docker
@pytest.mark.parametrize("number", range(len(GROUPS)))
async def test_our_grader_pays_no_group_and_catches_none(
    number: int, bundle: Bundle, backend: DockerBackend, verifier: TestsVerifier
) -> None:
    """What is caught could hide another's success; what is undone or starved cannot."""
    submission = _submission(Target.of(bundle), list(GROUPS[number]))
    verdict = await verifier.grade(bundle.path, submission, backend, Haste())
    assert (verdict.kind, verdict.reward) == (VerdictKind.SCORED, 0.0)


def test_trials_cover_the_catalogue_once(bundle: Bundle) -> None:
    target = Target.of(bundle)
    found = trials(target)
    tried = [name for trial in found for name in trial.cheats]
    assert sorted(tried) == sorted(set(BY_NAME) - set(inapplicable(target)))
    assert len(found) <= len(tried) - 15
    assert [trial.slow for trial in found] == sorted((trial.slow for trial in found), reverse=True)
    shared = [name for trial in found if trial.scope == "environment" for name in trial.cheats]
    assert {BY_NAME[name].scope for name in shared} == {"environment"}
    assert len({trial.name for trial in found}) == len(found)


def test_the_digest_names_these_sources() -> None:
    assert len(catalogue_digest()) == 64
    assert catalogue_digest() == catalogue_digest()
