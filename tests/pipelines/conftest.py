"""Makes the sources of our own importable by name; and a home with one small task whose image is there."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import project_image
import pytest

from envs.docker.backend import DockerBackend
from verifiers.tests.bundle import render
from verifiers.tests.spec import TestSpec
from warehouse.loader import load
from warehouse.outbox import Outbox
from warehouse.records import Task, utcnow
from warehouse.settings import Settings

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "verifiers"))

import verifier_projects as projects

ADD = tuple(f"tests/test_add.py::test_add{name}" for name in ("[one two]", "[three::four]", "_zero"))


@pytest.fixture(scope="module")
def environment_id(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The environment of the tests' project under a name of this module's own."""
    image = asyncio.run(project_image.build(projects.FILES, projects.app_tar()))
    name = f"test-rollout-{uuid.uuid4().hex[:8]}"
    backend = DockerBackend(Settings(home=tmp_path_factory.mktemp("tagging")))
    client = backend.daemon.client
    client.images.get(image.tag).tag("verifactory/env", name)
    yield name
    client.api.remove_image(f"verifactory/env:{name}")
    asyncio.run(backend.close())


@pytest.fixture
def made(tmp_path: Path, environment_id: str) -> tuple[Settings, Task]:
    """A home whose warehouse holds one task."""
    settings = Settings(home=tmp_path / "home", memory_mb=512, parallel=2)
    folder = tmp_path / "environment"
    folder.mkdir()
    (folder / "app.tar").write_bytes(projects.app_tar())
    (folder / "Dockerfile").write_text("FROM scratch\nADD app.tar /app/\n")
    spec = TestSpec(
        runner="pytest", args=("tests", "more"), fail_to_pass=ADD[:2], new=ADD[2:], pass_to_pass=(),
        protected=("setup.cfg", "tests/"), test_seconds=10, suite_seconds=120,
    )  # fmt: skip
    bundle = render(
        settings.bundles / "t1", task_id="t1", kind="bug_fix", repo="calc", instruction="Sums are wrong.\n",
        environment_dir=folder, hidden=projects.HIDDEN, gold_patch=b"", spec=spec, licenses={},
        metadata={"language": "python", "environment_id": environment_id, "suite": "bookworm"},
    )  # fmt: skip
    task = Task(
        task_id="t1", candidate_id="c1", environment_id=environment_id, family="swe", kind="bug_fix",
        repo="calc", language="python", license="MIT", attribution="A. Author", source_date=utcnow(),
        run_id="r1", instruction="Sums are wrong.\n", verifier="{}", gold_patch="", test_patch="",
        fail_to_pass=ADD[:2], pass_to_pass=(), new_tests=ADD[2:], quarantined=(), statement_check="rules",
        bundle=bundle.sha256,
    )  # fmt: skip
    with Outbox(settings) as outbox:
        outbox.append([task])
    load(settings)
    return settings, task
