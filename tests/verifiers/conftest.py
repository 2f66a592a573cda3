"""An environment image by the contract of docs/design.md, on the real toolchain, with the projects of these
tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import project_image
import psutil
import pytest
import verifier_projects as projects

from envs.docker.backend import DockerBackend
from envs.sandbox import BuiltImage, Limits
from warehouse.settings import Settings


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """Built once for all workers, which share the folder above theirs; the second finds every layer."""
    with (tmp_path_factory.getbasetemp().parent / "verifier-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return asyncio.run(project_image.build(projects.FILES, projects.app_tar()))


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
