"""Builds: what they reach, how they end, what they leave."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from envs.docker.backend import DockerBackend
from envs.docker.build import _fault
from envs.docker.network import host_addresses
from envs.sandbox import BuildError, Network, SandboxError
from warehouse.errors import FactoryError

pytestmark = pytest.mark.docker


@pytest.fixture
def tag(docker: DockerBackend) -> Iterator[str]:
    """A tag of this test's own; the image goes when the test ends."""
    name = f"verifactory/test-build:{uuid.uuid4().hex}"
    yield name
    if docker.daemon.client.images.list(filters={"reference": name}):
        docker.daemon.client.api.remove_image(name)


def _context(folder: Path, *lines: str, **files: bytes) -> Path:
    (folder / "Dockerfile").write_text("ARG BASE=debian:bookworm-slim\nFROM ${BASE}\n" + "\n".join(lines))
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


async def test_an_image_is_built_labelled_and_measured(
    docker: DockerBackend, base_image: str, tmp_path: Path, tag: str
) -> None:
    context = _context(
        tmp_path, "COPY payload /payload", "RUN test ! -e /Dockerfile", payload=b"x" * 3_000_000
    )
    built = await docker.build(
        context, tag=tag, build_args={"BASE": base_image}, network=Network.NONE, timeout=120
    )
    assert await docker.has_image(tag)
    assert 3_000_000 <= built.size_bytes < 3_100_000
    assert "COPY payload" in built.log
    image = docker.daemon.client.api.inspect_image(tag)
    assert image["Id"] == built.digest
    assert image["Config"]["Labels"]["org.verifactory.tag"] == tag
    again = await docker.build(
        context, tag=tag, build_args={"BASE": base_image}, network=Network.NONE, timeout=120
    )
    assert again.digest == built.digest
    assert "Using cache" in again.log


async def test_layers_of_another_image_are_not_its_size(
    docker: DockerBackend, base_image: str, tmp_path: Path, tag: str
) -> None:
    def grown(*lines: str) -> Path:
        return _context(
            tmp_path, "COPY payload /payload", *lines, payload=b"y" * 3_000_000, more=b"z" * 1_000_000
        )

    args = {"BASE": base_image}
    await docker.build(grown(), tag=tag, build_args=args, network=Network.NONE, timeout=120)
    second = f"{tag}-second"
    try:
        built = await docker.build(
            grown("COPY more /more"),
            tag=second, build_args=args, network=Network.NONE, shares=tag, timeout=120,
        )  # fmt: skip
    finally:
        docker.daemon.client.api.remove_image(second)
    assert 1_000_000 <= built.size_bytes < 1_100_000
    other = await docker.build(
        _context(tmp_path, "COPY more /more"),
        tag=second, build_args=args, network=Network.NONE, shares=tag, timeout=120,
    )  # fmt: skip
    docker.daemon.client.api.remove_image(second)
    assert 1_000_000 <= other.size_bytes < 1_100_000  # it shares nothing with the first


@pytest.mark.network
async def test_steps_reach_registries_through_the_proxy_only(
    docker: DockerBackend, base_image: str, tmp_path: Path, tag: str
) -> None:
    registry = (await docker.registry_hosts())[0]
    own = [a for a in host_addresses() if not a.startswith("127.")]
    addresses = " ".join([*own, "169.254.169.254", socket.gethostbyname(registry)])
    context = _context(
        tmp_path,
        "RUN apt-get update",
        f'RUN for a in {addresses}; do ! timeout 5 bash -c "echo > /dev/tcp/$a/80" || exit 1; done',
        f"RUN ! timeout 5 getent hosts {registry}",
        f"RUN : {uuid.uuid4()}",
    )
    args = {"BASE": base_image}
    built = await docker.build(context, tag=tag, build_args=args, timeout=200)
    history = str(docker.daemon.client.api.history(tag)) + str(
        docker.daemon.client.api.inspect_image(tag)["Config"]
    )
    assert "198.18." not in history  # the proxy's address is in no layer
    assert built.seconds > 0


async def test_a_failing_step_is_the_recipes_fault(
    docker: DockerBackend, base_image: str, tmp_path: Path, tag: str
) -> None:
    context = _context(tmp_path, "RUN echo to be seen; exit 9")
    with pytest.raises(BuildError, match="non-zero code: 9") as failed:
        await docker.build(
            context, tag=tag, build_args={"BASE": base_image}, network=Network.NONE, timeout=120
        )
    assert "to be seen" in failed.value.log
    assert not await docker.has_image(tag)


async def test_a_build_past_its_limit_is_ended(
    docker: DockerBackend, base_image: str, tmp_path: Path, tag: str
) -> None:
    marker = f"sleep 7{uuid.uuid4().int % 10**8}"
    began = time.monotonic()
    context = _context(tmp_path, f"RUN {marker}")
    with pytest.raises(BuildError, match="took longer than 3 s"):
        await docker.build(context, tag=tag, build_args={"BASE": base_image}, network=Network.NONE, timeout=3)
    assert time.monotonic() - began < 15
    for _ in range(50):
        running = [c for c in docker.daemon.client.api.containers() if marker in c["Command"]]
        if not running:
            break
        time.sleep(0.2)
    assert running == []


async def test_no_dockerfile_is_one_sentence(docker: DockerBackend, tmp_path: Path, tag: str) -> None:
    with pytest.raises(FactoryError, match="There is no Dockerfile in"):
        await docker.build(tmp_path, tag=tag, network=Network.NONE, timeout=10)


async def test_a_missing_base_image_never_counts_as_built(
    docker: DockerBackend, tmp_path: Path, tag: str
) -> None:
    with pytest.raises((BuildError, SandboxError)):
        await docker.build(
            _context(tmp_path),
            tag=tag,
            build_args={"BASE": "verifactory/none:1"},
            network=Network.NONE,
            timeout=60,
        )


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("The command '/bin/sh -c curl: dial tcp i/o timeout' returned a non-zero code: 1", BuildError),
        ("Get https://r.example/v2/: dial tcp: lookup r.example: no such host", SandboxError),
        ("Error processing tar file(exit status 1): write /x: no space left on device", SandboxError),
        ("Dockerfile parse error line 3: unknown instruction: RUNN", BuildError),
        ("COPY failed: file not found in build context", BuildError),
    ],
)
def test_faults_are_told_apart(error: str, kind: type[Exception]) -> None:
    assert type(_fault(error, "a:b", "")) is kind
