"""What tests of every room share: one Docker backend a session, and the base image to start from."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cut_socket import CutableSocket
from hypothesis import settings

from envs.docker.backend import DockerBackend
from envs.images import ensure_base
from envs.sandbox import SandboxSpec
from warehouse.errors import FactoryError
from warehouse.settings import Settings

# A busy machine pauses a test for longer than any property takes.
settings.register_profile("verifactory", deadline=None)
settings.load_profile("verifactory")


@pytest.fixture(scope="session")
def docker_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home of the session's own; the cache of base images is the user's, as in any run."""
    return Settings(home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def docker(docker_settings: Settings) -> Iterator[DockerBackend]:
    """A backend on the real daemon; closed at the end of the session with everything it started."""
    backend = DockerBackend(docker_settings)
    try:
        _ = backend.daemon.client
    except FactoryError as error:
        pytest.skip(str(error))
    yield backend
    asyncio.run(backend.close())


@pytest.fixture(scope="session")
def base_image(docker: DockerBackend, docker_settings: Settings) -> str:
    """The tag of this machine's Debian 12 base image."""
    return asyncio.run(ensure_base("bookworm", docker_settings, daemon=docker.daemon))


@pytest.fixture
async def sandbox(docker: DockerBackend, base_image: str, request: pytest.FixtureRequest) -> Any:
    """A sandbox from the base image; `parametrize("sandbox", [{…}], indirect=True)` changes its spec."""
    spec = SandboxSpec(image=base_image, **getattr(request, "param", {}))
    started = await docker.start(spec)
    yield started
    await started.stop()


@pytest.fixture
def wire(docker: DockerBackend) -> Iterator[CutableSocket]:
    """A daemon to cut off: a socket in front of the real one."""
    url = docker.daemon.url or "unix:///var/run/docker.sock"
    if not url.startswith("unix://"):
        pytest.skip("the daemon is not on a unix socket")
    with tempfile.TemporaryDirectory() as folder:
        made = CutableSocket(Path(folder) / "d.sock", url.removeprefix("unix://"))
        yield made
        made.cut()
