"""Whom the code under test runs as, what it may use, and how all that it started is ended."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import resource
import signal
import time
from dataclasses import dataclass
from pathlib import Path

FILE_BYTES = 1 << 30  # the largest file that code under test may write


class Malformed(Exception):
    """The submission cannot be applied: its own fault."""


class Broken(Exception):
    """The environment or the bundle is broken: nobody's submission is to blame."""


def tail(data: bytes, size: int) -> str:
    """The end of some output, for a message."""
    return data[-size:].decode("utf-8", "replace").strip()


@dataclass(frozen=True)
class Account:
    """Whom the code under test runs as. '' in the spec is the present user, for suites that are trusted."""

    name: str
    uid: int
    gid: int
    own: bool

    @classmethod
    def named(cls, name: str) -> Account:
        if not name:
            return cls("", os.getuid(), os.getgid(), own=False)
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise Broken(f"The image has no user {name!r} to run tests as.") from None
        if entry.pw_uid in (0, os.getuid()):
            raise Broken(f"The user {name!r} may not be the one that the supervisor runs as.")
        return cls(name, entry.pw_uid, entry.pw_gid, own=True)

    def enter(self) -> None:
        """In the child, before exec: bounded files, no core, first to go when memory ends, and no way back to
        root.
        """
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
        os.umask(0o022)
        try:
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")
        except OSError:
            pass  # a kernel without it: the largest process goes first, which is the suite
        if self.own:
            os.setgroups([self.gid])
            os.setgid(self.gid)
            os.setuid(self.uid)

    def kill_all(self) -> None:
        """End every process of this user, until none is left: daemons and fork bombs too."""
        if not self.own:
            return
        for attempt in range(200):
            victims = [int(name) for name in os.listdir("/proc") if name.isdigit() and self._owns(name)]
            if not victims:
                return
            for pid in victims:  # stopped first, so that they cannot fork faster than they are ended
                _signal(pid, signal.SIGSTOP)
            for pid in victims:
                _signal(pid, signal.SIGKILL)
            time.sleep(min(0.01 * (attempt + 1), 0.2))
        raise Broken(f"Processes of {self.name!r} cannot be ended.")

    def _owns(self, pid: str) -> bool:
        try:
            text = Path("/proc", pid, "status").read_text()
        except OSError:
            return False
        state = re.search(r"^State:\s+(\S)", text, re.M)
        uids = re.search(r"^Uid:\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", text, re.M)
        return bool(state and state[1] != "Z" and uids and str(self.uid) in uids.groups())


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it is gone, which is what was wanted
        os.kill(pid, number)
