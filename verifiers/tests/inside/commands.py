"""A run of a suite that is a command and reports by itself, in the format of its own runner.

The command and the build before it run as the account under test. When no process of it is alive any more,
the log and the report files are read: regular files, bounded, through no link. What they say is parsed by the
modules `report_<name>.py` beside this one and compared: report with log, both with the exit status. A report
is evidence of the process that wrote it, as a stream is. A build that fails, or a log without a report, is
a run without results: the tests are missing, and nobody's environment is broken.
"""

from __future__ import annotations

import importlib
import math
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from account import Broken
from segment import CRASHED, ERROR, FAILED, LOG_BYTES, PASSED, TIMEOUT, XFAILED, Process, Segment
from suite import MESSAGE_CHARS, Suite

OUTPUT_BYTES = 64 << 20  # of one run's log, and of all its report files
REPORT_FILES = 5000
ID_CHARS = 4096
NOT_STARTED = 127
SEEDS = 65535  # what every runner takes

FAILING = (FAILED, ERROR, TIMEOUT, CRASHED)
PASSING = (PASSED, XFAILED)
# What a parser may raise on a report that is none.
UNREADABLE = (
    ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, MemoryError, ParseError,
)  # fmt: skip


@dataclass
class Heard(Segment):
    """A command: all that it said is its report, up to a bound."""

    output: bytearray = field(default_factory=bytearray)
    overflow: bool = False

    def hear(self, data: bytes) -> None:
        super().hear(data)
        self.overflow = self.overflow or len(self.output) + len(data) > OUTPUT_BYTES
        if not self.overflow:
            self.output += data


class CommandSuite(Suite):
    """One run: build, command, report."""

    def _prepare(self) -> None:
        """A command brings all it needs."""

    def run(self, seed: int | None = None, faketime: str = "") -> None:
        self.tree.restore()
        arguments = [argument for argument in self.spec["args"] if self._present(argument)]
        if self.spec["args"] and not arguments:
            return
        self._clear()
        if self.spec["build"]:
            built = self._step(self.spec["build"], [], seed, "")
            if built.killed or built.exit_code:
                self.outcome = _ended(built) or "build_failed"
                return
        heard = self._step(self.spec["command"], arguments, seed, faketime)
        results, errors = self._read(heard)
        self.results = results
        self.collection_errors = errors
        self.outcome = _ended(heard) or ("finished" if results or errors else "no_tests")
        if not heard.killed and not heard.out_of_memory:
            self.disagreements += self._exit(heard.exit_code)

    def _step(self, command: list[str], arguments: list[str], seed: int | None, faketime: str) -> Heard:
        """Run a command to its end or the suite's limit."""
        values = self._values(seed)
        argv = [text for part in command if (text := _filled(part, values)) is not None] + arguments
        environment = self.environment(seed, faketime)
        filled = {name: _filled(text, values) for name, text in environment.items()}
        heard = Heard(collection_finished=True)
        limits = self.spec | {"collect_seconds": self.spec["suite_seconds"]}
        present = {name: text for name, text in filled.items() if text is not None}
        try:
            Process(limits, self.account, argv, present, self.deadline).run(heard)
        except (
            Broken
        ) as error:  # its smoke run started it: a state or a submission lacks the project's own script
            heard.exit_code, heard.log = NOT_STARTED, str(error).encode()
        self.exit_code = None if heard.killed else heard.exit_code
        self.log = (self.log + heard.log)[-LOG_BYTES:]
        return heard

    def _values(self, seed: int | None) -> dict[str, str | None]:
        return {
            "{out}": str(self.out),
            "{seed}": None if seed is None else str(seed % SEEDS + 1),
            "{test_seconds}": str(math.ceil(self.spec["test_seconds"])),
            "{suite_seconds}": str(math.ceil(self.spec["suite_seconds"])),
        }

    def _clear(self) -> None:
        """Remove what looks like a report before there can be one."""
        for root, path in self._matching():
            if root == self.out or os.path.relpath(path, root) not in self.tree.pristine:
                path.unlink()

    def _matching(self) -> Iterator[tuple[Path, Path]]:
        """Files (and links) that the spec's globs name, with the folder that they are named below."""
        for glob in self.spec["report_files"]:
            private = glob.startswith("{out}/")
            root = self.out if private else self.tree.root
            pattern = _glob_pattern(glob[len("{out}/") :] if private else glob)
            for folder, folders, files in os.walk(root):
                folders.sort()
                if folder == str(root) and ".git" in folders:
                    folders.remove(".git")
                for name in sorted(files):
                    path = Path(folder, name)
                    if pattern.fullmatch(os.path.relpath(path, root)):
                        yield root, path

    def _files(self) -> dict[str, bytes]:
        """The report files, by relative path. What is no plain file of bounded size is no report."""
        found: dict[str, bytes] = {}
        left = OUTPUT_BYTES
        for root, path in self._matching():
            name = os.fsencode(os.path.relpath(path, root)).decode("utf-8", "backslashreplace")
            if root == self.tree.root and name in self.tree.pristine:
                continue
            data = _plain_file(path, left)
            if data is None or len(found) >= REPORT_FILES:
                self.disagreements.append(f"report: not a report, or more than one can be: {name[:200]}")
                continue
            left -= len(data)
            found[name] = data
        return found

    def _read(self, heard: Heard) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
        """(results, collection errors) by id."""
        if heard.overflow:
            self.disagreements.append("report: more output than a report can be")
        files = self._files()
        log = bytes(heard.output)
        other = self.spec["log_report"]
        if self.spec["report_files"] and not files and other:
            return self._parsed(other, log, {})
        results, errors = self._parsed(self.spec["report"], log, files)
        if files and other and results and not heard.overflow:
            told, _ = self._parsed(other, log, {})
            self.disagreements += _contradictions(results, told)
        return results, errors

    def _parsed(
        self, name: str, log: bytes, files: dict[str, bytes]
    ) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
        try:
            parser = importlib.import_module(f"report_{name}")
        except ImportError as error:
            raise Broken(f"The bundle has no parser report_{name}: {error}") from None
        tests, errors = Segment(), Segment()
        try:
            for entry in parser.parse(log, files):
                kept = errors if entry.get("collection") else tests
                kept.settle(*_entry(entry))
        except UNREADABLE as error:
            if files:  # a log without a test in it is a run without results, and contradicts nothing
                self.disagreements.append(f"report: unreadable: {type(error).__name__}: {error}"[:300])
            return {}, {}
        return tests.results, errors.results

    def _exit(self, code: int | None) -> list[str]:
        """What the exit status says against the report."""
        failing = [name for name, result in self.results.items() if result["status"] in FAILING]
        if code == 0 and (failing or self.collection_errors):
            return [
                f"exit: status 0, but {len(failing)} tests failed"
                f" and {len(self.collection_errors)} files were not collected"
            ]
        if code and self.results and not failing and not self.collection_errors:
            return [f"exit: status {code}, but no test failed"]
        return []


def _ended(heard: Heard) -> str:
    """The outcome of a command that a limit ended; '' for one that ended by itself."""
    if heard.killed:
        return "timeout"
    return "oom" if heard.out_of_memory and heard.exit_code else ""


def _filled(text: str, values: dict[str, str | None]) -> str | None:
    """`text` with its placeholders filled; None when it names one that this run has no value for."""
    for name, value in values.items():
        if name in text:
            if value is None:
                return None
            text = text.replace(name, value)
    return text


def _entry(entry: dict[str, Any]) -> tuple[str, str, float, str]:
    """(id, status, seconds, message) as a report may carry them. Raises ValueError or TypeError."""
    name, status, seconds = entry["id"], entry["status"], float(entry.get("seconds") or 0.0)
    if not isinstance(name, str) or not name or len(name) > ID_CHARS:
        raise ValueError("a test without an id")
    if status not in (*FAILING, *PASSING, "skipped", "xpassed"):
        raise ValueError(f"no status: {status!r}"[:100])
    plain = name.encode("utf-8", "backslashreplace").decode()
    message = str(entry.get("message") or "")[:MESSAGE_CHARS].encode("utf-8", "backslashreplace").decode()
    return plain, status, seconds if math.isfinite(seconds) else 0.0, message


def _contradictions(results: dict[str, dict[str, Any]], told: dict[str, dict[str, Any]]) -> list[str]:
    """Tests that passed by one channel and failed by the other."""
    found = []
    for name in results.keys() & told.keys():
        both = results[name]["status"], told[name]["status"]
        if (both[0] in PASSING and both[1] in FAILING) or (both[0] in FAILING and both[1] in PASSING):
            found.append(f"log: {both[1]} there, {both[0]} in the report: {name}")
    return sorted(found)[:20]


def _plain_file(path: Path, limit: int) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_size > limit:
            return None
        return file.read(limit)


def _glob_pattern(glob: str) -> re.Pattern[str]:
    """`**/` is any folders, `*` and `?` stay inside one name."""
    pattern = ""
    for part in re.split(r"(\*\*/|\*|\?)", glob):
        pattern += {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}.get(part, re.escape(part))
    return re.compile(pattern)
