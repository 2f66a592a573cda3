"""An ephemeral Prefect server that never outlives its command.

Prefect starts it as a child and stops it at exit. A `kill -9` runs no exit, and the orphan would stay for
good, holding the command's stderr open, so that whatever reads it waits for ever. A guard, which is a shell
on the other end of a pipe, sees the pipe close however the command ends, and ends the server.
"""

from __future__ import annotations

import subprocess
from typing import Any

from prefect.server.api.server import SubprocessASGIServer

# The name is asked first: after an ordinary exit the id may be another process's. Small
# machines have no `ps`, and others no /proc.
_GUARD = """
read -r _
if [ -e /proc/self/cmdline ]; then
    said=$(tr '\\0' ' ' <"/proc/$1/cmdline")
else
    said=$(ps -o args= -p "$1")
fi
case "$said" in *uvicorn*) kill "$1" ;; esac
"""


def guard_ephemeral_server() -> None:
    """Guard every server that Prefect will start in this process."""
    start = SubprocessASGIServer._run_uvicorn_command

    def guarded(self: SubprocessASGIServer) -> subprocess.Popen[Any]:
        server = start(self)
        global _guard
        _guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "sh", str(server.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is not for it
        )
        return server

    SubprocessASGIServer._run_uvicorn_command = guarded


_guard: subprocess.Popen[bytes] | None = None  # its pipe closes with this process
