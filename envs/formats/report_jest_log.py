"""What Jest (`--verbose`) and Vitest (`--reporter=verbose`) print, for runs without a JSON report.

Ids are those of `report_jest_json`. Jest prints a file's name and then its tests as a tree; Vitest prints
each test with its whole path.
"""

from __future__ import annotations

import re
from typing import Any

MARKS = {"✓": "passed", "√": "passed", "✕": "failed", "×": "failed", "○": "skipped", "✎": "skipped",
         "↓": "skipped"}  # fmt: skip

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_FILE = re.compile(r"^\s?(?:PASS|FAIL)\s+(?:\S+\s+)??(?:\./)?(\S+)(?:\s+\([\d.]+ m?s\))?$")
_TREE = re.compile(r"^( +)([✓√✕×○✎]) (?:(?:skipped|todo) )?(.*?)(?: \(([\d.]+) (ms|s)\))?$")
_GROUP = re.compile(r"^( +)(\S.*)$")
_FLAT = re.compile(
    r"^ ([✓√×↓]) (?:\|[^|]+\| )?(\S+ > .*?)(?: \(retry x\d+\))?(?: \[skipped\])?(?:\s+(\d+)\s?(ms|s))?$"
)
_COUNTED = re.compile(r"^\d+ tests?$")


def parse(log: bytes, files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Tests of the log; report files are not read."""
    results: list[dict[str, Any]] = []
    file, groups, seen = "", list[tuple[int, str]](), False
    for line in _COLOUR.sub("", log.decode("utf-8", "replace")).split("\n"):
        line = line.rstrip()[:8192]
        if match := _FLAT.match(line):
            results.append(_result(match[2], match[1], match[3], match[4]))
        elif match := _FILE.match(line):
            file, groups, seen = match[1], [], True
        elif not line or not seen:
            seen = False  # a file's tree ends with an empty line
        elif match := _TREE.match(line):
            if not _COUNTED.match(match[3]):
                groups = [g for g in groups if g[0] < len(match[1])]
                path = " > ".join([file, *(name for _, name in groups), match[3]])
                results.append(_result(path, match[2], match[4], match[5]))
        elif match := _GROUP.match(line):
            groups = [*(g for g in groups if g[0] < len(match[1])), (len(match[1]), match[2])]
    return results


def _result(path: str, mark: str, number: str | None, unit: str | None) -> dict[str, Any]:
    try:
        seconds = float(number or 0) / (1000 if unit == "ms" else 1)
    except ValueError:
        seconds = 0.0
    return {"id": path, "status": MARKS[mark], "seconds": seconds, "message": ""}
