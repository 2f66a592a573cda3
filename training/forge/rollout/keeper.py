"""Runs a command and ends it, with all that it started, when standard input closes.

Standard input is a pipe of the process that wants the command: when that process dies, however it dies, the
pipe closes. So a killed trainer leaves no engine behind that holds the device. Nor does a keeper that is
killed itself: the kernel then sends the command SIGTERM (Linux). Imports nothing of ours.

    python keeper.py GRACE COMMAND …        # GRACE: seconds between SIGTERM and SIGKILL
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

PR_SET_PDEATHSIG = 1  # prctl(2)


def main(grace: float, command: list[str]) -> int:
    """The command's exit status, negative for a signal."""
    libc = ctypes.CDLL(None)

    def with_us() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=with_us)
    threading.Thread(target=_end_with_input, args=(child, grace), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: _signal(child, signal.SIGTERM))
    status = child.wait()
    _signal(child, signal.SIGKILL)  # what it started and left
    return status


def _end_with_input(child: subprocess.Popen[bytes], grace: float) -> None:
    while os.read(0, 1024):
        pass
    _signal(child, signal.SIGTERM)
    try:
        child.wait(grace)
    except subprocess.TimeoutExpired:
        _signal(child, signal.SIGKILL)


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):  # it has ended, as it should
        os.killpg(child.pid, number)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
