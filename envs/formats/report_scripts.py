"""Test scripts without a framework, one process each, as `envs.languages.scripts` runs them.

The driver writes a line before each script and one with its exit status after it. A script is a test: passed
with status 0, skipped with 77. Of what it prints, lines in the forms that hand-made tests use (`[pass] name`,
`ok - name`, `FAIL: name`, `name ... ok`) are tests too, named by script and line. LuaUnit's verbose text is
such lines; there what a test prints may stand between its name and its outcome.
"""

from __future__ import annotations

import re
from typing import Any

MESSAGE_CHARS = 2000
BEGIN, END = "verifactory: script ", "verifactory: status "
SKIP_STATUS = 77  # automake's, and what Debian's own tests use

_GOOD, _BAD, _SKIP = r"pass(?:ed)?|ok|success", r"fail(?:ed|ure)?|not ok|error", r"skip(?:ped)?|todo|pending"
_WORD = rf"(?:(?P<good>{_GOOD})|(?P<bad>{_BAD})|(?P<skip>{_SKIP}))"
# In order: a mark in brackets, TAP, a word with a colon, a sign, and a word at the end. The driver looks for
# the failing ones, too (`envs.languages.scripts.FAILING`): its exit status has to agree.
FORMS: tuple[re.Pattern[str], ...] = (
    re.compile(rf"^\s*\[\s*{_WORD}\s*\]:?\s+(?P<name>\S.*)$", re.I),
    re.compile(r"^\s*(?:(?P<bad>not ok)|(?P<good>ok))\b\s*\d*\s*-?\s+(?P<name>[^\s#].*)$", re.I),
    re.compile(
        r"^\s*(?:(?P<good>pass(ed)?|ok)|(?P<bad>fail(ed)?)|(?P<skip>skip(ped)?)):\s+(?P<name>\S.*)$", re.I
    ),
    re.compile(r"^\s*(?:(?P<good>[✓✔])|(?P<bad>[✗✘✖]))\s+(?P<name>\S.*)$"),
    re.compile(rf"^\s*(?P<name>\S.{{0,300}}?)\s*(?:\.{{2,}}|\s\[)\s*{_WORD}\]?$", re.I),
)  # fmt: skip
_OPEN = re.compile(r"^ {4}(?P<name>\S{1,300}) \.\.\. (?P<rest>.*)$")
_CLOSED = re.compile(rf"{_WORD}$", re.I)
_TIME = re.compile(r"\s+[(\[]?\d+(?:\.\d+)?\s*(?:ms|s|sec|seconds)[)\]]?$")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def parse(log: bytes, files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Scripts of the log, each followed by the tests that it names."""
    texts = [files[path] for path in sorted(files)] or [log]
    results: list[dict[str, Any]] = []
    for text in texts:
        script, inside = "", list[str]()
        for line in _COLOUR.sub("", text.decode("utf-8", "replace")).split("\n"):
            line = line.rstrip()
            begin, end = line.find(BEGIN), line.find(END)
            if end >= 0 and script and line.endswith(f" {script}"):
                inside.append(line[:end])
                results.extend(_script(script, line[end + len(END) :].split(" ", 1)[0], inside))
                script, inside = "", []
            elif begin == 0 and not script:
                script = line[len(BEGIN) :]
            elif script:
                inside.append(line)
        if script:  # the run was cut off here
            results.extend(_script(script, "", inside))
    return results


def _script(script: str, status: str, lines: list[str]) -> list[dict[str, Any]]:
    """The script's own outcome, then those of the tests in it."""
    outcome = {"0": "passed", str(SKIP_STATUS): "skipped", "": "error"}.get(status, "failed")
    said = "" if outcome == "passed" else "\n".join(lines)[-MESSAGE_CHARS:].strip()
    results = [{"id": script, "status": outcome, "seconds": 0.0, "message": said}]
    begun = ""
    for line in lines:
        line = line[-1000:]
        if begun:
            match = _CLOSED.search(line)
        elif opened := _OPEN.match(line):
            begun, match = opened["name"], _CLOSED.search(opened["rest"])
        else:
            match = next((m for form in FORMS if (m := form.match(line))), None)
        if match is not None:
            name, said = (begun, "") if begun else _name(match)
            results.append(_test(f"{script}::{name}", match.groupdict(), said))
            begun = ""
    if begun:
        results.append(_test(f"{script}::{begun}", {}, "it has no outcome"))
    return results


def _name(match: re.Match[str]) -> tuple[str, str]:
    """(name, reason): less a time, and less what hand-made tests put behind the name of one that failed."""
    name = _TIME.sub("", match["name"]).strip()
    if not match.groupdict().get("bad"):
        return name, ""
    name, _, reason = name.partition(" : ")
    return name.strip(), reason.strip()


def _test(name: str, found: dict[str, str | None], said: str) -> dict[str, Any]:
    status = "passed" if found.get("good") else "skipped" if found.get("skip") else "failed"
    return {"id": name, "status": status, "seconds": 0.0, "message": said[:MESSAGE_CHARS]}
