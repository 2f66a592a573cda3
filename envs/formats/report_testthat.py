"""testthat and tinytest: lines of our own drivers (`envs.languages.r`), else testthat's LocationReporter.

A driver's line is `file<TAB>test<TAB>status<TAB>seconds<TAB>message`: testthat's own JUnit file folds spaces
and signs of names into one character, and needs a package more. A test's id is `file::name`. In the log of
LocationReporter the file is told by the driver, which writes a line before each.
"""

from __future__ import annotations

import re
from typing import Any

MESSAGE_CHARS = 2000
STATUSES = ("passed", "failed", "error", "skipped", "collection")
SEVERITY = ("error", "failed", "skipped", "passed")
OUTCOMES = {"success": "passed", "failure": "failed", "error": "error", "skip": "skipped"}

_EXPECTATION = re.compile(r"^  (\S.*) \[(success|failure|error|skip|warning)\]$")
_FILE = re.compile(r"^verifactory: script (\S.*)$")
_DRIVER = re.compile(r"^verifactory: test\t(.*)$")


def parse(log: bytes, files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Tests of all report files, in order of path; else of the log."""
    results: list[dict[str, Any]] = []
    for path in sorted(files):
        lines = files[path].decode("utf-8", "replace").split("\n")
        results.extend(_row(path, line) for line in lines if line.strip())
    if files:
        return results
    lines = log.decode("utf-8", "replace").split("\n")
    driven = [match[1] for line in lines if (match := _DRIVER.match(line))]
    return [_row("the log", line) for line in driven] or _located(lines)


def _row(path: str, line: str) -> dict[str, Any]:
    parts = line.rstrip("\r").split("\t")
    if len(parts) < 4 or parts[2] not in STATUSES or not parts[1]:
        raise ValueError(f"{path}: not a line of the report: {line[:200]}")
    name = f"{parts[0]}::{parts[1]}" if parts[0] else parts[1]
    said = "\t".join(parts[4:])[:MESSAGE_CHARS]
    if parts[2] == "collection":  # a file that could not be run
        broken = {"id": parts[0], "status": "error", "seconds": 0.0, "message": said}
        return broken | {"collection": True}
    return {"id": name, "status": parts[2], "seconds": _seconds(parts[3]), "message": said}


def _located(lines: list[str]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    name, file, seen = "", "", list[str]()
    for line in lines:
        if told := _FILE.match(line):
            file = told[1]
        elif line.startswith("Start test: "):
            name, seen = line[len("Start test: ") :], []
        elif name and (found := _EXPECTATION.match(line)):
            seen += [OUTCOMES[found[2]]] if found[2] in OUTCOMES else []
        elif name and line.startswith("End test: "):
            status = min(seen, key=SEVERITY.index) if seen else "skipped"
            results.append({"id": _named(file, name), "status": status, "seconds": 0.0, "message": ""})
            name = ""
    if name:
        said = "the process ended while it ran"
        results.append({"id": _named(file, name), "status": "error", "seconds": 0.0, "message": said})
    return results


def _named(file: str, name: str) -> str:
    return f"{file}::{name}" if file else name


def _seconds(text: str) -> float:
    return float(text) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text) else 0.0
