"""A family of small tasks to learn on: eight operations on sixteen files, one command each.

    delete f03          →   rm f03

The names of the commands cannot be guessed from the operations by a model that has not seen them paired, so
that what a policy earns is what it has learnt. An attempt's command is carried out in a container, in a fresh
folder, and the folder afterwards is compared with what the operation should have made of it. Some pairs are
held out: they are never prompts, and show whether operation and file were learnt apart.

Commands of many attempts go to one long-lived container together; a share of them is carried out again in a
container of its own, and must come to the same.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import aiohttp

from envs.docker.backend import DockerBackend
from envs.images import ensure_base
from envs.sandbox import Limits, Network, Sandbox, SandboxError, SandboxSpec
from training.forge.rl.domain import Judgement, Prompt, Unjudged
from warehouse.errors import FactoryError
from warehouse.records import content_id
from warehouse.settings import Settings

FILES = tuple(f"f{number:02}" for number in range(16))
# operation as it is asked for → (command, what it makes of {name: text})
OPERATIONS: dict[str, tuple[str, Callable[[str, str], dict[str, str]]]] = {
    "delete": ("rm", lambda name, text: {}),
    "duplicate": ("cp", lambda name, text: {name: text, f"{name}.copy": text}),
    "retire": ("mv", lambda name, text: {f"{name}.old": text}),
    "shout": ("up", lambda name, text: {name: text.upper()}),
    "reverse": ("rv", lambda name, text: {name: text[::-1]}),
    "repeat": ("x2", lambda name, text: {name: text * 2}),
    "clear": ("mt", lambda name, text: {name: ""}),
    "count": ("ln", lambda name, text: {name: str(len(text))}),
}
PAIRS = tuple((operation, name) for operation in OPERATIONS for name in FILES)
HELD_OUT = 24
SCRIPT = Path(__file__).with_name("inside") / "operate.py"
SUITE = "bookworm"
DOCKERFILE = """\
ARG BASE
FROM $BASE
RUN apt-get update && apt-get install -y --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*
"""
EXEC_SECONDS = 120.0
ANSWER_TOKENS = 32
AGAIN = 100  # one in so many attempts is carried out again, in a fresh container


def instruction(operation: str, name: str) -> str:
    """What the agent is asked."""
    return f"{operation} {name}"


def contents(attempt: str) -> dict[str, str]:
    """The files that an attempt finds: what is in them differs from attempt to attempt."""
    rng = random.Random(attempt)
    return {name: "".join(rng.choices("abcdefgh", k=6)) for name in FILES}


def wanted(operation: str, name: str, files: dict[str, str]) -> dict[str, str]:
    """The files as the operation leaves them, by a way of its own."""
    rest = {other: text for other, text in files.items() if other != name}
    return rest | OPERATIONS[operation][1](name, files[name])


def held_out(seed: int) -> frozenset[tuple[str, str]]:
    """Pairs that are no prompts; each operation and each file is in pairs that are."""
    return frozenset(random.Random(seed).sample(PAIRS, HELD_OUT))


@dataclass
class FileOperations:
    """The domain. `only` is what its prompts are: seen pairs, or the held-out ones, to measure on."""

    only: str = "seen"
    held_out_seed: int = 0
    name: ClassVar[str] = "file-operations"
    _backend: DockerBackend | None = field(default=None, repr=False)
    _worker: Worker | None = field(default=None, repr=False)
    _client: aiohttp.ClientSession | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.only not in ("seen", "held-out"):
            raise ValueError(f"only = {self.only!r} is neither 'seen' nor 'held-out'")

    async def open(self) -> None:
        settings = Settings()
        self._backend = DockerBackend(settings)
        self._worker = Worker(self._backend, await worker_image(self._backend, settings))
        await self._worker.open()
        self._client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
        if self._worker is not None:
            await self._worker.close()
        if self._backend is not None:
            await self._backend.close()

    def prompts(self, seed: int) -> Iterator[Prompt]:
        apart = held_out(self.held_out_seed)
        pairs = sorted(apart) if self.only == "held-out" else [pair for pair in PAIRS if pair not in apart]
        rng = random.Random(seed)
        while True:
            operation, name = rng.choice(pairs)
            yield Prompt(f"{operation} {name}")

    async def attempt(self, key: str, url: str, attempt: str) -> Judgement:
        operation, name = key.split()
        command = await self._asked(instruction(operation, name), url)
        files = contents(attempt)
        assert self._worker is not None
        found = await self._worker.carried_out(command, files, again=_chosen(attempt))
        good = found == wanted(operation, name, files)
        return Judgement(float(good), evidence=command[:200])

    async def _asked(self, text: str, url: str) -> str:
        """The agent: one question, and the answer is the command. A refusal of the gateway is no answer."""
        assert self._client is not None
        body = {
            "model": "policy",
            "messages": [{"role": "user", "content": text}],
            "max_tokens": ANSWER_TOKENS,
        }
        async with self._client.post(f"{url}/chat/completions", json=body) as response:
            if response.status >= 500:
                raise Unjudged(f"the gateway answered with status {response.status}")
            if response.status != 200:
                return ""
            said = (await response.json())["choices"][0]["message"]["content"]
            return (said or "").strip()


def _chosen(attempt: str) -> bool:
    """Whether an attempt is one of those that are carried out again."""
    return random.Random(f"again/{attempt}").randrange(AGAIN) == 0


@dataclass
class Worker:
    """A container that carries out commands; those that come while it works go together."""

    backend: DockerBackend
    image: str
    again: int = 0
    """Commands that were carried out again in a container of their own, with the same end."""
    _sandbox: Sandbox | None = None
    _waiting: list[tuple[str, dict[str, str], asyncio.Future[dict[str, str]]]] = field(default_factory=list)
    _busy: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._sandbox = await self._start()

    async def close(self) -> None:
        if self._busy is not None:
            self._busy.cancel()
            await asyncio.gather(self._busy, return_exceptions=True)
        if self._sandbox is not None:
            await self._sandbox.stop()

    async def carried_out(self, command: str, files: dict[str, str], *, again: bool) -> dict[str, str]:
        """What the command left of the files. Raises Unjudged for infrastructure."""
        future: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, files, future))
        if self._busy is None or self._busy.done():
            self._busy = asyncio.create_task(self._work())
        found = await future
        if again:
            await self._check(command, files, found)
        return found

    async def _work(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            assert self._sandbox is not None
            try:
                found = await _run(self._sandbox, [(command, files) for command, files, _ in taken])
            except SandboxError as error:
                for _, _, future in taken:
                    if not future.done():
                        future.set_exception(Unjudged(str(error)))
                continue
            for (_, _, future), left in zip(taken, found, strict=True):
                if not future.done():
                    future.set_result(left)

    async def _check(self, command: str, files: dict[str, str], found: dict[str, str]) -> None:
        """Raises FactoryError where a fresh container does not come to the same."""
        try:
            fresh = await self._start()
            try:
                (other,) = await _run(fresh, [(command, files)])
            finally:
                await fresh.stop()
        except SandboxError as error:
            raise Unjudged(str(error)) from error
        if other != found:
            raise FactoryError(
                f"The command {command!r} came to something else in a fresh container: the worker is spoilt."
            )
        self.again += 1

    async def _start(self) -> Sandbox:
        limits = Limits(memory_mb=256, cpus=1, pids=64)
        return await self.backend.start(
            SandboxSpec(image=self.image, network=Network.NONE, limits=limits, user="nobody", workdir="/tmp")
        )


async def worker_image(backend: DockerBackend, settings: Settings) -> str:
    """The image of the containers: Debian with Python. Made once."""
    base = await ensure_base(SUITE, settings, daemon=backend.daemon)
    tag = f"verifactory/file-operations:{content_id(base, DOCKERFILE)[:20]}"
    if not await backend.has_image(tag):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "Dockerfile").write_text(DOCKERFILE)
            seconds = settings.build_seconds
            await backend.build(Path(folder), tag=tag, build_args={"BASE": base}, timeout=seconds)
    return tag


async def _run(sandbox: Sandbox, asked: list[tuple[str, dict[str, str]]]) -> list[dict[str, str]]:
    written = "".join(json.dumps({"command": c, "files": f}) + "\n" for c, f in asked)
    done = await sandbox.exec(
        ["/usr/bin/python3", "-I", "-c", SCRIPT.read_text()], timeout=EXEC_SECONDS, stdin=written.encode()
    )
    lines = done.stdout.splitlines()
    if not done.ok or len(lines) != len(asked):
        raise SandboxError(f"Commands could not be carried out: {done.text(300)}")
    return [json.loads(line) for line in lines]
