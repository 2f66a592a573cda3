"""The environment image of the one small task, built once for all workers."""

from __future__ import annotations

import asyncio
import fcntl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import integrity_project as project
import project_image
import pytest

from envs.docker.backend import DockerBackend
from envs.sandbox import BuiltImage, Limits
from verifiers.tests.bundle import Bundle
from verifiers.tests.grader import TestsVerifier
from warehouse.settings import Settings


@pytest.fixture(scope="session")
def image() -> BuiltImage:
    with Path(tempfile.gettempdir(), "verifactory-verifier-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return asyncio.run(project_image.build(project.FILES, project.app_tar()))


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return project.make_bundle(tmp_path_factory.mktemp("integrity"))


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[DockerBackend]:
    made = DockerBackend(Settings(home=tmp_path / "home"))
    yield made
    await made.close()


@pytest.fixture
def limits() -> Limits:
    return Limits(memory_mb=512, cpus=1.0, pids=128)


@pytest.fixture
def verifier(image: BuiltImage, limits: Limits) -> TestsVerifier:
    async def image_for(_: Bundle) -> BuiltImage:
        return image

    return TestsVerifier(image_for, limits=limits)
