"""Nothing of ours outlives us, and nothing of anybody else's is touched."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from envs.docker import cleanup, owner
from envs.docker.backend import DockerBackend
from envs.docker.cleanup import _Image, _remove_image, _to_remove, mark_used, reclaim
from envs.sandbox import Network, SandboxSpec
from warehouse.settings import Settings

pytestmark = pytest.mark.docker

# Whoever starts a suite in the background has it ignore Ctrl-C, and its children with it: not this program.
_PROGRAM = """
import asyncio, signal, sys
from pathlib import Path
from envs.docker.backend import DockerBackend
from envs.sandbox import Network, SandboxSpec
from warehouse.settings import Settings
# a test run in the background of a shell starts with Ctrl-C ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
async def main():
    async with DockerBackend(Settings(home=Path(sys.argv[1]))) as backend:
        spec = SandboxSpec(image=sys.argv[2], network=Network.ALLOWLIST, allowed_hosts=("a.example",))
        sandbox = await backend.start(spec)
        print("ready", flush=True)
        await sandbox.exec(["sleep", "600"], timeout=600)
signal.signal(signal.SIGINT, signal.default_int_handler)
asyncio.run(main())
"""


def _program(home: Path, image: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(home), image],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def _left(docker: DockerBackend, home: Path) -> int:
    ours = {"label": [f"org.verifactory.home={home}"]}
    api = docker.daemon.client.api
    return len(api.containers(all=True, filters=ours)) + len(api.networks(filters=ours))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_program_leaves_nothing(
    docker: DockerBackend, base_image: str, tmp_path: Path, how: int
) -> None:
    process = _program(tmp_path, base_image)
    try:
        assert _left(docker, tmp_path) == 3  # sandbox, proxy, network
        process.send_signal(how)
        process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode != 0
    assert _left(docker, tmp_path) == 0


async def test_what_a_killed_program_left_is_reclaimed_and_nothing_else(
    docker: DockerBackend, base_image: str, tmp_path: Path
) -> None:
    api = docker.daemon.client.api
    process = _program(tmp_path, base_image)
    foreign = api.create_container(
        base_image, command=["sleep", "60"], name=f"foreign-{uuid.uuid4().hex[:12]}"
    )["Id"]
    mine = await docker.start(
        SandboxSpec(image=base_image, network=Network.ALLOWLIST, allowed_hosts=("b.example",))
    )
    try:
        await reclaim(docker.daemon)
        assert _left(docker, tmp_path) == 3  # its process lives
        process.kill()
        process.wait()
        for _ in range(20):  # another process's clean-up may have come first, and still be at it
            await reclaim(docker.daemon)
            if not _left(docker, tmp_path):
                break
            await asyncio.sleep(0.5)
        assert _left(docker, tmp_path) == 0
        assert (await mine.exec(["echo", "alive"], timeout=20)).ok
        assert api.inspect_container(foreign)["State"]["Status"] == "created"
    finally:
        process.kill()
        await mine.stop()
        api.remove_container(foreign)


def test_only_certain_death_counts() -> None:
    me = owner.owner()
    machine, boot, namespace, pid, started = me.split("|")
    assert not owner.owner_is_dead(me)
    assert owner.owner_is_dead("|".join((machine, boot, namespace, pid, str(int(started) - 1))))
    assert owner.owner_is_dead("|".join((machine, "an-earlier-boot", namespace, pid, started)))
    assert not owner.owner_is_dead("|".join((machine, boot, "pid:[1]", "999999", "1")))
    assert not owner.owner_is_dead("|".join(("another-machine", boot, namespace, "999999", "1")))
    assert not owner.owner_is_dead("")


def _image(name: str, rank: int, last_used: float, *layers: tuple[str, int]) -> _Image:
    return _Image(name, (f"{name}:1",), rank, last_used, sum(size for _, size in layers), layers)


def test_the_budget_counts_shared_layers_once_and_takes_the_oldest() -> None:
    base = ("base", 100)
    images = [
        _image("old", 0, 1.0, base, ("a", 50)),
        _image("newer", 0, 2.0, base, ("b", 30)),
        _image("newest", 0, 3.0, base, ("c", 20)),
        _image("base", 1, 0.0, base),
    ]
    assert [i.id for i in _to_remove(images, 200)] == []
    assert [i.id for i in _to_remove(images, 199)] == ["old"]
    assert [i.id for i in _to_remove(images, 125)] == ["old", "newer"]
    assert [i.id for i in _to_remove(images, 0)] == ["old", "newer", "newest", "base"]


async def test_a_run_over_the_budget_frees_disk_and_one_within_asks_for_no_layer(
    docker: DockerBackend, base_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an image of this test alone: the others on this machine are somebody's cache."""
    tag = f"verifactory/test-budget:{uuid.uuid4().hex}"
    (tmp_path / "Dockerfile").write_text(f"FROM {base_image}\nCOPY Dockerfile /y\n")
    built = await docker.build(tmp_path, tag=tag, network=Network.NONE, timeout=60)
    size = docker.daemon.client.api.inspect_image(tag)["Size"]
    only = _Image(built.digest, (tag,), 0, time.time(), size)
    monkeypatch.setattr(cleanup, "_our_images", lambda *_: [only])
    with monkeypatch.context() as within:
        within.setattr(cleanup, "_layers", lambda *_: pytest.fail("asked for layers"))
        settings = Settings(cache=tmp_path, disk_gb=2 * size / 1e9)
        assert await cleanup.enforce_disk_budget(settings, docker.daemon) == []
    assert await docker.has_image(tag)
    settings = Settings(cache=tmp_path, disk_gb=size / 2e9)
    assert await cleanup.enforce_disk_budget(settings, docker.daemon) == [tag]
    assert not await docker.has_image(tag)


async def test_an_image_goes_by_its_name_and_not_while_in_use(
    docker: DockerBackend, base_image: str, tmp_path: Path
) -> None:
    api = docker.daemon.client.api
    tag = f"verifactory/test-budget:{uuid.uuid4().hex}"
    (tmp_path / "Dockerfile").write_text(f"FROM {base_image}\nCOPY Dockerfile /x\n")
    built = await docker.build(tmp_path, tag=tag, network=Network.NONE, timeout=60)
    image = _Image(built.digest, (tag,), 0, time.time(), 0)
    sandbox = await docker.start(SandboxSpec(image=tag))
    try:
        assert not _remove_image(api, image)
        assert await docker.has_image(tag)
    finally:
        await sandbox.stop()
    assert _remove_image(api, image)
    assert not await docker.has_image(tag)
    assert await docker.has_image(base_image)


def test_use_is_remembered(tmp_path: Path) -> None:
    settings = Settings(cache=tmp_path)
    mark_used(settings, "sha256:abc")
    assert [p.name for p in (tmp_path / "images").iterdir()] == ["abc"]
