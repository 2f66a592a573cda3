"""The streams of a command over a connection whose other end is played here."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from envs.docker.stream import BoundedOutput, Ended, converse


def frame(text: bytes) -> bytes:
    return bytes([1, 0, 0, 0]) + len(text).to_bytes(4, "big") + text


@pytest.mark.parametrize("closes", [True, False], ids=["then-the-end", "held-open"])
def test_what_a_busy_daemon_passes_on_after_it_says_ended_is_read(closes: bool) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def daemon() -> None:
        time.sleep(0.5)  # it has been asked by now, and has said that the command is no more
        theirs.sendall(frame(b"the last line\n"))
        if closes:
            theirs.close()

    thread = threading.Thread(target=daemon)
    thread.start()
    output = BoundedOutput(1000)
    try:
        ended = converse(
            ours,
            b"",
            output,
            stdin=None,
            deadline=time.monotonic() + 60,
            has_ended=lambda: True,
            cancelled=threading.Event(),
        )
    finally:
        thread.join()
        ours.close()
        theirs.close()
    assert ended is Ended.STREAM
    assert bytes(output.stdout) == b"the last line\n"
