"""Many connections over one pair of streams: both ends of what carries a sandbox's requests to this machine.

One end runs in a container that lies on the sandbox's wire and has no other network: it takes connections
and carries them over its standard streams (`python3 -c` of this very file, so nothing but the standard
library). The other end is a thread of ours that opens a unix socket for each. So a sandbox reaches exactly
that socket, no port of this machine is open to it, and it works where the daemon is far away.

A frame is a connection's number, a kind and a length, then so many bytes. Buffers are bounded: an end whose
buffers are full reads no more, which holds up nobody but this one sandbox.
"""

from __future__ import annotations

import os
import selectors
import socket
import ssl
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

HEAD = struct.Struct("!IBI")
READY, OPEN, DATA, END, ABORT = range(5)
CHUNK = 1 << 16
FULL = 4 << 20  # bytes in all buffers of one direction
MOST = 64  # connections at a time
LONGEST = 1 << 20  # of a frame: more is a broken stream
_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Trunk(Protocol):
    """The pair of streams. Never blocks."""

    @property
    def files(self) -> tuple[object, object]:
        """What to wait on for reading, and for writing."""
        ...

    def read(self) -> bytes | None:
        """What is there; None for nothing yet, empty at the end."""
        ...

    def write(self, data: memoryview) -> int:
        """How much of it went."""
        ...


class Standard:
    """The standard streams of a process."""

    files = (0, 1)

    def __init__(self) -> None:
        os.set_blocking(0, False)
        os.set_blocking(1, False)

    def read(self) -> bytes | None:
        try:
            return os.read(0, CHUNK)
        except BlockingIOError:
            return None

    def write(self, data: memoryview) -> int:
        try:
            return os.write(1, data)
        except BlockingIOError:
            return 0


@dataclass(eq=False)
class Branch:
    """One connection."""

    number: int
    sock: socket.socket
    out: bytearray = field(default_factory=bytearray)
    heard_all: bool = False  # its own side has ended
    told_all: bool = False  # the other side has ended, once `out` is written


class Mux:
    """Carries connections until the trunk ends. `listener` gives new ones, or `connect` opens those that the
    other end began.
    """

    def __init__(
        self,
        trunk: Trunk,
        *,
        listener: socket.socket | None = None,
        connect: Callable[[], socket.socket] | None = None,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._trunk, self._listener, self._connect, self._ready = trunk, listener, connect, ready
        self._selector = selectors.DefaultSelector()
        self._watched: dict[object, int] = {}
        self._branches: dict[int, Branch] = {}
        self._of_socket: dict[object, Branch] = {}
        self._held, self._out = bytearray(), bytearray()
        self._opened, self._over = 0, False

    def run(self) -> None:
        """Returns when the trunk has ended."""
        try:
            if self._listener is not None:
                self._listener.setblocking(False)
                self._send(0, READY)
            while not self._over:
                self._step()
        except OSError:
            return  # the trunk broke, which ends it as well
        finally:
            for branch in list(self._branches.values()):
                self._drop(branch)
            self._selector.close()

    def _step(self) -> None:
        self._watch_all()
        reading, writing = self._trunk.files
        for key, events in self._selector.select():
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj in (reading, writing):
                if events & selectors.EVENT_WRITE:
                    self._flush()
                if events & selectors.EVENT_READ:
                    self._read_trunk()
            elif (branch := self._of_socket.get(key.fileobj)) is not None:
                self._serve(branch, events)

    def _watch_all(self) -> None:
        room_out = len(self._out) < FULL
        room_in = sum(len(branch.out) for branch in self._branches.values()) < FULL
        wanted: dict[object, int] = {}
        reading, writing = self._trunk.files
        wanted[reading] = selectors.EVENT_READ if room_in else 0
        wanted[writing] = wanted.get(writing, 0) | (selectors.EVENT_WRITE if self._out else 0)
        if self._listener is not None:
            wanted[self._listener] = selectors.EVENT_READ if len(self._branches) < MOST else 0
        for branch in self._branches.values():
            events = selectors.EVENT_READ if room_out and not branch.heard_all else 0
            wanted[branch.sock] = events | (selectors.EVENT_WRITE if branch.out else 0)
        for file, events in wanted.items():
            self._watch(file, events)
        for file in set(self._watched) - set(wanted):
            self._watch(file, 0)

    def _watch(self, file: object, events: int) -> None:
        before = self._watched.get(file, 0)
        if events == before:
            return
        if not events:
            self._selector.unregister(file)  # ty: ignore[invalid-argument-type]
            del self._watched[file]
            return
        change = self._selector.modify if before else self._selector.register
        change(file, events)  # ty: ignore[invalid-argument-type]
        self._watched[file] = events

    def _accept(self) -> None:
        assert self._listener is not None
        with suppress(BlockingIOError):
            sock, _ = self._listener.accept()
            self._opened += 1
            self._add(self._opened, sock)
            self._send(self._opened, OPEN)

    def _add(self, number: int, sock: socket.socket) -> Branch:
        sock.setblocking(False)
        branch = self._branches[number] = self._of_socket[sock] = Branch(number, sock)
        return branch

    def _send(self, number: int, kind: int, data: bytes = b"") -> None:
        self._out += HEAD.pack(number, kind, len(data)) + data
        self._flush()

    def _flush(self) -> None:
        while self._out:
            with memoryview(self._out)[:CHUNK] as part:
                went = self._trunk.write(part)
            if not went:
                return
            del self._out[:went]

    def _read_trunk(self) -> None:
        """All that is there: what TLS holds back no selector tells of."""
        while (data := self._trunk.read()) is not None:
            if not data:
                self._over = True
                return
            self._held += data
            while len(self._held) >= HEAD.size:
                number, kind, length = HEAD.unpack_from(self._held)
                if length > LONGEST:
                    raise OSError("the stream is broken")
                if len(self._held) < HEAD.size + length:
                    break
                body = bytes(self._held[HEAD.size : HEAD.size + length])
                del self._held[: HEAD.size + length]
                self._take(number, kind, body)

    def _take(self, number: int, kind: int, body: bytes) -> None:
        if kind == READY:
            self._ready()
            return
        if kind == OPEN and self._connect is not None:
            try:
                self._add(number, self._connect())
            except OSError:
                self._send(number, ABORT)
            return
        branch = self._branches.get(number)
        if branch is None:
            return  # of a connection that has ended here
        if kind == ABORT:
            self._drop(branch)
        elif kind == END:
            branch.told_all = True
            self._end_if_told(branch)
        else:
            branch.out += body
            self._serve(branch, selectors.EVENT_WRITE)

    def _serve(self, branch: Branch, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE and branch.out:
                with suppress(*_WAIT):
                    del branch.out[: branch.sock.send(branch.out)]
                self._end_if_told(branch)
            if events & selectors.EVENT_READ and branch.number in self._branches:
                data = branch.sock.recv(CHUNK)
                branch.heard_all = not data
                self._send(branch.number, DATA if data else END, data)
                self._drop_if_done(branch)
        except _WAIT:
            return
        except OSError:
            self._drop(branch)
            self._send(branch.number, ABORT)

    def _end_if_told(self, branch: Branch) -> None:
        if branch.told_all and not branch.out:
            with suppress(OSError):  # it is gone; reading will say so
                branch.sock.shutdown(socket.SHUT_WR)
            self._drop_if_done(branch)

    def _drop_if_done(self, branch: Branch) -> None:
        if branch.heard_all and branch.told_all and not branch.out:
            self._drop(branch)

    def _drop(self, branch: Branch) -> None:
        self._watch(branch.sock, 0)
        self._branches.pop(branch.number, None)
        self._of_socket.pop(branch.sock, None)
        branch.sock.close()


if __name__ == "__main__":
    Mux(Standard(), listener=socket.create_server(("0.0.0.0", int(sys.argv[1])), backlog=MOST)).run()
