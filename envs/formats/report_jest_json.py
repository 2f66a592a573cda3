"""The JSON report of Jest (`--json --outputFile`) and of Vitest (`--reporter=json`), which have one shape.

A test's id is `file > describe > … > title`, the file relative to the project. A file that could not be
loaded has no tests: it is a collection error.
"""

from __future__ import annotations

import json
import math
from typing import Any

MESSAGE_CHARS = 2000
ROOT = "/app/"
STATUSES = {
    "passed": "passed", "failed": "failed", "pending": "skipped", "skipped": "skipped", "todo": "skipped",
    "disabled": "skipped", "focused": "passed",
}  # fmt: skip


def parse(log: bytes, files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Tests of all reports; without a file, of the first report in the log."""
    reports = [_load(path, files[path]) for path in sorted(files)] or [_in_log(log)]
    results = []
    for report in reports:
        for suite in _list(report.get("testResults")):
            file = _text(suite.get("name") or suite.get("testFilePath")).removeprefix(ROOT)
            tests = _list(suite.get("assertionResults") or suite.get("testResults"))
            results.extend(_result(file, test) for test in tests)
            if not tests and suite.get("status") == "failed":
                message = _text(suite.get("message"))[:MESSAGE_CHARS]
                results.append({"id": file, "status": "error", "message": message, "collection": True})
    return results


def _load(path: str, data: bytes) -> dict[str, Any]:
    try:
        report = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(report, dict) or not isinstance(report.get("testResults"), list):
        raise ValueError(f"{path}: not a report of Jest's form")
    return report


def _in_log(log: bytes) -> dict[str, Any]:
    """Both write the report as one line where it goes to the terminal."""
    for line in log.splitlines():
        if line.lstrip().startswith(b"{") and b'"testResults"' in line:
            return _load("log", line)
    return {}


def _result(file: str, test: dict[str, Any]) -> dict[str, Any]:
    status = STATUSES.get(_text(test.get("status")))
    if status is None:
        raise ValueError(f"{file}: an unknown status {str(test.get('status'))[:40]!r}")
    titles = [_text(title) for title in test.get("ancestorTitles") or []]
    path = [file, *titles, _text(test.get("title"))]
    messages = [str(message) for message in test.get("failureMessages") or []]
    return {
        "id": " > ".join(part for part in path if part),
        "status": status,
        "seconds": _seconds(test.get("duration")),
        "message": "\n".join(messages)[:MESSAGE_CHARS],
    }


def _list(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value or [], list) or not all(isinstance(entry, dict) for entry in value or []):
        raise ValueError("not a report of Jest's form")
    return value or []


def _text(value: Any) -> str:
    if not isinstance(value or "", str):
        raise ValueError(f"not a text: {str(value)[:40]}")
    return (value or "").encode("utf-8", "backslashreplace").decode()


def _seconds(milliseconds: Any) -> float:
    if not isinstance(milliseconds, (int, float)) or not 0 <= milliseconds < 1e12:
        return 0.0
    return 0.0 if math.isnan(milliseconds) else milliseconds / 1000
