"""A sandbox as a container: a root-owned process that does nothing, and commands executed beside it.

The container's first process belongs to root, so that code under test with another uid cannot end the
sandbox. The environment of a spec is given to each command and not to the container: what `commit` saves is
the file system, and neither our variables nor the proxy's address.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from docker import APIClient
from docker.errors import APIError, NotFound

from envs.docker import archive, processes
from envs.docker.changes import changes
from envs.docker.commit import commit
from envs.docker.daemon import Daemon
from envs.docker.removal import remove_container
from envs.docker.stream import BoundedOutput, Ended, attached, converse
from envs.sandbox import Changed, ExecResult, Outcome, SandboxError, SandboxSpec
from warehouse.errors import FactoryError

OWN_SECONDS = 20.0  # limit of the small commands that we run ourselves
SIGNALS = range(129, 160)  # exit statuses that stand for the signals 1 to 31
KILLED = 137
_IN_MEMORY = ("/dev/shm",)


class DockerSandbox:
    """One running container. Made by `DockerBackend.start`."""

    def __init__(
        self,
        daemon: Daemon,
        container: str,
        spec: SandboxSpec,
        *,
        started_at: str,
        network_env: Mapping[str, str],
        on_stop: Callable[[DockerSandbox], Awaitable[None]],
    ) -> None:
        self._daemon = daemon
        self._container = container
        self._spec = spec
        self._network_env = dict(network_env)
        self._on_stop = on_stop
        self._lock = threading.Lock()
        self._live: dict[str, str] = {}  # token → exec id, of commands that run now
        self._oom_kills = 0
        self._started_at = started_at
        self._ids: dict[str, tuple[int, int]] = {"root": (0, 0)}
        self._stopped = False

    @property
    def id(self) -> str:
        return self._container

    @property
    def spec(self) -> SandboxSpec:
        return self._spec

    @property
    def _api(self) -> APIClient:
        return self._daemon.client.api

    async def exec(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        user: str | None = None,
        workdir: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
    ) -> ExecResult:
        """Run `argv` for at most `timeout` seconds; at a time-out, or when cancelled, all of it is killed.

        Processes that a command leaves behind when it ends by itself go on, as on any machine.
        """
        return await self._exec(
            list(argv),
            timeout=timeout,
            user=user or self._spec.user,
            workdir=workdir or self._spec.workdir,
            env={**self._network_env, **self._spec.env, **(env or {})},
            stdin=stdin,
            limit=self._spec.limits.output_bytes,
        )

    async def _exec(self, argv: list[str], *, timeout: float, limit: int, **how: Any) -> ExecResult:
        if not argv:
            raise ValueError("A command needs at least a program name.")
        cancelled = threading.Event()
        running = asyncio.ensure_future(
            self._daemon.run(
                "a command in a sandbox",
                self._exec_blocking,
                argv,
                timeout,
                BoundedOutput(limit),
                cancelled,
                **how,
            )
        )
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            cancelled.set()
            await asyncio.wait([running])
            raise

    def _exec_blocking(
        self,
        argv: list[str],
        timeout: float,
        output: BoundedOutput,
        cancelled: threading.Event,
        *,
        user: str,
        workdir: str,
        env: Mapping[str, str],
        stdin: bytes | None,
    ) -> ExecResult:
        api, token = self._api, uuid.uuid4().hex
        exec_id = api.exec_create(
            self._container,
            processes.under_init(argv),
            stdin=stdin is not None,
            user=user,
            workdir=workdir,
            environment={**env, processes.MARKER: token},
        )["Id"]
        began = time.monotonic()
        raw = api.exec_start(exec_id, socket=True)
        with self._lock:
            self._live[token] = exec_id
        try:
            ended = self._follow(raw, exec_id, output, stdin, began + timeout, cancelled)
            if ended is not Ended.STREAM:
                raw._response.close()  # output that nobody reads would hold up the daemon's word of its end
                self._end_tree(token, exec_id, user)
        finally:
            with self._lock:
                del self._live[token]
            raw._response.close()
        outcome, code = self._outcome(exec_id) if ended is Ended.STREAM else (Outcome.TIMEOUT, None)
        return ExecResult(
            outcome=outcome,
            exit_code=code,
            stdout=bytes(output.stdout),
            stderr=bytes(output.stderr),
            truncated=output.truncated,
            seconds=time.monotonic() - began,
        )

    def _follow(
        self,
        raw: Any,
        exec_id: str,
        output: BoundedOutput,
        stdin: bytes | None,
        deadline: float,
        cancelled: threading.Event,
    ) -> Ended:
        connection, early = attached(raw)

        def has_ended() -> bool:
            state = self._api.exec_inspect(exec_id)
            return not state["Running"] and state["ExitCode"] is not None  # neither holds before its start

        ended = converse(
            connection,
            early,
            output,
            stdin=stdin,
            deadline=deadline,
            has_ended=has_ended,
            cancelled=cancelled,
        )
        pause = 0.002
        while ended is Ended.STREAM and not has_ended():  # it closed its streams and went on
            if time.monotonic() >= deadline:
                return Ended.DEADLINE
            if cancelled.wait(pause):
                return Ended.CANCELLED
            pause = min(pause * 2, 0.1)
        return ended

    def _outcome(self, exec_id: str) -> tuple[Outcome, int]:
        code = int(self._api.exec_inspect(exec_id)["ExitCode"])
        if code == KILLED and self._memory_limit_struck():
            return Outcome.OOM, code
        return (Outcome.SIGNAL if code in SIGNALS else Outcome.EXITED), code

    def _memory_limit_struck(self) -> bool:
        """Whether the kernel has killed for memory since we last looked.

        We look only when a command was killed, so a child that an earlier command outlived counts here too.

        Who ends a container ends its commands in the same way as a kill from inside, so this is also where a
        sandbox that is gone, or was restarted by somebody else, is told from a command that was killed.
        """
        state = self._api.inspect_container(self._container)["State"]
        if state["Status"] != "running" and state["OOMKilled"]:
            return True
        kills = processes.oom_kills(self._own_command(processes.OOM_COUNTERS, user="root"))
        state = self._api.inspect_container(self._container)["State"]
        if state["Status"] != "running" or state["StartedAt"] != self._started_at:
            raise SandboxError(
                f"The sandbox {self._container[:12]} ended while a command ran in it; run it again."
            )
        with self._lock:
            grew, self._oom_kills = kills > self._oom_kills, max(kills, self._oom_kills)
        return grew

    def _own_command(self, argv: list[str], *, user: str) -> bytes:
        """Output of a small command of ours, as far as it came in time."""
        exec_id = self._api.exec_create(self._container, argv, user=user)["Id"]
        raw = self._api.exec_start(exec_id, socket=True)
        output = BoundedOutput(1 << 16)
        deadline = time.monotonic() + OWN_SECONDS
        try:
            self._follow(raw, exec_id, output, None, deadline, threading.Event())
        finally:
            raw._response.close()
        return bytes(output.stdout)

    def _end_tree(self, token: str, exec_id: str, user: str) -> None:
        """Kill the command and all it started; restart the container when that cannot be shown to have
        worked.
        """
        before = processes.ProcessList.of(self._api, self._container)
        root = int(self._api.exec_inspect(exec_id)["Pid"])
        # Root may signal any process only with CAP_KILL; without capabilities nothing can have changed its
        # uid.
        killer = user if self._spec.cap_drop_all else "root"
        for who in dict.fromkeys(
            (user, killer)
        ):  # /proc/*/environ, which finds the tree, is its own uid's to read
            try:
                self._own_command(processes.end_tree_command(token), user=who)
            except APIError:
                break  # nothing can be started in it any more; the process list below decides
        after = processes.ProcessList.of(self._api, self._container)
        with self._lock:
            others = [other for mark, other in self._live.items() if mark != token]
        spared = {int(self._api.exec_inspect(other)["Pid"]) for other in others}
        if before is None or after is None or processes.survivors(before, after, root, spared):
            self._api.restart(self._container, timeout=0)
            with self._lock:
                self._oom_kills = 0
                self._started_at = self._api.inspect_container(self._container)["State"]["StartedAt"]

    async def clean(self, folders: tuple[str, ...], *, timeout: float) -> bool:
        """End every process and empty `folders`, for reuse by who trusts this sandbox's past.

        False: do not reuse.
        """

        def alone() -> bool:
            self._own_command(processes.end_all_command(), user="root")
            left = processes.ProcessList.of(self._api, self._container)
            return left is not None and len(left.parent) == 2  # the init and what it keeps up

        try:
            if not await self._daemon.run("the clean-up of a sandbox", alone):
                return False
            how: dict[str, Any] = {"user": "root", "workdir": "/", "env": {}, "stdin": None}
            emptied = await self._exec(processes.empty_command(folders), timeout=timeout, limit=4096, **how)
        except SandboxError:
            return False
        return emptied.ok

    async def upload(
        self, files: Mapping[str, bytes | Path], *, user: str = "root", mode: int = 0o644
    ) -> None:
        """Write files by absolute path, owned by `user`.

        Folders on the way are made, root's, when they are missing.
        """
        owner = await self._daemon.run("an upload", self._owner_ids, user)
        in_memory = {name for name in files if self._spec.read_only_root or self._in_memory(name)}
        for names in ({n for n in files if n not in in_memory}, in_memory):
            if not names:
                continue
            with archive.pack({n: files[n] for n in sorted(names)}, owner=owner, mode=mode) as packed:
                if names is in_memory:
                    await self._unpack_inside(packed.read())
                else:
                    await self._daemon.run("an upload", self._api.put_archive, self._container, "/", packed)

    async def _unpack_inside(self, packed: bytes) -> None:
        """Where the daemon cannot write (a tmpfs, a read-only root), the image's own tar can."""
        done = await self._exec(
            ["tar", "-xpf", "-", "-C", "/"],
            timeout=OWN_SECONDS * 3,
            limit=4096,
            user="root",
            workdir="/",
            env={},
            stdin=packed,
        )
        if not done.ok:
            raise SandboxError(
                f"Files could not be written into a sandbox of {self._spec.image}: {done.text(300)}"
            )

    def _in_memory(self, path: str) -> bool:
        """Whether `path` lies on a file system that only processes inside can see."""
        mounts = [entry.partition(":")[0] for entry in self._spec.tmpfs] + list(_IN_MEMORY)
        return any(PurePosixPath(path).is_relative_to(mount) for mount in mounts)

    def _owner_ids(self, user: str) -> tuple[int, int]:
        if user in self._ids:
            return self._ids[user]
        name, _, group = user.partition(":")
        if name.isdigit():
            return int(name), int(group) if group.isdigit() else int(name)
        chunks, _ = self._api.get_archive(self._container, "/etc/passwd")
        for line in (
            archive.unpack(chunks, "/etc/passwd", max_bytes=1 << 20)["passwd"]
            .decode("utf-8", "replace")
            .splitlines()
        ):
            fields = line.split(":")
            if len(fields) >= 4 and fields[0] == name:
                self._ids[user] = (int(fields[2]), int(fields[3]))
                return self._ids[user]
        raise FactoryError(f"The image {self._spec.image} has no user {user!r}.")

    async def download(self, path: str, *, max_bytes: int) -> dict[str, bytes]:
        """Regular files at or below `path`, read while every process of the sandbox is frozen."""
        if self._in_memory(path):
            return await self._download_inside(path, max_bytes)
        return await self._daemon.run("a download", self._download_blocking, path, max_bytes)

    def _download_blocking(self, path: str, max_bytes: int) -> dict[str, bytes]:
        with self._frozen():
            try:
                chunks, _ = self._api.get_archive(self._container, path)
            except NotFound as error:
                if "No such container" in str(error.explanation):
                    raise
                raise FileNotFoundError(f"{path} is not in the sandbox.") from error
            try:
                return archive.unpack(chunks, path, max_bytes=max_bytes)
            finally:
                chunks.close()

    @contextmanager
    def _frozen(self) -> Generator[None]:
        self._api.pause(self._container)
        try:
            yield
        finally:
            self._api.unpause(self._container)

    async def _download_inside(self, path: str, max_bytes: int) -> dict[str, bytes]:
        plain = PurePosixPath(path)
        limit = max_bytes + archive.MAX_FILES * 1024
        done = await self._exec(
            ["tar", "-cf", "-", "-C", str(plain.parent), "--", plain.name],
            timeout=OWN_SECONDS * 3, limit=limit, user="root", workdir="/", env={}, stdin=None,
        )  # fmt: skip
        if not done.ok:
            raise FileNotFoundError(f"{path} is not in the sandbox.")
        return await asyncio.to_thread(archive.unpack, [done.stdout], path, max_bytes=max_bytes)

    async def changes(self, under: str, *, keep: Callable[[str], bool], max_bytes: int) -> dict[str, Changed]:
        """What differs from the image below `under`, read while every process of the sandbox is frozen."""

        def read() -> dict[str, Changed]:
            with self._frozen():
                return changes(self._api, self._container, under, keep=keep, max_bytes=max_bytes)

        return await self._daemon.run("a look at what changed", read)

    async def commit(self, tag: str) -> str:
        """Save the file system as image `tag` with the configuration of the image it came from; returns its
        id.
        """
        return await self._daemon.run("a commit", commit, self._api, self._container, tag)

    async def stop(self) -> None:
        """Remove the container and all it runs. Idempotent."""
        if self._stopped:
            return
        self._stopped = True
        await self._daemon.run("the removal of a sandbox", remove_container, self._api, self._container)
        await self._on_stop(self)
