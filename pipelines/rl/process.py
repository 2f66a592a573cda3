"""An RL run as a process of its own, for a scheduler that starts and cancels it.

The process is `verifactory train rl CONFIG`. Cancelled, it is asked to stop as Ctrl-C does: it ends after the
step at hand, and the same configuration goes on from there. A scheduler that does not wait that long may kill
its own process; training has been told by then. Should that process die without a word, a shell on the other
end of a pipe sees the pipe close and tells training.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from warehouse.errors import FactoryError

PROGRAM = "from pipelines.cli import main; main()"
GUARD = 'read -r _; kill -INT "$1"'
LOOK_SECONDS = 1.0  # a cancellation may come as a flag that no system call wakes up for


def train(config: Path) -> None:
    """Runs until training has ended. Raises FactoryError where it failed; whatever interrupts the wait is
    raised again once training has stopped."""
    if not config.is_file():
        raise FactoryError(f"There is no RL configuration {config}; name the TOML file of a run.")
    running = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "train", "rl", str(config)], start_new_session=True
    )
    guard = subprocess.Popen(
        ["sh", "-c", GUARD, "sh", str(running.pid)], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        status = _ended(running)
    except BaseException:
        running.send_signal(signal.SIGINT)
        _ended(running)
        raise
    finally:
        guard.kill()  # before the number can be another process's
        guard.communicate()
    if status:
        raise FactoryError(f"Training by {config} ended with status {status}; its log says why.")


def _ended(running: subprocess.Popen[bytes]) -> int:
    while running.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            running.wait(LOOK_SECONDS)
    assert running.returncode is not None
    return running.returncode
