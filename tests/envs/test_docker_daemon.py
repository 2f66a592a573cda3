"""A daemon that is absent, or goes away: one sentence, and never a verdict about the code under test."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from envs.docker.backend import DockerBackend
from envs.docker.daemon import Daemon
from envs.sandbox import Network, SandboxError, SandboxSpec
from warehouse.errors import FactoryError
from warehouse.settings import Settings

pytestmark = pytest.mark.docker


class CutableSocket:
    """A unix socket that passes everything on to the daemon's, until it is cut."""

    def __init__(self, path: Path, target: str) -> None:
        self.url = f"unix://{path}"
        self._target = target
        self._open: list[socket.socket] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                upstream = socket.socket(socket.AF_UNIX)
                upstream.connect(self._target)
                self._open += [client, upstream]
                for source, sink in ((client, upstream), (upstream, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        self._server.close()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        Path(self.url.removeprefix("unix://")).unlink(missing_ok=True)


@pytest.fixture
def wire(docker: DockerBackend) -> Iterator[CutableSocket]:
    url = docker.daemon.url or "unix:///var/run/docker.sock"
    if not url.startswith("unix://"):
        pytest.skip("the daemon is not on a unix socket")
    with tempfile.TemporaryDirectory() as folder:
        made = CutableSocket(Path(folder) / "d.sock", url.removeprefix("unix://"))
        yield made
        made.cut()


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
            await asyncio.wait_for(running, 20)
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


async def test_a_sandbox_removed_from_outside_is_infrastructure(
    docker: DockerBackend, base_image: str
) -> None:
    sandbox = await docker.start(SandboxSpec(image=base_image))
    running = asyncio.ensure_future(sandbox.exec(["sleep", "60"], timeout=60))
    await asyncio.sleep(0.5)
    docker.daemon.client.api.remove_container(sandbox.id, force=True)
    with pytest.raises(SandboxError):
        await asyncio.wait_for(running, 20)
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
