"""Minitest's verbose log, `Class#test_name = 0.01 s = .`: it has no report of its own.

What a test prints stands between its name and its time, also on the same line. Spec style numbers its tests
(`test_0002_adds`); the number changes whenever a test is added above, so it is left out of the id. A test
that was begun and has no outcome ended the process: it is an error.
"""

from __future__ import annotations

import re
from typing import Any

MESSAGE_CHARS, MESSAGE_LINES = 2000, 100
STATUSES = {".": "passed", "F": "failed", "E": "error", "S": "skipped"}

_WHOLE = re.compile(r"^(\S[^#]*#.*) = (\d+\.\d+) s = ([.FES])$")
_BEGUN = re.compile(r"^(\S[^#]{0,500}#\S.*?) = (.*)$")
_ENDED = re.compile(r"(\d+\.\d+) s = ([.FES])$")
_NUMBER = re.compile(r"#test_\d{4,}_")
_DETAIL = re.compile(r"^ +\d+\) (?:Failure|Error|Skipped):$")
_OF = re.compile(r"^(\S[^#]*#.*?)(?: \[[^\]]*\])?:$")
_UNLOADED = re.compile(r"^verifactory: cannot load (\S+): (.*)$")
_END = re.compile(r"^\d+ (?:runs|tests), \d+ assertions")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def parse(log: bytes, files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Tests of the log; report files, if any, are read the same way."""
    texts = [files[path] for path in sorted(files)] or [log]
    results: list[dict[str, Any]] = []
    for text in texts:
        lines = _COLOUR.sub("", text.decode("utf-8", "replace")).split("\n")
        results.extend(_results([line.rstrip("\r") for line in lines]))
    return results


def _results(lines: list[str]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    begun = ""
    for line in lines:
        if begun and (ended := _ENDED.search(line)):
            results.append(_result(begun, ended[1], ended[2]))
            begun = ""
        elif whole := _WHOLE.match(line):
            results.append(_result(whole[1], whole[2], whole[3]))
        elif unloaded := _UNLOADED.match(line):
            results.append(_broken(unloaded[1], unloaded[2]))
        elif (start := _BEGUN.match(line)) and "::" not in start[2]:
            if ended := _ENDED.search(start[2]):
                results.append(_result(start[1], ended[1], ended[2]))
            else:
                begun = start[1]
    if begun and not any(_END.match(line) for line in lines[-20:]):
        results.append(_result(begun, "0", "E") | {"message": "the process ended while it ran"})
    said = _messages(lines)
    for result in results:
        result["message"] = said.get(result["id"], result["message"])
    return results


def _result(name: str, seconds: str, letter: str) -> dict[str, Any]:
    return {"id": _id(name), "status": STATUSES[letter], "seconds": float(seconds[:12]), "message": ""}


def _broken(file: str, message: str) -> dict[str, Any]:
    """A file that our driver could not load."""
    said = message[:MESSAGE_CHARS]
    return {"id": file, "status": "error", "seconds": 0.0, "message": said, "collection": True}


def _id(name: str) -> str:
    return _NUMBER.sub("#", name, count=1)


def _messages(lines: list[str]) -> dict[str, str]:
    """What the closing list says of each test that did not pass."""
    said: dict[str, str] = {}
    for number, line in enumerate(lines[:-1]):
        if not _DETAIL.match(line) or not (of := _OF.match(lines[number + 1])):
            continue
        text: list[str] = []
        for following in lines[number + 2 :]:
            if _DETAIL.match(following) or _END.match(following) or len(text) > MESSAGE_LINES:
                break
            text.append(following)
        said[_id(of[1])] = "\n".join(text).strip()[:MESSAGE_CHARS]
    return said
