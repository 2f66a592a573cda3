"""Whoever gets an exported bundle can build its environment from the Dockerfile in it, and grade with it.

The Dockerfile starts from a public tag; here BASE puts this machine's own base image in its place, as for any
build without an image registry.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from calc_repo import CALC, LICENSE, PYPROJECT, TESTS
from made_tasks import certificate_of, records_of, task_of

from envs.docker.backend import DockerBackend
from envs.languages import Resolved, toolchain
from envs.languages.python.recipe import PythonRecipe
from envs.languages.tree import Tree, pack
from envs.sandbox import BuiltImage, Network
from pipelines.export import EXPORTERS
from verifiers.tests import bundle
from verifiers.tests.bundle import Bundle
from verifiers.tests.grader import TestsVerifier
from verifiers.tests.spec import TestSpec
from verifiers.verdict import Submission, VerdictKind
from warehouse.loader import load
from warehouse.outbox import Outbox
from warehouse.settings import Settings

GOLD = b"""\
diff --git a/calc/__init__.py b/calc/__init__.py
--- a/calc/__init__.py
+++ b/calc/__init__.py
@@ -12,2 +12,2 @@
 def mean(values):
-    return sum(values) // len(values)
+    return sum(values) / len(values)
"""
NEW_TEST = "\n\ndef test_mean_of_odd_sum():\n    assert mean([1, 2]) == 1.5\n"
FIRST = f"{1:020x}"


def write_environment(folder: Path) -> Path:
    """The environment/ folder that the Python toolchain writes for the calc project."""
    recipe = PythonRecipe(
        suite="bookworm",
        name="calc-for-verifactory-tests",
        version="0.1",
        python="3.11",
        index_date=datetime(2024, 3, 2, tzinfo=UTC),
        requires=(),
        setuptools=True,
    )
    files = {
        "pyproject.toml": PYPROJECT,
        "LICENSE": LICENSE,
        "calc/__init__.py": CALC,
        "tests/test_calc.py": TESTS,
    }
    manifest = ("iniconfig==2.0.0", "packaging==23.2", "pluggy==1.4.0", "pytest==8.0.2")
    context = toolchain("python").context(Resolved(recipe, manifest))
    folder.mkdir()
    for name, data in context.items():
        (folder / name).write_bytes(data)
    (folder / "app.tar").write_bytes(pack(Tree({name: text.encode() for name, text in files.items()})))
    return folder


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """The calc project's bug fix as a task, exported in Harbor's layout; its folder."""
    settings, task = Settings(home=tmp_path / "home"), task_of(1)
    spec = TestSpec(
        runner="pytest",
        args=("tests",),
        fail_to_pass=("tests/test_calc.py::test_mean_of_odd_sum",),
        pass_to_pass=("tests/test_calc.py::test_digits", "tests/test_calc.py::test_mean"),
    )
    digest = bundle.render(
        settings.bundles / FIRST,
        task_id=FIRST,
        kind=task.kind,
        repo=task.repo,
        instruction=task.instruction,
        environment_dir=write_environment(tmp_path / "environment"),
        hidden={"tests/test_calc.py": ("100644", (TESTS + NEW_TEST).encode())},
        gold_patch=GOLD,
        spec=spec,
        licenses={"LICENSE": LICENSE.encode()},
        metadata={"repo": task.repo, "license": task.license},
    )
    with Outbox(settings) as outbox:
        made = task_of(1, digest.sha256)
        outbox.append([*records_of(made, 1), certificate_of(settings, made)])
    load(settings)
    EXPORTERS["harbor"](settings, "true", tmp_path / "tasks")
    return tmp_path / "tasks" / FIRST


@dataclass
class Rebuilds:
    """Builds images from nothing but a bundle, under tags of their own."""

    backend: DockerBackend
    base: str
    tag: str

    async def __call__(self, loaded: Bundle) -> BuiltImage:
        return await self.backend.build(
            loaded.environment,
            tag=self.tag,
            build_args={"BASE": self.base},
            network=Network.ALLOWLIST,
            timeout=300,
        )


@pytest.mark.docker
@pytest.mark.network
async def test_an_exported_environment_builds_and_grades(
    exported: Path, docker: DockerBackend, base_image: str
) -> None:
    text = (exported / "environment" / "Dockerfile").read_text()
    assert text.startswith("ARG BASE=debian:bookworm-slim\nFROM ${BASE}\n")
    assert text.count("FROM ") == 1
    assert "verifactory" not in text
    tag = f"verifactory/export-test:{uuid4().hex}"
    rebuilds = Rebuilds(docker, base_image, tag)
    try:
        built = await rebuilds(bundle.load(exported))

        async def image_for(_: Bundle) -> BuiltImage:
            return built

        verifier = TestsVerifier(image_for)
        gold = Submission(patch=(exported / "solution" / "gold.patch").read_bytes())
        verdict = await verifier.grade(exported, gold, docker)
        assert (verdict.kind, verdict.reward) == (VerdictKind.SCORED, 1.0), verdict
        nop = await verifier.grade(exported, Submission(), docker)
        assert (nop.kind, nop.reward) == (VerdictKind.SCORED, 0.0), nop
    finally:
        docker.daemon.client.images.remove(tag, force=True)
