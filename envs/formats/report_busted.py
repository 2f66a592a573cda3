"""busted's verbose TAP: before each test a comment with its place and name, after it its outcome.

The comment gives the file, which TAP itself lacks, and the name of a skipped test, which busted leaves out.
Places move with every edit, so an id is the file and the test's full name. What a test prints may stand
before its outcome on the same line. A test without an outcome ended the process: it is an error. The driver
of `envs.languages.scripts` runs each file by itself: one that ends badly without a failing test was not
loaded.
"""

from __future__ import annotations

import re
from typing import Any

MESSAGE_CHARS = 2000

_BEGUN = re.compile(r"^# (\S.*?) @ \d+: (.+)$")
_OUTCOME = re.compile(r"(not )?ok \d+ - (# SKIP )?(.*)$")
_END = re.compile(r"verifactory: status (\d+) (\S.*)$")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def parse(log: bytes, files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Tests of the log; report files, if any, are read the same way."""
    texts = [files[path] for path in sorted(files)] or [log]
    results: list[dict[str, Any]] = []
    for text in texts:
        results.extend(_tests(_COLOUR.sub("", text.decode("utf-8", "replace")).split("\n")))
    return results


def _tests(lines: list[str]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    file, name, broken, first = "", "", "", 0
    for line in (line.rstrip("\r") for line in lines):
        begun = _BEGUN.match(line)
        if end := _END.search(line):
            if name:
                results.append(_result(file, name, "error", "the process ended while it ran"))
            if end[1] != "0" and not any(r["status"] in ("failed", "error") for r in results[first:]):
                results.append(_result("", end[2], "error", broken) | {"collection": True})
            name, broken, first = "", "", len(results)
        elif begun and not (name and begun[2] == name):
            if name:
                results.append(_result(file, name, "error", "it has no outcome"))
            file, name = begun[1], begun[2]
        elif name and (outcome := _OUTCOME.search(line)):
            status = "failed" if outcome[1] else "skipped" if outcome[2] else "passed"
            results.append(_result(file, name, status, ""))
            name = ""
        elif (
            not name and line.startswith("# ") and len(results) > first and results[-1]["status"] == "failed"
        ):
            results[-1]["message"] = f"{results[-1]['message']}\n{line[2:]}".strip()[:MESSAGE_CHARS]
        elif not name and len(broken) < MESSAGE_CHARS:  # what stands outside of any test
            broken += f"{line[:MESSAGE_CHARS]}\n"
    if name:
        results.append(_result(file, name, "error", "the process ended while it ran"))
    return results


def _result(file: str, name: str, status: str, message: str) -> dict[str, Any]:
    return {
        "id": f"{file}::{name}" if file else name,
        "status": status,
        "seconds": 0.0,
        "message": message,
    }
