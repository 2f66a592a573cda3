"""A daemon that is absent, or goes away: one sentence, and never a verdict about the code under test."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cut_socket import CutableSocket

from envs.docker.backend import DockerBackend
from envs.docker.daemon import Daemon
from envs.sandbox import Network, SandboxError, SandboxSpec
from warehouse.errors import FactoryError
from warehouse.settings import Settings

pytestmark = pytest.mark.docker


def _one_sentence(error: BaseException) -> bool:
    text = str(error)
    return "\n" not in text and "Traceback" not in text and "Docker daemon" in text and len(text) < 500


async def test_a_daemon_that_dies_during_a_command_is_infrastructure(
    docker: DockerBackend, wire: CutableSocket, base_image: str, docker_settings: Settings
) -> None:
    backend = DockerBackend(docker_settings, url=wire.url)
    sandbox = await backend.start(SandboxSpec(image=base_image))
    try:
        assert (await sandbox.exec(["echo", "through"], timeout=20)).stdout == b"through\n"
        running = asyncio.ensure_future(sandbox.exec(["sleep", "60"], timeout=60))
        await asyncio.sleep(0.5)
        wire.cut()
        with pytest.raises(SandboxError) as failed:
            await asyncio.wait_for(running, 90)
        assert _one_sentence(failed.value)
        for after in (
            sandbox.exec(["true"], timeout=5),
            sandbox.upload({"/x": b""}),
            sandbox.download("/x", max_bytes=1),
        ):
            with pytest.raises(SandboxError) as failed:
                await after
            assert _one_sentence(failed.value)
        with pytest.raises(SandboxError):
            await backend.close()
    finally:
        docker.daemon.client.api.remove_container(sandbox.id, force=True)


async def test_a_daemon_that_dies_during_a_build_is_infrastructure(
    docker: DockerBackend, wire: CutableSocket, base_image: str, docker_settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {base_image}\nRUN sleep 20\n")
    backend = DockerBackend(docker_settings, url=wire.url)
    await backend.has_image(base_image)
    running = asyncio.ensure_future(
        backend.build(tmp_path, tag="verifactory/test-cut:1", network=Network.NONE, timeout=60)
    )
    await asyncio.sleep(1.5)
    wire.cut()
    with pytest.raises(SandboxError) as failed:
        await asyncio.wait_for(running, 15)
    assert _one_sentence(failed.value)
    await backend.close()


async def test_a_daemon_that_would_drop_a_limit_is_refused(
    docker: DockerBackend, base_image: str, docker_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await docker.capabilities()).lacking(SandboxSpec(image=base_image)) == []
    backend = DockerBackend(docker_settings)
    client = backend.daemon.client
    told = client.info() | {"PidsLimit": False}
    monkeypatch.setattr(client, "info", lambda: told)
    with pytest.raises(FactoryError, match="cannot enforce a limit on processes"):
        await backend.start(SandboxSpec(image=base_image))
    await backend.close()


async def test_a_sandbox_removed_from_outside_is_infrastructure(
    docker: DockerBackend, base_image: str
) -> None:
    sandbox = await docker.start(SandboxSpec(image=base_image))
    running = asyncio.ensure_future(sandbox.exec(["sleep", "60"], timeout=60))
    await asyncio.sleep(0.5)
    docker.daemon.client.api.remove_container(sandbox.id, force=True)
    with pytest.raises(SandboxError):
        await asyncio.wait_for(running, 90)
    await sandbox.stop()


@pytest.mark.parametrize("url", ["unix:///nonexistent/docker.sock", "tcp://127.0.0.1:9"])
def test_no_docker_says_how_to_get_it(url: str) -> None:
    with pytest.raises(
        FactoryError, match=r"Docker does not answer at .*apt-get install docker\.io"
    ) as failed:
        _ = Daemon(url).client
    assert "\n" not in str(failed.value)
    assert not isinstance(failed.value, SandboxError)


async def test_no_docker_shows_at_the_first_use_of_a_backend(docker_settings: Settings) -> None:
    backend = DockerBackend(docker_settings, url="unix:///nonexistent/docker.sock")
    with pytest.raises(FactoryError, match="Docker does not answer"):
        await backend.has_image("x")
    await backend.close()
