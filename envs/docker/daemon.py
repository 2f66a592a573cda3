"""The connection to the Docker daemon, and what its failures mean.

Every call to the daemon goes through a `Daemon`: its threads are separate from asyncio's default executor
(an exec holds one for as long as its command runs), and its errors come out as one sentence. A daemon that
is absent before anything started is the user's to mend (`FactoryError`); one that goes away later is
infrastructure (`SandboxError`).
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import docker
import requests
import urllib3
from docker.context import ContextAPI
from docker.errors import APIError, DockerException

from envs.sandbox import SandboxError
from warehouse.errors import FactoryError

T = TypeVar("T")

THREADS = 64
API_SECONDS = 180  # the daemon's longest silence within one call (a commit of a large container)

NO_DOCKER = (
    "Docker does not answer at {where}: install it (on Debian or Ubuntu `apt-get install docker.io`, "
    "elsewhere Docker Desktop), start it (`systemctl start docker` or `dockerd`), and see that "
    "this user may use it."
)
_LOST = (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError, EOFError)


def daemon_url() -> str | None:
    """DOCKER_HOST, else the host of the docker command's current context, else None for the SDK's default."""
    if os.environ.get("DOCKER_HOST"):
        return os.environ["DOCKER_HOST"]
    try:
        context = ContextAPI.get_current_context()
    except (DockerException, OSError, ValueError, KeyError):
        return None  # an unreadable client configuration says nothing about where the daemon is
    return context.Host if context is not None else None


@contextmanager
def daemon_errors(doing: str) -> Generator[None]:
    """Turn what the SDK raises while `doing` something into `SandboxError`; our own errors pass."""
    try:
        yield
    except APIError as error:
        said = " ".join(str(error.explanation or error).split())
        if "no space left" in said.lower():
            raise SandboxError(
                f"The disk of the Docker daemon is full ({doing}): free space and run again."
            ) from error
        raise SandboxError(f"The Docker daemon refused {doing}: {said}") from error
    except FileNotFoundError:
        raise  # about a file in a sandbox; a missing socket comes as the HTTP client's own error
    except (DockerException, *_LOST) as error:
        said = " ".join(str(error).split())[:300]
        raise SandboxError(
            f"The Docker daemon went away during {doing} ({said}); see that it runs, and run again."
        ) from error


class Daemon:
    """A connection that is opened at its first use and may be used from any event loop."""

    def __init__(self, url: str | None = None) -> None:
        self.url = url or daemon_url()
        self._lock = threading.Lock()
        self._client: docker.DockerClient | None = None
        self._threads: ThreadPoolExecutor | None = None

    @property
    def client(self) -> docker.DockerClient:
        """The SDK's client. Raises FactoryError when no daemon answers."""
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> docker.DockerClient:
        where = self.url or "the default socket"
        try:
            client = docker.from_env(
                environment={**os.environ, **({"DOCKER_HOST": self.url} if self.url else {})},
                timeout=API_SECONDS,
                max_pool_size=THREADS,
                version="auto",
            )
            client.ping()
        except (DockerException, *_LOST) as error:
            raise FactoryError(NO_DOCKER.format(where=where)) from error
        return client

    async def run(self, doing: str, call: Callable[..., T], *args: Any, **keywords: Any) -> T:
        """`call` in one of this connection's threads, its errors translated."""

        def translated() -> T:
            with daemon_errors(doing):
                return call(*args, **keywords)

        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="docker")
            threads = self._threads
        return await asyncio.get_running_loop().run_in_executor(threads, translated)

    def close(self) -> None:
        with self._lock:
            threads, client = self._threads, self._client
            self._threads = self._client = None
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)
        if client is not None:
            client.close()
