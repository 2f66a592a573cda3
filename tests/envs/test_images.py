"""Base images: what is in them, that they are made once, and what is said when they cannot be."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from envs import debian
from envs.docker.backend import DockerBackend
from envs.docker.container import DockerSandbox
from envs.images import _local_layer, apt_hosts, ensure_base
from warehouse.errors import FactoryError
from warehouse.settings import Settings


@pytest.mark.docker
async def test_the_base_is_bare_debian_with_this_machines_authorities(
    sandbox: DockerSandbox, docker_settings: Settings
) -> None:
    release = await sandbox.exec(["sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME"], timeout=20)
    assert release.stdout == b"bookworm\n"
    tools = await sandbox.exec(["sh", "-c", "command -v python3 git curl gcc"], timeout=20)
    assert tools.stdout == b""  # a Dockerfile that leans on any of these would fail on the public image
    here = {path.name: path.read_bytes() for path in docker_settings.ca_dir.glob("*.crt")}
    there = await sandbox.exec(["ls", "/usr/local/share/ca-certificates"], timeout=20)
    assert set(there.stdout.decode().split()) == set(here)
    if here:
        assert (await sandbox.exec(["sh", "-c", "echo $PIP_CERT"], timeout=20)).stdout.strip()
    sources = await sandbox.exec(
        ["sh", "-c", "cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null"], timeout=20
    )
    assert b"bookworm-security" in sources.stdout


@pytest.mark.docker
async def test_processes_that_ask_at_once_get_one_image(base_image: str, docker_settings: Settings) -> None:
    ask = (
        "import asyncio, sys; from pathlib import Path; from warehouse.settings import Settings; "
        "from envs.images import ensure_base; "
        "print(asyncio.run(ensure_base('bookworm', Settings(home=Path(sys.argv[1])))))"
    )
    asked = [
        subprocess.Popen(
            [sys.executable, "-c", ask, str(docker_settings.home)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    answers = {process.communicate(timeout=120)[0].strip() for process in asked}
    assert answers == {base_image}


@pytest.mark.docker
async def test_the_local_layer_follows_the_certificates(
    docker: DockerBackend, base_image: str, tmp_path: Path
) -> None:
    api = docker.daemon.client.api
    debian_tag = (
        "verifactory/debian:bookworm" if await docker.has_image("verifactory/debian:bookworm") else None
    )
    if debian_tag is None:
        debian_tag = "debian:bookworm-slim"
    bare = _local_layer(docker.daemon.client, "bookworm", debian_tag, tmp_path)
    (tmp_path / "own.crt").write_text("not really one")
    made = await asyncio.to_thread(_local_layer, docker.daemon.client, "bookworm", debian_tag, tmp_path)
    try:
        assert made not in (bare, base_image)
        variables = api.inspect_image(made)["Config"]["Env"]
        assert any(v.startswith("SSL_CERT_FILE=") for v in variables)
        assert not any(v.startswith("SSL_CERT_FILE=") for v in api.inspect_image(bare)["Config"]["Env"])
    finally:
        api.remove_image(made)
        if bare != base_image:
            api.remove_image(bare)


@pytest.mark.docker
def test_the_archives_hosts_are_read_from_the_image(docker: DockerBackend, base_image: str) -> None:
    found = apt_hosts(docker.daemon.client)
    assert found
    assert all("/" not in host and "." in host for host in found)


async def test_an_unknown_suite_is_one_sentence(docker_settings: Settings) -> None:
    with pytest.raises(
        FactoryError, match="no base image for Debian suite 'potato': use one of bullseye, bookworm"
    ):
        await ensure_base("potato", docker_settings)


def test_missing_debootstrap_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FactoryError, match="apt-get install debootstrap"):
        debian.make_rootfs("bookworm", tmp_path / "x.tar.gz", progress=lambda _: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.network
async def test_a_cancelled_bootstrap_leaves_nothing(tmp_path: Path, docker: DockerBackend) -> None:
    tarball = tmp_path / "base/x.tar.gz"
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        pytest.skip("making a base image needs debootstrap and root")

    def stop(line: str) -> None:
        if "Retrieving" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        debian.make_rootfs("bookworm", tarball, progress=stop)
    assert list(tarball.parent.iterdir()) == []
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path, docker: DockerBackend) -> None:
    (tmp_path / "file").write_text("")
    settings = Settings(cache=tmp_path / "file")
    with pytest.raises(FactoryError, match="set VERIFACTORY_CACHE"):
        asyncio.run(ensure_base("bookworm", settings, daemon=docker.daemon))


def test_a_mirror_that_does_not_answer_costs_no_security_updates() -> None:
    with pytest.raises(FactoryError, match=r"mirror does not answer for http://127\.0\.0\.1:9/debian"):
        debian.apt_sources("bookworm", "http://127.0.0.1:9/debian")


@pytest.mark.network
def test_sources_name_only_suites_that_the_mirror_has() -> None:
    mirror = debian.host_mirror()
    if not mirror:
        pytest.skip("this machine has no Debian mirror configured")
    lines = debian.apt_sources("bookworm", mirror).splitlines()
    assert lines[0] == f"deb {mirror.rstrip('/')} bookworm main"
    assert debian.apt_sources("no-such-suite", mirror).splitlines() == [
        f"deb {mirror.rstrip('/')} no-such-suite main"
    ]
