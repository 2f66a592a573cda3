"""test-unit's verbose log: a line for each class, and below it one for each test, with what it printed.

A test that did not pass is told in a block between two rules of `=`, before its time. Tests are named
`Class#test_name`, as Minitest does. A test without an outcome ended the process: it is an error.
"""

from __future__ import annotations

import re
from typing import Any

MESSAGE_CHARS = 2000
STATUSES = {
    "Failure": "failed",
    "Error": "error",
    "Omission": "skipped",
    "Pending": "skipped",
}
LETTERS = {".": "passed", "F": "failed", "E": "error", "O": "skipped", "P": "skipped", "N": ""}

_CLASS = re.compile(r"^( *)(\S[^\t]*?): *$")
_TEST = re.compile(r"^ +(\S[^\t]*):\t+(.*)$")
_ENDED = re.compile(r"^(.*?)([.FEOPN]*): \((\d+\.\d+)\)$")
_SAID = re.compile(r"^(Failure|Error|Omission|Pending): ")
_UNLOADED = re.compile(r"^verifactory: cannot load (\S+): (.*)$")
_FINISHED = re.compile(r"^Finished in [\d.]+ seconds")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def parse(log: bytes, files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Tests of the log; report files, if any, are read the same way."""
    texts = [files[path] for path in sorted(files)] or [log]
    results: list[dict[str, Any]] = []
    for text in texts:
        results.extend(_Reader().read(_COLOUR.sub("", text.decode("utf-8", "replace")).split("\n")))
    return results


class _Reader:
    """One log, line by line."""

    def __init__(self) -> None:
        self.names = ""
        self.test: dict[str, Any] | None = None
        self.block: list[str] | None = None
        self.results: list[dict[str, Any]] = []

    def read(self, lines: list[str]) -> list[dict[str, Any]]:
        for line in lines:
            line = line.rstrip("\r")
            if _FINISHED.match(line):
                break
            if unloaded := _UNLOADED.match(line):
                said = unloaded[2][:MESSAGE_CHARS]
                broken = {"id": unloaded[1], "status": "error", "seconds": 0.0, "message": said}
                self.results.append(broken | {"collection": True})
            elif self.test is not None:
                self.inside(line)
            elif test := _TEST.match(line):
                self.begin(test[1], test[2])
            elif named := _CLASS.match(line):
                self.names = named[2]
        if self.test is not None:
            self.end("error", 0.0)
        return self.results

    def begin(self, name: str, rest: str) -> None:
        name = f"{self.names}#{name}" if self.names else name
        self.test = {"id": name, "status": "", "seconds": 0.0, "message": ""}
        self.inside(rest)

    def inside(self, line: str) -> None:
        """A line of the test under way: what it prints, its outcome, or its end."""
        assert self.test is not None
        if line.startswith("=====") and not line.strip("="):
            self.toggle()
        elif self.block is not None:
            self.block.append(line)
        elif ended := _ENDED.match(line):
            letter = LETTERS.get(ended[2][-1:], "")
            self.end(self.test["status"] or letter or "error", float(ended[3][:12]))
        elif (test := _TEST.match(line)) and self.test["status"]:  # its time was overwritten by its output
            self.end(self.test["status"], 0.0)
            self.begin(test[1], test[2])

    def toggle(self) -> None:
        assert self.test is not None
        if self.block is None:
            self.block = []
            return
        first = _SAID.match(self.block[0]) if self.block else None
        if first is not None and self.test["status"] not in ("failed", "error"):
            self.test["status"] = STATUSES[first[1]]
            self.test["message"] = "\n".join(self.block).strip()[:MESSAGE_CHARS]
        self.block = None

    def end(self, status: str, seconds: float) -> None:
        assert self.test is not None
        self.results.append(self.test | {"status": status, "seconds": seconds})
        self.test, self.block = None, None
