"""What a sandbox reaches: nothing, or a listed host by the proxy; never host, neighbours or private nets."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from docker import DockerClient
from docker.errors import APIError

from envs import registries
from envs.docker.backend import DockerBackend
from envs.docker.container import DockerSandbox
from envs.docker.network import Networks, host_addresses
from envs.docker.proxy import ensure_proxy_image
from envs.sandbox import Network, SandboxSpec
from warehouse.settings import Settings

pytestmark = pytest.mark.docker

_CONNECT = """
import json, socket, sys, threading
def attempt(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family) as s:
            s.settimeout(6)
            s.connect((address, port))
            return "connected"
    except OSError as error:
        return type(error).__name__
results = {}
def one(key, address, port):
    results[key] = attempt(address, port)
threads = [threading.Thread(target=one, args=(f"{a}:{p}", a, p)) for a, p in json.loads(sys.argv[1])]
for t in threads: t.start()
for t in threads: t.join()
print(json.dumps(results))
"""
_FETCH = """
import http.client, json, os, ssl, sys
from urllib.parse import urlsplit
proxy = urlsplit(os.environ["http_proxy"])
def fetch(url):
    parts = urlsplit(url)
    context = ssl._create_unverified_context()
    try:
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(proxy.hostname, proxy.port, timeout=40, context=context)
            connection.set_tunnel(parts.netloc, parts.port or 443)
            connection.request("HEAD", parts.path or "/")
        else:
            connection = http.client.HTTPConnection(proxy.hostname, proxy.port, timeout=40)
            connection.request("HEAD", url)
        return connection.getresponse().status
    except OSError as error:
        return str(error)
print(json.dumps({url: fetch(url) for url in sys.argv[1:]}))
"""


@pytest.fixture(scope="session")
def python_image(docker: DockerBackend, docker_settings: Settings, base_image: str) -> str:
    """The proxy's own image: it has a Python to ask questions with."""
    return asyncio.run(ensure_proxy_image(docker_settings, docker.daemon))


@pytest.fixture
def host_port() -> Iterator[int]:
    """A web server of this machine on every interface."""
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


async def _connect(sandbox: DockerSandbox, *targets: tuple[str, int]) -> dict[str, str]:
    done = await sandbox.exec(["python3", "-c", _CONNECT, json.dumps(targets)], timeout=60)
    assert done.ok, done.text()
    return json.loads(done.stdout)


async def _fetch(sandbox: DockerSandbox, *urls: str) -> dict[str, int | str]:
    done = await sandbox.exec(["python3", "-c", _FETCH, *urls], timeout=120)
    assert done.ok, done.text()
    return json.loads(done.stdout)


def _forbidden(answer: int | str) -> bool:
    return answer == 403 or "403 Forbidden" in str(answer)


async def test_none_has_no_interface_but_loopback(sandbox: DockerSandbox) -> None:
    done = await sandbox.exec(["sh", "-c", "ls /sys/class/net; cat /proc/net/route"], timeout=20)
    assert done.stdout.split()[0] == b"lo"
    assert len(done.stdout.splitlines()) == 2  # loopback, and the routing table's heading


@pytest.mark.parametrize("network", [Network.ALLOWLIST, Network.PUBLIC])
async def test_no_address_of_host_or_link_is_reached(
    docker: DockerBackend, python_image: str, host_port: int, network: Network
) -> None:
    spec = SandboxSpec(image=python_image, network=network, allowed_hosts=("example.org",))
    first, second = await asyncio.gather(docker.start(spec), docker.start(spec))
    try:
        addresses = {}
        for sandbox in (first, second):
            found = docker.daemon.client.api.inspect_container(sandbox.id)["NetworkSettings"]["Networks"]
            (addresses[sandbox],) = found.values()
        own = [a for a in host_addresses() if not a.startswith("127.")]
        assert own
        targets = [(address, host_port) for address in (*own, addresses[first]["Gateway"])]
        targets += [
            (addresses[second]["IPAddress"], 22),
            ("169.254.169.254", 80),
            ("fe80::1", 80),
            ("fd00::2", host_port),
        ]
        reached = await _connect(first, *targets)
        assert len(reached) == len(targets)
        assert "connected" not in reached.values(), reached
        asked = await _fetch(
            first,
            *(
                f"http://{address}/"
                for address in (*own, "127.0.0.1", "2130706433", "0x7f.1", "localhost", "[::1]")
            ),
            "http://169.254.169.254/latest/meta-data/",
            "https://169.254.169.254/",
            f"http://{own[0]}:{host_port}/",
            f"https://{own[0]}:{host_port}/",
            f"http://{addresses[second]['IPAddress']}/",
        )
        assert all(_forbidden(a) or a in (400, 502) for a in asked.values()), asked
    finally:
        await asyncio.gather(first.stop(), second.stop())


@pytest.mark.network
async def test_allowlist_reaches_the_listed_registry_and_no_other(
    docker: DockerBackend, python_image: str
) -> None:
    index = registries.index_url()
    listed = urlsplit(index).hostname or ""
    others = [host for host in await docker.registry_hosts() if host != listed]
    spec = SandboxSpec(image=python_image, network=Network.ALLOWLIST, allowed_hosts=(listed,))
    sandbox = await docker.start(spec)
    try:
        asked = await _fetch(
            sandbox, index + "/", *(f"https://{host}/" for host in others), f"https://{listed}:22/"
        )
        assert asked.pop(index + "/") in (200, 301, 302, 405), asked
        assert asked
        assert all(_forbidden(answer) for answer in asked.values()), asked
        for name in (listed, "example.org"):
            assert (await sandbox.exec(["getent", "hosts", name], timeout=30)).exit_code == 2
    finally:
        await sandbox.stop()


@pytest.mark.network
async def test_public_reaches_a_public_host_with_an_ordinary_client(
    docker: DockerBackend, base_image: str
) -> None:
    sandbox = await docker.start(SandboxSpec(image=base_image, network=Network.PUBLIC))
    try:
        update = await sandbox.exec(["apt-get", "-o", "Acquire::Retries=2", "update"], timeout=180)
        assert update.ok, update.text()
        assert b"InRelease" in update.stdout
    finally:
        await sandbox.stop()


async def test_one_proxy_serves_all_sandboxes_of_a_list(docker: DockerBackend, base_image: str) -> None:
    api = docker.daemon.client.api
    ours = {
        "label": [f"org.verifactory.home={docker.settings.home.absolute()}", "org.verifactory.kind=proxy"]
    }
    spec = SandboxSpec(image=base_image, network=Network.ALLOWLIST, allowed_hosts=("one.example",))
    before = len(api.containers(filters=ours))
    sandboxes = await asyncio.gather(*(docker.start(spec) for _ in range(3)))
    assert len(api.containers(filters=ours)) == before + 1
    networks = {"label": [f"org.verifactory.home={docker.settings.home.absolute()}"]}
    assert len(api.networks(filters=networks)) == 3
    await asyncio.gather(*(sandbox.stop() for sandbox in sandboxes))
    assert api.networks(filters=networks) == []


class _Daemon:
    """A daemon that is still taking a container away when its network is to go."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.removed: list[str] = []

    def inspect_network(self, name: str) -> dict[str, Any]:
        return {"Containers": {"going": {}} if self.refusals else {}}

    def disconnect_container_from_network(self, container: str, name: str, *, force: bool) -> None:
        self.refusals -= 1
        raise APIError("500", explanation=f"Container {container} is marked for removal and cannot be …")

    def remove_network(self, name: str) -> None:
        self.removed.append(name)


def test_a_container_that_is_being_removed_is_waited_for(tmp_path: Path) -> None:
    daemon = _Daemon(refusals=3)
    Networks(tmp_path).close_wire(cast(DockerClient, SimpleNamespace(api=daemon)), "wire")
    assert daemon.removed == ["wire"]
