"""One process of a runner: what it said on the report stream, and the limits that end it.

The stream is JSON lines, written by a process that also runs the code under test. So every line is checked:
it must be an event, of a test that was collected and is running; anything else is recorded as a violation.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from account import Account, Broken, tail

GRACE_SECONDS = (
    3.0  # between the alarm inside a test and the watchdog out here; and for a process to end by itself
)
STREAM_BYTES = 128 << 20
LINE_BYTES = 1 << 20
LOG_BYTES = 16 << 10

PASSED, FAILED, ERROR, SKIPPED = "passed", "failed", "error", "skipped"
XFAILED, XPASSED, TIMEOUT, CRASHED = "xfailed", "xpassed", "timeout", "crashed"
# Worst first: of two results with one id the worse counts.
SEVERITY = (CRASHED, TIMEOUT, FAILED, ERROR, SKIPPED, XPASSED, XFAILED, PASSED)


class NotStarted(Broken):
    """There is no such program, or it cannot be run."""


@dataclass
class Segment:
    """One process of the runner: what it said on the stream, and how it ended."""

    collecting: str = ""
    collecting_file: str = ""
    collected: list[str] = field(default_factory=list)
    collection_finished: bool = False
    running: str = ""
    since: float = 0.0
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    collection_errors: dict[str, str] = field(default_factory=dict)
    canary: str = ""
    ended: int | None = None
    exit_code: int | None = None
    killed: str = ""  # '' | test | collection | idle | suite | exit | stream | enough
    decisive: Callable[[dict[str, Any]], bool] = lambda _: False
    """Whether a result settles all that is asked, so that the process need not go on."""
    out_of_memory: bool = False
    violations: list[str] = field(default_factory=list)
    log: bytes = b""
    read: int = 0
    buffer: bytes = b""

    def hear(self, data: bytes) -> None:
        """Output of the process: its end is kept."""
        self.log = (self.log + data)[-LOG_BYTES:]

    def feed(self, data: bytes, now: float) -> None:
        self.read += len(data)
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        if self.read > STREAM_BYTES or len(self.buffer) > LINE_BYTES:
            self.killed = "stream"
            self.violations.append("stream: more than a report can be")
            return
        for line in lines:
            self.since = now
            try:
                self._take(json.loads(line), now)
            except (ValueError, KeyError, TypeError, AttributeError):
                self.violations.append(f"stream: not an event: {tail(line, 80)!r}")

    def _take(self, event: dict[str, Any], now: float) -> None:
        kind = event["event"]
        if kind == "collect":
            self.collecting, self.collecting_file = _text(event["id"]), _text(event["file"])
        elif kind == "collection_error":
            self.collection_errors[_text(event["id"])] = readable(_text(event["message"]))
        elif kind == "collected":
            self.collected.extend(_text(name) for name in event["ids"])
        elif kind == "collection_finished":
            self.collection_finished, self.collecting, self.collecting_file = True, "", ""
        elif kind == "start":
            self.running = _text(event["id"])
            if self.running not in self.collected:
                self.violations.append(f"stream: a test that was not collected: {self.running}")
        elif kind == "finish":
            self._finish(_text(event["id"]), event)
        elif kind == "canary":
            self.canary = _text(event["status"])
        elif kind == "end":
            self.ended = int(event["status"])
        elif kind != "hello":
            raise ValueError(kind)

    def _finish(self, name: str, event: dict[str, Any]) -> None:
        if name != self.running or event["status"] not in SEVERITY:
            self.violations.append(f"stream: the end of a test that was not running: {name}")
            return
        self.running = ""
        self.settle(name, event["status"], float(event["seconds"]), _text(event["message"]))

    def settle(self, name: str, status: str, seconds: float, message: str) -> None:
        message = readable(message)
        known = self.results.get(name)
        if known is None or SEVERITY.index(status) < SEVERITY.index(known["status"]):
            self.results[name] = {
                "id": name,
                "status": status,
                "seconds": max(0.0, min(seconds, 1e6)),
                "message": message,
            }
            if not self.killed and self.decisive(self.results[name]):
                self.killed = "enough"

    def stuck_file(self) -> str:
        """The file whose collection ended the process; '' if another reason did (status 4 is pytest's usage
        error).
        """
        return "" if self.collection_finished or self.ended == 4 else self.collecting_file

    def failing(self) -> set[str]:
        return {name for name, result in self.results.items() if result["status"] in (FAILED, ERROR)}


def _text(value: str) -> str:
    """A string as a report may carry it: bounded, and without lone surrogates."""
    if not isinstance(value, str):
        raise TypeError(value)
    return value[:LINE_BYTES].encode("utf-8", "backslashreplace").decode()


def readable(message: str) -> str:
    """Without control characters, which terminals and databases act on."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", message)


@dataclass
class Process:
    """Starts a runner and watches it until it has ended, or has to be."""

    spec: dict[str, Any]
    account: Account
    argv: list[str]
    environment: dict[str, str]
    deadline: float

    def run(self, segment: Segment, stream: tuple[int, int] | None = None) -> None:
        """Run to the end. `stream` is a pipe for our reporter; a command that reports itself has none."""
        reader, writer = stream or (-1, -1)
        kills = _oom_kills()
        try:
            process = subprocess.Popen(
                self.argv, cwd=self.spec["workdir"], env=self.environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=[writer] if stream else [],
                start_new_session=True, preexec_fn=self.account.enter,
            )  # fmt: skip
        except OSError as error:
            raise NotStarted(f"{self.argv[0]} does not start: {error}") from None
        if stream:
            os.close(writer)
        segment.since = time.monotonic()
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector, process.stdout:
            for source in (*([reader] if stream else []), process.stdout.fileno()):
                os.set_blocking(source, False)
                selector.register(source, selectors.EVENT_READ)
            self._watch(process, segment, selector, reader)
            if process.poll() is None:
                process.kill()
                _signal_group(process.pid)
            process.wait()
            self.account.kill_all()
            while self._read(segment, selector, reader, timeout=0):
                pass
        if stream:
            os.close(reader)
        segment.exit_code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        segment.out_of_memory = _oom_kills() > kills

    def _watch(
        self,
        process: subprocess.Popen[bytes],
        segment: Segment,
        selector: selectors.BaseSelector,
        reader: int,
    ) -> None:
        ended_at = None
        while process.poll() is None and not segment.killed:
            self._read(segment, selector, reader, timeout=0.1)
            now = time.monotonic()
            if segment.ended is not None and ended_at is None:
                ended_at = now
            segment.killed = segment.killed or self._overdue(segment, now, ended_at)

    def _overdue(self, segment: Segment, now: float, ended_at: float | None) -> str:
        """Which limit the process has passed, if any."""
        if now > self.deadline:
            return "suite"
        if ended_at is not None:
            return "exit" if now > ended_at + GRACE_SECONDS else ""
        waited = now - segment.since
        if segment.running:
            return "test" if waited > self.spec["test_seconds"] + GRACE_SECONDS else ""
        if waited > self.spec["collect_seconds"]:
            return "idle" if segment.collection_finished else "collection"
        return ""

    def _read(self, segment: Segment, selector: selectors.BaseSelector, reader: int, timeout: float) -> bool:
        """Take what there is; a full report stream or a flood of output never blocks the watchdog."""
        got = False
        for key, _ in selector.select(timeout):
            try:
                data = os.read(key.fd, 1 << 18)
            except BlockingIOError:
                continue
            if not data:
                selector.unregister(key.fd)
            elif key.fd == reader:
                got = True
                if segment.killed != "stream":
                    segment.feed(data, time.monotonic())
            else:
                got = True
                segment.hear(data)
        if not selector.get_map():
            time.sleep(0.01)  # both pipes are closed and the process lives on: do not spin
        return got


def _signal_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it is gone, which is what was wanted
        os.killpg(pid, signal.SIGKILL)


# Of cgroup v2 and v1.
OOM_COUNTERS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")


def _oom_kills() -> int:
    """How often the kernel ended a process of this container for memory; 0 where it does not say."""
    for path in OOM_COUNTERS:
        try:
            found = re.search(r"^oom_kill (\d+)$", Path(path).read_text(), re.M)
        except OSError:
            continue
        if found:
            return int(found[1])
    return 0
