"""Decks and texts as consumers run them: made, validated and graded in containers by their bundles."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from envs.docker.backend import DockerBackend
from pipelines.factory import Quiet, Tally, mine, process_batch, run_id
from pipelines.family import Context
from pipelines.office import controls, document_controls
from pipelines.office.family import SOURCE, OfficeFamily, OfficeOptions
from verifiers.integrity.patch import Change, patch
from verifiers.verdict import Submission, VerdictKind
from warehouse.settings import Settings

pytestmark = [pytest.mark.docker, pytest.mark.network]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, docker: object) -> dict[str, Any]:
    """An edit of a deck and a memo, made, and what became of several submissions."""
    folder = tmp_path_factory.mktemp("documents")
    return asyncio.run(_made_and_tried(folder, Settings(home=folder / "home", certify=False)))


async def _made_and_tried(folder: Path, settings: Settings) -> dict[str, Any]:
    family = OfficeFamily()
    found: dict[str, Any] = {}
    async with DockerBackend(settings) as backend:
        for kind in ("deck-edit", "memo"):
            options = OfficeOptions(kind=(kind,), first=1, seeds=1, limit=1)
            run = run_id(family.name, SOURCE, options.identity())
            tally = Tally(SOURCE, run)
            todo = mine(family, SOURCE, options, settings, run, tally)
            context = Context(settings=settings, sandboxes=backend, run_id=run, workdir=folder / kind)
            await process_batch(family, todo, context, SOURCE, tally, Quiet())
            found[kind] = tally
        verifier = family.verifier(settings)
        for bundle in settings.bundles.iterdir():
            deck = document_controls.original(bundle)
            name = json.loads((bundle / "tests" / "deliverable.json").read_text())["answer"]
            reference = (bundle / document_controls.REFERENCE).read_bytes()
            kind = "memo" if deck is None else "deck-edit"
            before = {} if deck is None else {name: deck}
            found[kind, "bundle"] = bundle
            for what, change in (
                ("cut off", Change(reference[:700])),
                ("a link", Change(b"/etc/passwd", "120000")),
            ):
                submission = Submission(patch=patch(before, {name: change}))
                found[kind, what] = await verifier.grade(bundle, submission, backend)
    return found


@pytest.mark.parametrize("kind", ["deck-edit", "memo"])
def test_a_document_task_holds_in_its_container(seen: dict[str, Any], kind: str) -> None:
    """Gold scores 1 and nop 0, or validation would not be ok."""
    assert seen[kind].stages["validate"] == {"ok": 1}, seen[kind]
    for what in ("cut off", "a link"):
        verdict = seen[kind, what]
        assert (verdict.kind, verdict.reward) == (VerdictKind.MALFORMED, 0.0), verdict
    assert controls.problems(seen[kind, "bundle"], Settings()) == ()
