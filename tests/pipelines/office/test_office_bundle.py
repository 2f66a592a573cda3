"""An office bundle as consumers run it: Harbor's shared container, solve.sh and test.sh, and what is no
answer.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from envs.docker.backend import DockerBackend
from envs.sandbox import Limits, Network, SandboxSpec
from pipelines.factory import Quiet, Tally, mine, process_batch, run_id
from pipelines.family import Context
from pipelines.office import controls
from pipelines.office.family import SOURCE, OfficeFamily, OfficeOptions
from verifiers.integrity.patch import Change, patch
from verifiers.verdict import Submission, Verdict, VerdictKind
from warehouse.settings import Settings

pytestmark = [pytest.mark.docker, pytest.mark.network]

FILE = "cap_table.xlsx"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, docker: object) -> dict[str, Any]:
    """One task, made, and what became of several things in its containers."""
    folder = tmp_path_factory.mktemp("office")
    return asyncio.run(_made_and_tried(folder, Settings(home=folder / "home", certify=False)))


async def _made_and_tried(folder: Path, settings: Settings) -> dict[str, Any]:
    family = OfficeFamily()
    options = OfficeOptions(domain=("venture",), seeds=1, limit=1)
    run = run_id(family.name, SOURCE, options.identity())
    tally = Tally(SOURCE, run)
    todo = mine(family, SOURCE, options, settings, run, tally)
    async with DockerBackend(settings) as backend:
        context = Context(settings=settings, sandboxes=backend, run_id=run, workdir=folder / "work")
        await process_batch(family, todo, context, SOURCE, tally, Quiet())
        (bundle,) = settings.bundles.iterdir()
        found: dict[str, Any] = {"tally": tally, "bundle": bundle}
        found["shared"] = await _shared(backend, bundle)
        original = (bundle / "tests" / "original").read_bytes()
        reference = (bundle / controls.REFERENCE).read_bytes()
        verifier = family.verifier(settings)
        tried = {
            "macros": {f"{FILE[:-5]}.xlsm": Change(reference)},
            "two answers": {f"{FILE[:-5]}.xlsm": Change(reference), FILE: Change(reference)},
            "a link": {FILE: Change(b"/etc/passwd", "120000")},
            "deleted": {FILE: Change(None)},
        }
        for name, changes in tried.items():
            submission = Submission(patch=patch({FILE: original}, changes))
            found[name] = await verifier.grade(bundle, submission, backend)
    return found


async def _shared(backend: DockerBackend, bundle: Path) -> list[dict[str, Any]]:
    """Harbor's shared mode: the container that the agent worked in is graded; before and after solve.sh."""
    image = json.loads((bundle / "bundle.json").read_text())["task_id"]
    assert image == bundle.name
    environment = next(
        line.partition("=")[2].strip().strip('"')
        for line in (bundle / "task.toml").read_text().splitlines()
        if line.startswith("environment_id")
    )
    sandbox = await backend.start(
        SandboxSpec(
            image=f"verifactory/env:{environment}",
            network=Network.NONE,
            limits=Limits(memory_mb=2048),
            workdir="/app",
        )
    )
    try:
        rewards = []
        await sandbox.upload({"/tests": bundle / "tests", "/solution": bundle / "solution"})
        for step in (["true"], ["/bin/sh", "/solution/solve.sh"]):
            assert (await sandbox.exec(step, timeout=60, user="agent")).ok
            assert (await sandbox.exec(["/bin/sh", "/tests/test.sh"], timeout=300, user="root")).ok
            files = await sandbox.download("/logs/verifier", max_bytes=1 << 20)
            rewards.append(json.loads(files["reward.json"]))
        return rewards
    finally:
        await sandbox.stop()


def test_the_task_is_validated(seen: dict[str, Any]) -> None:
    assert seen["tally"].stages["validate"] == {"ok": 1}


def test_a_consumer_can_run_it(seen: dict[str, Any]) -> None:
    before, after = seen["shared"]
    assert before["reward"] == 0.0
    assert after == {"reward": 1.0, "share_of_checks": 1.0}


def test_an_xlsm_beside_the_workbook_is_the_answer(seen: dict[str, Any]) -> None:
    assert (seen["macros"].kind, seen["macros"].reward) == (VerdictKind.SCORED, 1.0), seen["macros"]
    assert seen["macros"].inverted == 2


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("two answers", "malformed", "several answers"),
        ("a link", "malformed", "not a file"),
        ("deleted", "scored", "there is no"),
    ],
)
def test_what_is_no_answer_earns_nothing(seen: dict[str, Any], name: str, kind: str, words: str) -> None:
    verdict: Verdict = seen[name]
    assert (verdict.kind, verdict.reward) == (kind, 0.0), verdict
    assert words in verdict.reason


def test_the_bundle_lints_clean(seen: dict[str, Any]) -> None:
    assert controls.problems(seen["bundle"], Settings()) == ()
