"""Runs a gateway as a process, or inside one that does more."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncGenerator, Generator

import uvicorn

from training.forge.gateway.server import Server
from warehouse.errors import FactoryError

KEEP_ALIVE_SECONDS = 75
START_SECONDS = 30.0
CLOSING_SECONDS = 5  # for requests that run; then they are cut off and kept as partial


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises FactoryError."""
    try:
        return socket.create_server((host, port), backlog=2048)
    except OSError as error:
        why = error.strerror or str(error)
        raise FactoryError(
            f"The gateway cannot listen on {host} port {port}: {why}; choose another with --host or --port."
        ) from error


def server_of(app: Server) -> uvicorn.Server:
    """The HTTP server for an application."""
    config = uvicorn.Config(
        app, http="httptools", ws="none", lifespan="on", log_config=None, access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS, server_header=False, date_header=False,
        proxy_headers=False, timeout_graceful_shutdown=CLOSING_SECONDS,
    )  # fmt: skip
    return uvicorn.Server(config)


def serve(app: Server, bound: socket.socket) -> None:
    """Serves until a stop signal. The process does nothing else."""
    gc.collect()
    gc.freeze()
    # Turns live long and have no cycles: looking through all of them again and again would stop every agent.
    gc.set_threshold(50_000, 50, 1_000)
    server_of(app).run(sockets=[bound])


class _Embedded(uvicorn.Server):
    """Whoever runs the loop has signals of its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@contextlib.asynccontextmanager
async def running(app: Server, host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[str]:
    """Serves in this event loop; gives the address. Sessions that are open at the end are ended."""
    bound = listen(host, port)
    server = _Embedded(server_of(app).config)
    serving = asyncio.ensure_future(server.serve(sockets=[bound]))
    try:
        async with asyncio.timeout(START_SECONDS):
            while not server.started:
                if serving.done():
                    await serving
                    raise FactoryError("The gateway did not start; its log says why.")
                await asyncio.sleep(0.01)
        yield f"http://{host}:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        bound.close()
