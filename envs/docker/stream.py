"""The attached streams of one command: bounded in memory, never blocking the command, ended by a deadline.

The daemon multiplexes stdout and stderr over one connection in frames of an 8-byte header (stream, length)
and a payload. What goes past the limit is read and dropped, so that a command can print for ever without
filling our memory and without stalling on a full pipe. A command's end is told by the end of the stream or,
where a process that it left behind still holds the stream open, by the daemon.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

CHUNK = 1 << 16
LOOK_SECONDS = 0.25  # between looks at the cancel flag
ASK_SECONDS = (0.25, 1.0)  # between questions to the daemon whether the command has ended: at first, at last
# A busy daemon says that a command has ended before it has passed on what that printed last. The end of
# the stream follows, unless a process that was left behind holds it open.
LAST_SECONDS = 1.0
_HEADER = 8
WAITS = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Ended(Enum):
    STREAM = "stream"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"


@dataclass
class BoundedOutput:
    """The first `limit` bytes of each stream, parsed from frames as they come."""

    limit: int
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    truncated: bool = False
    _head: bytearray = field(default_factory=bytearray)
    _left: int = 0
    _stream: int = 1

    def feed(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while len(view):
            if self._left:
                taken = min(self._left, len(view))
                self._keep(view[:taken])
                self._left -= taken
                view = view[taken:]
                continue
            taken = min(_HEADER - len(self._head), len(view))
            self._head += view[:taken]
            view = view[taken:]
            if len(self._head) == _HEADER:
                self._stream, self._left = self._head[0], int.from_bytes(self._head[4:], "big")
                self._head.clear()

    def _keep(self, payload: memoryview) -> None:
        kept = self.stderr if self._stream == 2 else self.stdout
        room = self.limit - len(kept)
        if room < len(payload):
            self.truncated = True
        if room > 0:
            kept += payload[:room]


def attached(raw: Any) -> tuple[socket.socket, bytes]:
    """The socket under the SDK's `exec_start(socket=True)`, and bytes that were read ahead of it.

    The HTTP client reads headers through a buffer; frames that came in the same packet lie there, and the
    SDK's own reader loses them. The socket comes back non-blocking.
    """
    plain = getattr(raw, "_sock", raw)
    plain.setblocking(False)
    buffered = raw._response.raw._fp.fp
    return plain, buffered.peek()


def converse(
    connection: socket.socket,
    early: bytes,
    output: BoundedOutput,
    *,
    stdin: bytes | None,
    deadline: float,
    has_ended: Callable[[], bool],
    cancelled: threading.Event,
) -> Ended:
    """Write `stdin`, read frames into `output`, until the stream ends, `deadline` (monotonic) passes or
    `cancelled`.
    """
    output.feed(early)
    to_write = memoryview(stdin or b"")
    asked, patience, last = time.monotonic(), ASK_SECONDS[0], float("inf")
    with selectors.DefaultSelector() as selector:
        both = selectors.EVENT_READ | selectors.EVENT_WRITE
        selector.register(connection, both if to_write else selectors.EVENT_READ)
        if stdin is not None and not to_write:
            _end_of_input(connection)
        while True:
            now = time.monotonic()
            if now >= deadline:
                return Ended.DEADLINE
            if cancelled.is_set():
                return Ended.CANCELLED
            if now >= last:
                return Ended.STREAM
            ready = selector.select(min(LOOK_SECONDS, deadline - now))
            events = ready[0][1] if ready else 0
            if events & selectors.EVENT_READ and not _read(connection, output):
                return Ended.STREAM
            if events & selectors.EVENT_WRITE:
                to_write = _write(connection, to_write)
                if not to_write:
                    selector.modify(connection, selectors.EVENT_READ)
                    _end_of_input(connection)
            if last == float("inf") and time.monotonic() - asked >= patience:
                if has_ended():
                    last = time.monotonic() + LAST_SECONDS
                asked, patience = time.monotonic(), min(patience * 2, ASK_SECONDS[1])


def _read(connection: socket.socket, output: BoundedOutput) -> bool:
    """Take what is there; False at the end of the stream."""
    for _ in range(64):
        try:
            data = connection.recv(CHUNK)
        except WAITS:
            return True
        if not data:
            return False
        output.feed(data)
    return True


def _write(connection: socket.socket, data: memoryview) -> memoryview:
    try:
        return data[connection.send(data[:CHUNK]) :]
    except WAITS:
        return data
    except (BrokenPipeError, ConnectionResetError):
        return data[:0]  # the command closed its input; that is its business


def _end_of_input(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        return  # already closed from the other side
