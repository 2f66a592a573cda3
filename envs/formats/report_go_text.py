"""`go test -v`: the text that people read. A package's own line comes after those of its tests."""

from __future__ import annotations

import re
from typing import Any

STATUS = {"PASS": "passed", "FAIL": "failed", "SKIP": "skipped"}
MESSAGE_CHARS = 2000
RESULT = re.compile(r"^ *--- (PASS|FAIL|SKIP): (\S+) \((\d+(?:\.\d+)?)s\)\s*$")
RUN = re.compile(r"^=== RUN +(\S+)\s*$")
NOT_BUILT = re.compile(r"^FAIL\t(\S+) \[(?:build|setup) failed\]")
PACKAGE = re.compile(r"^(ok  |FAIL|\?   )\t(\S+)(?:\t|$)")
MARK = re.compile(r"^(=== |PASS$|FAIL$|exit status )")


def parse(log: bytes, files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Tests in order, named like those of `go test -json`. Raises ValueError for other text."""
    found: list[dict[str, Any]] = []
    reader = _Package()
    seen = False
    for line in log.decode("utf-8", "replace").split("\n"):
        if match := NOT_BUILT.match(line):
            seen = True
            found.append(
                {"id": match[1], "status": "error", "seconds": 0.0, "message": "", "collection": True}
            )
        elif match := PACKAGE.match(line):
            seen = True
            found.extend(reader.entries(match[2], failed=match[1] == "FAIL"))
            reader = _Package()
        else:
            reader.take(line)
    if not seen and not reader.tests:
        raise ValueError("no output of go test")
    return found


class _Package:
    """What was said since the last package ended."""

    def __init__(self) -> None:
        self.tests: dict[str, dict[str, Any]] = {}
        self.current = ""
        self.output: dict[str, str] = {}

    def take(self, line: str) -> None:
        if match := RESULT.match(line):
            entry = self.test(match[2])
            entry["status"], entry["seconds"] = STATUS[match[1]], float(match[3])
            self.current = match[2]
        elif match := RUN.match(line):
            self.test(match[1])
            self.current = match[1]
        elif self.current and not MARK.match(line):
            known = self.output.get(self.current, "")
            if len(known) < MESSAGE_CHARS:
                self.output[self.current] = f"{known}{line[:MESSAGE_CHARS]}\n"

    def test(self, name: str) -> dict[str, Any]:
        return self.tests.setdefault(name, {"id": name, "status": "error", "seconds": 0.0, "message": ""})

    def entries(self, package: str, *, failed: bool) -> list[dict[str, Any]]:
        for name, entry in self.tests.items():
            entry["id"] = f"{package}::{name}"
            if entry["status"] != "passed":
                entry["message"] = self.output.get(name, "").strip()[:MESSAGE_CHARS]
        found = list(self.tests.values())
        if failed and not any(entry["status"] in ("failed", "error") for entry in found):
            entry = {"id": package, "status": "error", "seconds": 0.0, "message": ""}
            found.append(entry if found else {**entry, "collection": True})
        return found
