"""RSpec's documentation format: for a run whose JSON report was lost.

Groups and examples differ by indentation alone: a line is an example when nothing below it is indented
deeper, or when it says how it failed. What examples print stands at the left margin as a rule, where a group
has an empty line above it.
"""

from __future__ import annotations

import re
from typing import Any

_MARK = re.compile(r" \((FAILED - \d+|PENDING: .*|ERROR - \d+)\)$")
_END = re.compile(r"^(?:Pending: |Failures:|Finished in [\d.])")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def parse(log: bytes, files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Examples of the log, named by their groups' and their own descriptions."""
    texts = [files[path] for path in sorted(files)] or [log]
    results: list[dict[str, Any]] = []
    for text in texts:
        lines: list[str] = []
        for line in _COLOUR.sub("", text.decode("utf-8", "replace")).split("\n"):
            if _END.match(line):
                break
            lines.append(line.rstrip())
        results.extend(_examples(lines))
    return results


def _examples(lines: list[str]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    groups: list[tuple[int, str]] = []
    shown = [(number, line) for number, line in enumerate(lines) if line and not _printed(lines, number)]
    for place, (_, line) in enumerate(shown):
        below = shown[place + 1][1] if place + 1 < len(shown) else ""
        indent = len(line) - len(line.lstrip())
        mark = _MARK.search(line)
        name = line[: mark.start()].strip() if mark else line.strip()
        while groups and groups[-1][0] >= indent:
            groups.pop()
        if mark is None and (indent == 0 or len(below) - len(below.lstrip()) > indent):
            groups.append((indent, name))
            continue
        status = "passed" if mark is None else "skipped" if mark[1].startswith("PENDING") else "failed"
        path = " ".join([*(group for _, group in groups), name])
        message = mark[1] if mark else ""
        results.append({"id": path, "status": status, "seconds": 0.0, "message": message})
    return results


def _printed(lines: list[str], number: int) -> bool:
    """Is it output? It stands at the margin, where a group has an empty line above it."""
    return not lines[number].startswith(" ") and number > 0 and bool(lines[number - 1])
