"""A sandbox with one service: it reaches that unix socket of this machine, no host and no neighbour."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from pydantic import ValidationError

from envs.agents.door import Door
from envs.docker.backend import DockerBackend
from envs.docker.container import DockerSandbox
from envs.docker.network import host_addresses
from envs.docker.proxy import ensure_proxy_image
from envs.sandbox import SERVICE_URL, Network, SandboxSpec
from training.forge.gateway.serve import listen
from warehouse.settings import Settings

pytestmark = pytest.mark.docker

ASK = """
import http.client, json, sys
from concurrent.futures import ThreadPoolExecutor
def ask(n):
    connection = http.client.HTTPConnection("gateway", 8000, timeout=60)
    said = []
    for again in range(2):  # a connection is used twice
        connection.request("POST", f"/v1/echo?n={n}", bytes([n]) * (n * 100_003 + 1))
        answer = connection.getresponse()
        said.append([answer.status, len(answer.read())])
    return said
with ThreadPoolExecutor(8) as threads:
    print(json.dumps(list(threads.map(ask, range(12)))))
"""
REACH = """
import json, socket, sys
found = {}
for host, port in json.loads(sys.argv[1]):
    try:
        socket.create_connection((host, port), timeout=3).close()
        found[f"{host}:{port}"] = "connected"
    except OSError as error:
        found[f"{host}:{port}"] = type(error).__name__
print(json.dumps(found))
"""
PATHS = """
import http.client, json, sys
found = {}
for path in json.loads(sys.argv[1]):
    connection = http.client.HTTPConnection("gateway", 8000, timeout=60)
    connection.putrequest("POST", path, skip_host=True)
    connection.putheader("Host", "other")
    connection.putheader("Content-Length", "2")
    connection.endheaders(b"{}")
    found[path] = connection.getresponse().status
print(json.dumps(found))
"""


@pytest.fixture(scope="session")
def python_image(docker: DockerBackend, docker_settings: Settings, base_image: str) -> str:
    return asyncio.run(ensure_proxy_image(docker_settings, docker.daemon))


@asynccontextmanager
async def echoing() -> AsyncGenerator[tuple[str, list[str]]]:
    """A server on loopback that sends bodies back, and the paths it was asked for."""
    asked: list[str] = []

    async def echo(request: web.Request) -> web.Response:
        asked.append(request.raw_path)
        return web.Response(body=await request.read())

    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    bound = listen("127.0.0.1", 0)
    await web.SockSite(runner, bound).start()
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}", asked
    finally:
        await runner.cleanup()


@asynccontextmanager
async def served(docker: DockerBackend, image: str, door: Door) -> AsyncGenerator[DockerSandbox]:
    sandbox = await docker.start(SandboxSpec(image=image, network=Network.SERVICE, service=door.socket))
    try:
        yield sandbox
    finally:
        await sandbox.stop()


async def python(sandbox: DockerSandbox, program: str, *arguments: object) -> Any:
    given = [json.dumps(argument) for argument in arguments]
    done = await sandbox.exec(["python3", "-c", program, *given], timeout=120, user="nobody")
    assert done.ok, done.text()
    return json.loads(done.stdout)


async def test_many_requests_at_once_reach_the_session_and_nothing_else_is_reached(
    docker: DockerBackend, python_image: str
) -> None:
    threads = threading.active_count()
    async with (
        echoing() as (url, asked),
        Door(f"{url}/s/mine", turns=1000) as mine,
        Door(f"{url}/s/other", turns=1000) as other,
        served(docker, python_image, mine) as sandbox,
        served(docker, python_image, other) as neighbour,
    ):
        sizes = [[[200, n * 100_003 + 1]] * 2 for n in range(12)]
        assert await python(sandbox, ASK) == sizes
        assert sorted(set(asked)) == sorted(f"/s/mine/v1/echo?n={n}" for n in range(12))
        assert mine.answered == 24
        inspect = docker.daemon.client.api.inspect_container
        (network,) = inspect(neighbour.id)["NetworkSettings"]["Networks"].values()
        own = [address for address in host_addresses() if not address.startswith("127.")]
        port = int(url.rpartition(":")[2])
        targets = [(address, port) for address in (*own, "127.0.0.1", network["Gateway"] or "198.18.0.1")]
        targets += [
            (network["IPAddress"], 8000),
            ("1.1.1.1", 443),
            ("169.254.169.254", 80),
            ("example.org", 443),
        ]
        service = next(iter(docker._networks._services))
        (there,) = inspect(docker._networks._services[service])["NetworkSettings"]["Networks"].values()
        reached = await python(sandbox, REACH, [*targets, ("gateway", 8000), (there["IPAddress"], 22)])
        assert [place for place, how in reached.items() if how == "connected"] == ["gateway:8000"]
        del asked[:]
        escapes = ["/../other/v1/x", "/%2e%2e/other/v1/x", "/v1/..%2f..%2fother/x", "/./v1", "/..\\other"]
        kept = ["//s/other/v1/x", "/s/other/v1/x", f"{url}/s/other/v1/x"]
        statuses = await python(sandbox, PATHS, escapes + kept)
        assert all(statuses[path] in (400, 404) for path in escapes), statuses
        assert all(path.startswith("/s/mine") for path in asked), asked
    assert threading.active_count() <= threads + 8  # pools of threads stay; those of services end
    assert not docker._networks._services


async def test_a_door_counts_answers_and_says_what_failed() -> None:
    async def fail(request: web.Request) -> web.Response:
        code = request.path.rpartition("/")[2]
        return web.Response(status=int(code), headers={"x-fault": "engine_died"} if code == "502" else {})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fail)
    runner = web.AppRunner(app)
    await runner.setup()
    bound = listen("127.0.0.1", 0)
    await web.SockSite(runner, bound).start()
    async with Door(f"http://127.0.0.1:{bound.getsockname()[1]}/s/x", turns=2) as door:
        connector = aiohttp.UnixConnector(str(door.socket))
        async with aiohttp.ClientSession(connector=connector) as client:

            async def post(code: str) -> int:
                async with client.post(f"http://door/v1/{code}") as answer:
                    return answer.status

            assert (await post("200"), door.answered, door.fault) == (200, 1, "")
            assert (await post("502"), door.answered, door.fault) == (502, 1, "engine_died")
            assert (await post("418"), door.fault) == (418, "status 418")
            assert (await post("200"), door.answered, door.fault) == (200, 2, "")
            assert (await post("200"), door.fault) == (403, "session_budget_exhausted")
            await runner.cleanup()
            door.turns = 3
            assert (await post("200"), door.fault) == (503, "engine_unreachable")
    assert not door.socket.exists()


def test_a_service_is_given_with_its_network_only() -> None:
    with pytest.raises(ValidationError, match="give both or neither"):
        SandboxSpec(image="x", network=Network.SERVICE)
    with pytest.raises(ValidationError, match="give both or neither"):
        SandboxSpec(image="x", service=Path("/run/x"))
    assert SERVICE_URL == "http://gateway:8000"
