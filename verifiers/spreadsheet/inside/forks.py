"""Work on a stranger's file in a child of its own, and the frames that jobs and answers travel in.

A child that hangs, crashes or runs out of memory ends alone, and its end is a report.
"""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import time
import traceback
from collections.abc import Callable
from typing import IO, Any

ANSWER_BYTES = 8 << 20


def forked(work: Callable[[], dict[str, Any]], name: str, seconds: float) -> dict[str, Any]:
    """What `work` on the file called `name` gives in a child of its own, or how the child ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        status = 1
        try:
            answer = json.dumps(work()).encode()
            with os.fdopen(writer, "wb") as stream:
                stream.write(answer[:ANSWER_BYTES])
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    answer = _until(reader, child, time.monotonic() + seconds)
    _, status = os.waitpid(child, 0)
    if answer is None:
        return _ended(f"{name} could not be graded within {seconds:.0f} s.")
    if os.WIFSIGNALED(status) or not answer:
        said = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "an error"
        return _ended(f"{name} ended its grader with {said}.")
    return json.loads(answer)


def _ended(reason: str) -> dict[str, Any]:
    return {
        "kind": "scored", "reason": reason, "reward": 0.0, "checks": [], "report": None, "crashed": True,
    }  # fmt: skip


def _until(reader: int, child: int, deadline: float) -> bytes | None:
    """All that the child writes; None if it had to be ended."""
    parts: list[bytes] = []
    try:
        while True:
            left = deadline - time.monotonic()
            ready = select.select([reader], [], [], max(0.0, left))[0] if left > 0 else []
            if not ready:
                os.kill(child, signal.SIGKILL)
                return None
            part = os.read(reader, 1 << 16)
            if not part:
                return b"".join(parts)
            parts.append(part)
            if sum(map(len, parts)) > ANSWER_BYTES:
                os.kill(child, signal.SIGKILL)
                return None
    finally:
        os.close(reader)


def frames(stream: IO[bytes]) -> Any:
    """(job, bytes) until the stream ends."""
    while len(head := stream.read(8)) == 8:
        size, more = struct.unpack(">II", head)
        yield json.loads(stream.read(size)), stream.read(more)


def answer(stream: IO[bytes], found: dict[str, Any]) -> None:
    data = json.dumps(found).encode()
    stream.write(struct.pack(">I", len(data)) + data)
    stream.flush()
