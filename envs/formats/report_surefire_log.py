"""What Maven's surefire prints (with `-Dsurefire.reportFormat=plain -Dsurefire.useFile=false`), and Gradle
with test events, for runs without XML reports.

Ids are those of `report_junit`, `class::name`. A file that javac refuses is a collection error.
"""

from __future__ import annotations

import re
from typing import Any

ROOT = "/app/"
LINE_CHARS = 8192

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_RUNNING = re.compile(r"^(?:\[\w+\] )?Running (\S+)$")
_OLD = re.compile(
    r"^(?:\[\w+\] )?(\S[^()]*?)(?:\(([\w.$]+)\))?"
    r"(?:  Time elapsed: ([\d.,]+) s(?:ec)?(?:  ?<<< (FAILURE|ERROR)!)?|( skipped))$"
)
_NEW = re.compile(
    r"^(?:\[\w+\] )?([\w.$]+)\.([\w$]+\S*(?: \S+)*?) -- Time elapsed: ([\d.,]+) s(?: <<< (FAILURE|ERROR)!)?$"
)
_GRADLE = re.compile(r"^([\w.$]+(?: > [\w.$]+)*?) > (\S.*?) (PASSED|FAILED|SKIPPED)$")
_REFUSED = re.compile(r"^(?:\[ERROR\] )?(/\S+\.java):(?:\[\d+,\d+\]|\d+:) (?:error: )?(\S.*)$")
STATUSES = {None: "passed", "FAILURE": "failed", "ERROR": "error"}
GRADLE = {"PASSED": "passed", "FAILED": "failed", "SKIPPED": "skipped"}


def parse(log: bytes, files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Tests of the log; report files are not read."""
    results: list[dict[str, Any]] = []
    refused: dict[str, str] = {}
    running = ""
    for line in _COLOUR.sub("", log.decode("utf-8", "replace")).split("\n"):
        line = line.rstrip()[:LINE_CHARS]
        if match := _RUNNING.match(line):
            running = match[1]
        elif match := _REFUSED.match(line):
            refused.setdefault(match[1][len(ROOT) :] if match[1].startswith(ROOT) else match[1], match[2])
        elif match := _GRADLE.match(line):
            results.append(
                _result(match[1].rpartition(" > ")[2], match[2].rstrip("()"), GRADLE[match[3]], "")
            )
        elif "Tests run:" in line:
            continue
        elif match := _NEW.match(line):
            results.append(_result(match[1], match[2], STATUSES[match[4]], match[3]))
        elif running and (match := _OLD.match(line)):
            status = "skipped" if match[5] else STATUSES[match[4]]
            results.append(_result(match[2] or running, match[1], status, match[3] or ""))
    errors = [
        {"id": path, "status": "error", "seconds": 0.0, "message": said, "collection": True}
        for path, said in refused.items()
    ]
    return [*results, *errors]


def _result(group: str, name: str, status: str, seconds: str) -> dict[str, Any]:
    try:
        took = float(seconds.replace(",", "") or 0)
    except ValueError:
        took = 0.0
    return {"id": f"{group}::{name}", "status": status, "seconds": took, "message": ""}
