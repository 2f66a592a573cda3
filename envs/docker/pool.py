"""Sandboxes that are ready before they are asked for.

A lease is fresh unless the caller asks for reuse: a fresh sandbox is used once and removed, and its
successor is started while it is in use. Reuse is for work that trusts the work before it (our own tools,
repeated runs of one artifact): processes are ended and scratch folders emptied between leases, but the
rest of the file system stays as it was left.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from envs.docker.backend import DockerBackend
from envs.docker.container import DockerSandbox
from envs.sandbox import SandboxError, SandboxSpec

CLEAN_SECONDS = 30.0


class SandboxPool:
    """Up to `size` sandboxes of one spec kept ready. Belongs to the event loop that uses it."""

    def __init__(
        self, backend: DockerBackend, spec: SandboxSpec, size: int, *, scratch: tuple[str, ...] = ("/tmp",)
    ) -> None:
        self._backend = backend
        self._spec = spec
        self._size = size
        self._scratch = scratch
        self._fresh: deque[asyncio.Task[DockerSandbox]] = deque()
        self._used: list[DockerSandbox] = []
        self._closed = False

    def fill(self) -> None:
        """Start what is missing, in the background."""
        while not self._closed and len(self._fresh) < self._size:
            self._fresh.append(asyncio.ensure_future(self._backend.start(self._spec)))

    async def ready(self) -> None:
        """Wait until the pool is full. Raises what a start raised."""
        self.fill()
        await asyncio.gather(*self._fresh)

    @asynccontextmanager
    async def lease(self, *, reuse: bool = False) -> AsyncGenerator[DockerSandbox]:
        """A sandbox for the length of a `with`.

        With `reuse` it may have been used before, and will be again.
        """
        sandbox = await self._take(reuse=reuse)
        try:
            yield sandbox
        except BaseException:
            await self._remove(sandbox)  # in whatever state it is, nobody else gets it
            raise
        if reuse and not self._closed and await sandbox.clean(self._scratch, timeout=CLEAN_SECONDS):
            self._used.append(sandbox)
        else:
            await self._remove(sandbox)

    async def _take(self, *, reuse: bool) -> DockerSandbox:
        if self._closed:
            raise SandboxError("This sandbox pool is closed.")
        if reuse and self._used:
            return self._used.pop()
        self.fill()
        if not self._fresh:
            return await self._backend.start(self._spec)
        starting = self._fresh.popleft()
        try:
            sandbox = await asyncio.shield(starting)
        except asyncio.CancelledError:
            self._fresh.appendleft(starting)
            raise
        self.fill()
        return sandbox

    async def _remove(self, sandbox: DockerSandbox) -> None:
        with suppress(SandboxError):  # a daemon that is gone took it along, or the next clean-up will
            await sandbox.stop()

    async def close(self) -> None:
        """Remove every sandbox that is not on lease."""
        self._closed = True
        starting, self._fresh = list(self._fresh), deque()
        started = [
            r for r in await asyncio.gather(*starting, return_exceptions=True) if isinstance(r, DockerSandbox)
        ]
        used, self._used = self._used, []
        await asyncio.gather(*(self._remove(sandbox) for sandbox in (*started, *used)))

    async def __aenter__(self) -> SandboxPool:
        self.fill()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
