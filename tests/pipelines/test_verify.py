"""Verifying again trusts the record of a task, not what its bundle says of itself."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

from pipelines.verify import verify_tasks
from verifiers.tests.bundle import load, render
from verifiers.tests.spec import TestSpec
from warehouse.errors import FactoryError
from warehouse.records import Task, utcnow
from warehouse.settings import Settings


def _made(settings: Settings, folder: Path) -> Task:
    """A task whose record names the bundle that was rendered for it."""
    (folder / "environment").mkdir()
    (folder / "environment" / "Dockerfile").write_text("FROM scratch\n")
    with (folder / "environment" / "app.tar").open("wb") as file:
        file.write(b"\0" * 10240)  # an empty tar
    spec = TestSpec(runner="pytest", args=("tests",), fail_to_pass=("a",))
    bundle = render(
        settings.bundles / "t1", task_id="t1", kind="bug_fix", repo="calc", instruction="Mend it.\n",
        environment_dir=folder / "environment", hidden={}, gold_patch=b"", spec=spec,
        licenses={}, metadata={},
    )  # fmt: skip
    return Task(
        task_id="t1", candidate_id="c1", environment_id="e1", family="swe", kind="bug_fix", repo="calc",
        language="python", license="MIT", attribution="A. Author", source_date=utcnow(), run_id="r1",
        instruction="Mend it.\n", verifier="{}", gold_patch="", test_patch="", fail_to_pass=("a",),
        pass_to_pass=(), new_tests=(), quarantined=(), statement_check="rules", bundle=bundle.sha256,
    )  # fmt: skip


def _rewrite(bundle: Path, name: str, text: str) -> None:
    """Change a file, and its digest in the manifest, so that the bundle vouches for itself again."""
    (bundle / name).write_text(text)
    manifest = json.loads((bundle / "bundle.json").read_text())
    mark = " x" if manifest["files"][name].endswith(" x") else ""
    manifest["files"][name] = hashlib.sha256(text.encode()).hexdigest() + mark
    (bundle / "bundle.json").write_text(json.dumps(manifest))


def _refusal(settings: Settings, task: Task) -> str:
    with pytest.raises(FactoryError) as refused:
        asyncio.run(verify_tasks(settings, [task], runs=1, told=lambda _: None))
    assert not settings.outbox.exists()  # nothing is recorded about a task that was not graded
    return str(refused.value)


def test_a_bundle_rewritten_together_with_its_manifest_is_refused(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    task = _made(settings, tmp_path)
    bundle = settings.bundles / "t1"
    _rewrite(bundle, "tests/test.sh", "#!/bin/sh\necho '{\"reward\": 1}' > /logs/verifier/reward.json\n")
    assert load(bundle).sha256 != task.bundle  # by itself it looks whole
    told = _refusal(settings, task)
    assert "is not the one that was validated" in told
    assert "\n" not in told


def test_a_bundle_that_is_gone_or_was_never_recorded_is_refused(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    task = _made(settings, tmp_path)
    assert "not the one" in _refusal(settings, task.model_copy(update={"bundle": ""}))
    assert "is not at" in _refusal(settings, task.model_copy(update={"task_id": "gone"}))
