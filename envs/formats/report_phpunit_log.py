"""PHPUnit's TeamCity messages, in a file of their own (`--log-teamcity`) or in the log (`--teamcity`).

They tell each test as it begins and ends, so a run that a fatal error cut off shows how far it came, where
PHPUnit's JUnit file is only written at the end. An id is the class and method, with the name of the data set
and without its values. A test that was begun and not finished ended the process: it is an error.
"""

from __future__ import annotations

import re
from typing import Any

MESSAGE_CHARS = 2000

_MESSAGE = re.compile(r"##teamcity\[(test\w+)((?: \w+='(?:[^'|]|\|.)*')*)\]")
_ATTRIBUTE = re.compile(r" (\w+)='((?:[^'|]|\|.)*)'")
_ESCAPE = re.compile(r"\|(0x[0-9a-fA-F]{4}|.)")
# A risky test is told as a failed one, but passed: PHPUnit's exit status says so.
_RISKY = re.compile(
    r"This test (?:did not perform any assertions|printed output|executed code that is not listed"
    r"|was expected to)"
    r"|Test code or tested code (?:did not|removed|closed)|.* is not supposed to be (?:covered|used)"
)
_PLAIN = {"n": "\n", "r": "\r", "x": "\x85", "l": "\u2028", "p": "\u2029"}


def parse(log: bytes, files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Tests of all files, in order of path; without files, of the log."""
    texts = [files[path] for path in sorted(files)] or [log]
    results: list[dict[str, Any]] = []
    for text in texts:
        results.extend(_tests(text.decode("utf-8", "replace")))
    return results


def _tests(text: str) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    running: dict[str, dict[str, Any]] = {}
    for kind, rest in _MESSAGE.findall(text):
        values = {key: _unescaped(value) for key, value in _ATTRIBUTE.findall(rest)}
        name = values.get("name", "")
        if kind == "testStarted":
            if name in running:
                results.append(running.pop(name))
            running[name] = _begun(name, values.get("locationHint", ""))
        elif name not in running:
            continue
        elif kind in ("testFailed", "testIgnored"):
            test = running[name]
            risky = kind == "testFailed" and _RISKY.match(values.get("message", ""))
            test["status"] = "skipped" if kind == "testIgnored" else "passed" if risky else "failed"
            said = f"{values.get('message', '')}\n{values.get('details', '').strip()}"
            test["message"] = said.strip()[:MESSAGE_CHARS]
        elif kind == "testFinished":
            test = running.pop(name)
            if test["status"] == "error":
                test |= {"status": "passed", "message": ""}
            test["seconds"] = _seconds(values.get("duration", ""))
            results.append(test)
    return [*results, *running.values()]


def _begun(name: str, hint: str) -> dict[str, Any]:
    test_id = hint.rpartition("::\\")[2] if "::\\" in hint else name
    return {
        "id": test_id,
        "status": "error",
        "seconds": 0.0,
        "message": "the process ended while it ran",
    }


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    said = match[1]
    if said.startswith("0x"):
        code = int(said, 16)
        return "\N{REPLACEMENT CHARACTER}" if 0xD800 <= code < 0xE000 else chr(code)
    return _PLAIN.get(said, said)


def _seconds(milliseconds: str) -> float:
    return int(milliseconds) / 1000 if milliseconds.isdigit() and len(milliseconds) < 12 else 0.0
