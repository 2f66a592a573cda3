"""`go test -json`: one event a line, of a package or of one of its tests.

A test's id is `package::Test/subtest`. A package that did not build is a collection error; one that fails
although no test of it did (its `TestMain` ended it, say) is an error of its own. One that a panic ends is a
collection error besides: the tests behind it were never reached. Builds speak between the events, before Go
1.24 as plain text.
"""

from __future__ import annotations

import json
import re
from typing import Any

STATUS = {"pass": "passed", "fail": "failed", "skip": "skipped"}
MESSAGE_CHARS = 2000
NOISE = re.compile(r"^\s*(=== (RUN|PAUSE|CONT|NAME)\b|--- (PASS|FAIL|SKIP): )")
ENDED = re.compile(r"^(panic: |fatal error: )")
NOT_BUILT = re.compile(r"^FAIL\t(\S+) \[(?:build|setup) failed\]")


def parse(log: bytes, files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Tests in the order in which they began. Raises ValueError when there is no event in the log."""
    reader = _Reader()
    for line in log.split(b"\n"):
        text = line.decode("utf-8", "replace")
        event = _event(text)
        if event is None:
            reader.said(text)
        else:
            reader.take(event)
    if not reader.events and not reader.not_built:
        raise ValueError("no event of go test -json")
    return reader.entries()


def _event(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("Action"), str) else None


class _Reader:
    def __init__(self) -> None:
        self.events = 0
        self.tests: dict[str, dict[str, Any]] = {}
        self.output: dict[str, str] = {}
        self.ended: dict[str, str] = {}  # package → its last word
        self.not_built: dict[str, bool] = {}
        self.cut: set[str] = set()  # packages that ended before their tests had
        self.build = ""  # the package whose build speaks

    def said(self, text: str) -> None:
        """A line that is no event: a build's."""
        if match := NOT_BUILT.match(text):
            self.not_built[match[1]] = True
        elif match := re.match(r"# (\S+)", text):
            self.build = match[1]
        elif self.build:
            self.add(self.build, text + "\n")

    def add(self, name: str, text: str) -> None:
        known = self.output.get(name, "")
        if len(known) < MESSAGE_CHARS and not NOISE.match(text):
            self.output[name] = known + text[:MESSAGE_CHARS]

    def take(self, event: dict[str, Any]) -> None:
        self.events += 1
        action = event["Action"]
        package, test = _text(event.get("Package")), _text(event.get("Test"))
        if action == "build-output":
            self.add(_text(event.get("ImportPath")).partition(" ")[0], _text(event.get("Output")))
        elif not package:
            return
        elif action == "output":
            text = _text(event.get("Output"))
            self.add(f"{package}::{test}" if test else package, text)
            if match := NOT_BUILT.match(text):
                self.not_built[match[1]] = True
            if ENDED.match(text):
                self.cut.add(package)
        elif test:
            self.of_test(f"{package}::{test}", action, event.get("Elapsed"))
        elif action in STATUS:
            self.ended[package] = action
            if event.get("FailedBuild"):
                self.not_built[package] = True

    def of_test(self, name: str, action: str, seconds: object) -> None:
        entry = self.tests.setdefault(name, {"id": name, "status": "", "seconds": 0.0, "message": ""})
        if action in STATUS:
            entry["status"] = STATUS[action]
            entry["seconds"] = float(seconds) if isinstance(seconds, (int, float)) else 0.0

    def entries(self) -> list[dict[str, Any]]:
        found = []
        failing = set()
        for name, entry in self.tests.items():
            package = name.partition("::")[0]
            if not entry["status"]:
                entry["status"] = "error"
                self.cut.add(package)
                self.output[name] = "did not end\n" + self.output.get(name, "")
            if entry["status"] in ("failed", "error"):
                failing.add(package)
                entry["message"] = self.message(name)
            elif entry["status"] == "skipped":
                entry["message"] = self.message(name)
            found.append(entry)
        for package, action in self.ended.items():
            if action == "fail" and package not in failing:
                ran = any(name.startswith(package + "::") for name in self.tests)
                self.not_built.setdefault(package, not ran)
        for package in self.cut & failing:
            self.not_built[package] = True
        for package, nothing_ran in self.not_built.items():
            entry = {"id": package, "status": "error", "seconds": 0.0, "message": self.message(package)}
            found.append({**entry, "collection": True} if nothing_ran else entry)
        return found

    def message(self, name: str) -> str:
        return self.output.get(name, "").strip()[:MESSAGE_CHARS]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
