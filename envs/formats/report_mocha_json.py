"""Mocha's JSON report, from a file or from the log, and what its `spec` reporter prints.

A test's id is its full title, behind its file where Mocha tells that. A hook that failed is a failing test by
its own name, as Mocha counts it. `--reporter json` writes between whatever the tests print, and before Mocha
9.2 to the terminal only; so a report is looked for in the log when there is no file. Without one the log is
read as the tree that `spec` prints.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

MESSAGE_CHARS = 2000
ROOT = "/app/"

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_START = re.compile(r"^\{$|^\{\"stats\":|^\{\s*\"stats\":", re.M)
_PASS = re.compile(r"^( +)[✓√✔] (.*?)(?: \((\d+)ms\))?$")
_FAIL = re.compile(r"^( +)\d+\) (.*)$")
_SKIP = re.compile(r"^( +)- (.*)$")
_GROUP = re.compile(r"^( +)(\S.*)$")
_SUMMARY = re.compile(r"^ +\d+ passing\b")


def parse(log: bytes, files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Tests of the reports; of the log where there is none."""
    results: list[dict[str, Any]] = []
    for path in sorted(files):
        report = _report(files[path].decode("utf-8", "replace"))
        if report is None:
            raise ValueError(f"{path}: not a report of Mocha's")
        results.extend(_results(report))
    if files:
        return results
    text = _COLOUR.sub("", log.decode("utf-8", "replace"))
    report = _report(text)
    return _spec(text) if report is None else _results(report)


def _report(text: str) -> dict[str, Any] | None:
    """The last report in the text: what came before it may be a test's own output."""
    decoder = json.JSONDecoder()
    starts = [match.start() for match in _START.finditer(text)]
    for start in starts[:-20:-1]:
        try:
            report, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if isinstance(report, dict) and isinstance(report.get("tests"), list) and "stats" in report:
            return report
    return None


def _results(report: dict[str, Any]) -> list[dict[str, Any]]:
    results = []
    for kind, status in (("passes", "passed"), ("failures", "failed"), ("pending", "skipped")):
        tests = report.get(kind)
        if not isinstance(tests, list) or not all(isinstance(test, dict) for test in tests):
            raise ValueError(f"a report of Mocha's without {kind}")
        results.extend(_result(test, status) for test in tests)
    return results


def _result(test: dict[str, Any], status: str) -> dict[str, Any]:
    file = str(test.get("file") or "").removeprefix(ROOT)
    name = str(test.get("fullTitle") or test.get("title") or "")
    error = test.get("err")
    said = (error.get("stack") or error.get("message") or "") if isinstance(error, dict) else ""
    return {
        "id": f"{file} > {name}" if file else name,
        "status": status,
        "seconds": _seconds(test.get("duration")),
        "message": str(said)[:MESSAGE_CHARS] if status == "failed" else "",
    }


def _spec(text: str) -> list[dict[str, Any]]:
    """The tree, up to its summary; failures are explained after it, in the same form."""
    results: list[dict[str, Any]] = []
    groups: list[tuple[int, str]] = []
    for line in text.split("\n"):
        line = line.rstrip()[:8192]
        if _SUMMARY.match(line):
            break
        for pattern, status in ((_PASS, "passed"), (_FAIL, "failed"), (_SKIP, "skipped")):
            if match := pattern.match(line):
                path = [name for depth, name in groups if depth < len(match[1])]
                seconds = float(match[3]) / 1000 if pattern is _PASS and match[3] else 0.0
                name = " ".join([*path, match[2]])
                results.append({"id": name, "status": status, "seconds": seconds, "message": ""})
                break
        else:
            if match := _GROUP.match(line):
                groups = [*(g for g in groups if g[0] < len(match[1])), (len(match[1]), match[2])]
    return results


def _seconds(milliseconds: Any) -> float:
    if not isinstance(milliseconds, (int, float)) or not 0 <= milliseconds < 1e12:
        return 0.0
    return 0.0 if math.isnan(milliseconds) else milliseconds / 1000
