"""An environment image by the contract of docs/design.md, on the real toolchain, with the projects of these
tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
import verifier_projects as projects

from envs.builder import toolchain_image
from envs.docker.backend import DockerBackend
from envs.languages import toolchain
from envs.languages.python.recipe import PythonRecipe
from envs.sandbox import BuiltImage, Limits, Network
from warehouse.records import content_id
from warehouse.settings import Settings

DOCKERFILE = """\
ARG BASE
FROM $BASE
RUN python3 -m venv --without-pip /opt/venv && uv pip install --no-cache --python=/opt/venv/bin/python pytest
ADD app.tar /app/
RUN cd /app && git init -q && git add -A -f && \\
    git -c user.name=a -c user.email=a@b commit -q -m Base && chown -R agent:agent /app && \\
    echo /app > "$(ls -d /opt/venv/lib/python*/site-packages)/app.pth"
"""


async def _build() -> BuiltImage:
    home = Path(tempfile.mkdtemp())
    settings = Settings(home=home)
    backend = DockerBackend(settings)
    recipe = PythonRecipe(
        name="calc", version="1", python="3.11", suite="bookworm", requires=(),
        index_date=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    try:
        base = await toolchain_image(toolchain("python"), recipe, backend, settings)
        context = Path(tempfile.mkdtemp())
        (context / "Dockerfile").write_text(DOCKERFILE)
        (context / "app.tar").write_bytes(projects.app_tar())
        tag = f"verifactory/verifier-tests:{content_id(base, DOCKERFILE, projects.FILES)}"
        try:
            return await backend.build(
                context, tag=tag, build_args={"BASE": base}, network=Network.ALLOWLIST, timeout=600
            )
        finally:
            shutil.rmtree(context)
    finally:
        await backend.close()
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """Built once for all workers, which share the folder above theirs; the second finds every layer."""
    with (tmp_path_factory.getbasetemp().parent / "verifier-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return asyncio.run(_build())


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[DockerBackend]:
    made = DockerBackend(Settings(home=tmp_path / "home"))
    yield made
    await made.close()


@pytest.fixture
def limits() -> Limits:
    return Limits(memory_mb=512, cpus=1.0, pids=128)


@pytest.fixture(autouse=True)
def no_process_outlives_its_test(tmp_path: Path) -> Iterator[None]:
    """Suites that run on this machine leave daemons on purpose; those of a test end with it."""
    yield
    for process in psutil.process_iter(["cmdline"]):
        if any(str(tmp_path) in part for part in process.info["cmdline"] or ()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
