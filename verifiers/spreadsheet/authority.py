"""The authority, warm: a container in which LibreOffice waits for workbooks.

It is for work in bulk: generating tasks, measuring, rejection sampling. The grader inside is the bundle's own
(`inside/`), each workbook gets a process and a document of its own, and a server that a workbook brought down
is replaced. What one workbook did to the server's memory may still be there for the next; where that matters,
grade the bundle (`verifiers.spreadsheet.SpreadsheetVerifier`), which uses a fresh container each time.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from envs.sandbox import Limits, Network, Sandbox, SandboxBackend, SandboxError, SandboxSpec
from verifiers.spreadsheet.child import INSIDE, frame
from verifiers.spreadsheet.image import office_image
from warehouse.settings import Settings

GRADER = "/opt/grader"
SOCKET = "/run/grader.sock"
START_SECONDS = 180.0
ASK_SECONDS = 180.0
START = f"""
setsid python3 -I {GRADER}/serve.py --office --socket {SOCKET} >/run/grader.log 2>&1 </dev/null &
while kill -0 $! 2>/dev/null; do [ -S {SOCKET} ] && exit 0; sleep 0.05; done
tail -c 2000 /run/grader.log; exit 1
"""


class Authority:
    """One warm container. Use as `async with`."""

    def __init__(self, backend: SandboxBackend, settings: Settings, *, limits: Limits | None = None) -> None:
        self._backend, self._settings = backend, settings
        self._limits = limits or Limits(memory_mb=max(settings.memory_mb, 2048), cpus=settings.cpus)
        self.sandbox: Sandbox | None = None

    async def start(self) -> None:
        """Raises SandboxError where there is no container, or no LibreOffice in it."""
        image = await office_image(self._backend, self._settings)
        self.sandbox = await self._backend.start(
            SandboxSpec(
                image=image.tag,
                network=Network.NONE,
                limits=self._limits,
                workdir="/",
                user="root",
                runtime=self._settings.runtime,
            )
        )
        files: dict[str, bytes | Path] = {
            f"{GRADER}/{source.name}": source for source in sorted(INSIDE.glob("*.py"))
        }
        await self.sandbox.upload(files)
        done = await self.sandbox.exec(["/bin/sh", "-c", START], timeout=START_SECONDS)
        if not done.ok:
            raise SandboxError(f"The warm grader of workbooks did not start: {done.text(1000)}")

    async def ask(self, job: Mapping[str, Any], data: bytes) -> dict[str, Any]:
        """The answer to a job (`child.grade_job`, `child.values_job`). Raises SandboxError."""
        return (await self.ask_all([(job, data)]))[0]

    async def ask_all(self, jobs: Sequence[tuple[Mapping[str, Any], bytes]]) -> list[dict[str, Any]]:
        """The answers to several jobs, asked in one command of the container: most of the cost is its."""
        if self.sandbox is None:
            await self.start()
        assert self.sandbox is not None
        done = await self.sandbox.exec(
            ["python3", "-I", "-S", f"{GRADER}/call.py", SOCKET],
            timeout=ASK_SECONDS * len(jobs),
            stdin=b"".join(frame(job, data) for job, data in jobs),
        )
        answers = list(_answers(done.stdout)) if done.ok else []
        if len(answers) != len(jobs):
            await self.stop()
            raise SandboxError(f"The warm grader of workbooks did not answer: {done.text(1000)}")
        return answers

    async def stop(self) -> None:
        """Remove the container. Idempotent."""
        sandbox, self.sandbox = self.sandbox, None
        if sandbox is not None:
            await sandbox.stop()

    async def __aenter__(self) -> Authority:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


def _answers(said: bytes) -> Iterator[dict[str, Any]]:
    """The framed answers in what the command wrote."""
    while len(said) >= 4:
        (size,) = struct.unpack(">I", said[:4])
        yield json.loads(said[4 : 4 + size])
        said = said[4 + size :]
