"""Tests of C and C++ projects: CTest's JUnit file or its log, automake's and a plain `make test`'s log.

A CTest or automake test is a program, and most programs hold many tests. So what a program says is read, too,
in the words of the usual frameworks (GoogleTest, cmocka, Unity, Check, Boost.Test, QtTest, TAP): its tests
are `program::test`, beside `program` itself. A program that was not built is a collection error; so is one
that crashed, besides its failure: the tests behind that were never reached. Of a plain Makefile whose tests
say nothing of the kind, the whole is one test, told by the line that the test command ends with:
`[make test] exit status N`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.parsers import expat

MESSAGE_CHARS = 2000
UNENDED = "did not end"
CRASH = re.compile(r"segfault|exception|abort|timeout|signal|illegal|bus error|numerical", re.I)
NOT_BUILT = re.compile(
    r"unable to find executable|could not find executable|required files missing|fixture dep", re.I
)


def parse(log: bytes, files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Tests in order. Raises ValueError for what is neither a JUnit file nor a log with tests in it."""
    if files:
        return [entry for path in sorted(files) for entry in _Junit().read(files[path])]
    text = log.decode("utf-8", "replace")
    found = _ctest(text) or _automake(text) or _plain(text)
    if not found:
        raise ValueError("no test in the log")
    return found


def _entry(name: str, status: str, seconds: float = 0.0, message: str = "") -> dict[str, Any]:
    return {"id": name, "status": status, "seconds": seconds, "message": message.strip()[-MESSAGE_CHARS:]}


def _program(name: str, status: str, seconds: float, message: str, output: str) -> list[dict[str, Any]]:
    """A program's entry and those of the tests in it."""
    if status == "notrun":
        return [{**_entry(name, "error", 0.0, message), "collection": True}]
    told = message if status == "passed" else f"{output}\n{message}"
    inside = list(_inside(output))
    if len(inside) == 1 and name.endswith(inside[0]["id"]):
        inside = []
    cut = status != "passed" and (CRASH.search(message) or any(e["message"] == UNENDED for e in inside))
    return [
        *([{**_entry(name, "error", 0.0, message), "collection": True}] if cut and inside else []),
        _entry(name, status, seconds, "" if status == "passed" else told),
        *({**entry, "id": f"{name}::{entry['id']}"} for entry in inside),
    ]


class _Junit:
    """A JUnit file of CTest or Meson, event by event; types and entities are refused."""

    def __init__(self) -> None:
        self.case: dict[str, str] | None = None
        self.element = ""
        self.texts: dict[str, list[str]] = {}
        self.status = ""
        self.message = ""
        self.found: list[dict[str, Any]] = []

    def read(self, data: bytes) -> list[dict[str, Any]]:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.said
        parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = self.refuse
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise ValueError(f"no JUnit file: {error}") from None
        return self.found

    def refuse(self, *_: object) -> None:
        raise ValueError("a JUnit file that declares types or entities")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "testcase":
            self.case, self.texts, self.message = attributes, {}, ""
            told = attributes.get("status", "run")
            self.status = {"fail": "failed", "notrun": "skipped", "disabled": "skipped"}.get(told, "passed")
        elif self.case is not None:
            self.element = name
            if name in ("failure", "error"):
                self.status = "failed"
            elif name == "skipped":
                self.status = "notrun" if NOT_BUILT.search(attributes.get("message", "")) else "skipped"
            if name in ("failure", "error", "skipped"):
                self.message = attributes.get("message", "")

    def said(self, text: str) -> None:
        if self.case is not None and self.element:
            self.texts.setdefault(self.element, []).append(text)

    def end(self, name: str) -> None:
        if name != "testcase" or self.case is None:
            return
        output = "".join(self.texts.get("system-out", []))
        if NOT_BUILT.match(output) and self.status == "failed":
            self.status = "notrun"
        self.found += _program(
            self.case.get("name", ""), self.status, _seconds(self.case.get("time")), self.message, output
        )
        self.case, self.element = None, ""


def _seconds(text: str | None) -> float:
    return float(text) if text and re.fullmatch(r"\d+(\.\d+)?", text) else 0.0


CTEST_START = re.compile(r"^ *Start +(\d+): (.+)$")
CTEST_OUTPUT = re.compile(r"^(\d+): ?(.*)$")
CTEST_END = re.compile(
    r"^ *\d+/\d+ Test +#(\d+): .*?[ .](Passed|\*\*\*[^ ]+(?: Run)?|Not Run \(Disabled\)|\*\*\*Exception: \w+)"
    r".*? +(\d+\.\d+) sec"
)
CTEST_STATUS = {"Passed": "passed", "***Skipped": "skipped", "***Not Run": "notrun", "***Timeout": "timeout"}


def _ctest(text: str) -> list[dict[str, Any]]:
    """The log of `ctest -V`."""
    names: dict[str, str] = {}
    output: dict[str, list[str]] = {}
    found: list[dict[str, Any]] = []
    for line in text.split("\n"):
        line = line.rstrip("\r")
        if match := CTEST_START.match(line):
            names[match[1]] = match[2]
        elif (match := CTEST_END.match(line)) and match[1] in names:
            status = "skipped" if "Disabled" in match[2] else CTEST_STATUS.get(match[2], "failed")
            message = "" if status == "passed" else line.strip()
            said = "\n".join(output.get(match[1], []))
            found += _program(names[match[1]], status, float(match[3]), message, said)
        elif (match := CTEST_OUTPUT.match(line)) and match[1] in names:
            output.setdefault(match[1], []).append(match[2])
    return found


AUTOMAKE = re.compile(r"^(PASS|FAIL|XFAIL|XPASS|SKIP|ERROR): (\S.*)$")
AUTOMAKE_STATUS = {
    "PASS": "passed", "FAIL": "failed", "XFAIL": "xfailed", "XPASS": "xpassed", "SKIP": "skipped",
    "ERROR": "error",
}  # fmt: skip
ENTERED = re.compile(r"^g?make(?:\[\d+\])?: (Entering|Leaving) directory ['`](.+)'$")
COMPILER = re.compile(r"^\S+\.\w+:\d+:\d+: (?:fatal )?error: |^\S+ld: |\*\*\* No rule to make target", re.M)
WHOLE = re.compile(r"^\[(make \S+)\] exit status (\d+)$", re.M)


def _automake(text: str) -> list[dict[str, Any]]:
    """`PASS: name` lines; a name is below the folder of the project, /app, that make is in."""
    folders: list[str] = []
    found: list[dict[str, Any]] = []
    for line in text.split("\n"):
        if match := ENTERED.match(line.rstrip("\r")):
            if match[1] == "Entering":
                folders.append(match[2])
            elif folders:
                folders.pop()
        elif match := AUTOMAKE.match(line.rstrip("\r")):
            below = re.sub(r"^/app(/|$)", "", folders[-1]).strip("/") if folders else ""
            name = f"{below}/{match[2]}" if below else match[2]
            found.append(_entry(name, AUTOMAKE_STATUS[match[1]]))
    return found


def _plain(text: str) -> list[dict[str, Any]]:
    """Tests of frameworks anywhere in the log, and the whole, which its last line tells."""
    found = list(_inside(text))
    whole = list(WHOLE.finditer(text))
    if not whole:
        return found
    name, code = whole[-1][1], whole[-1][2]
    if code != "0" and not found and COMPILER.search(text):
        return [{**_entry(name, "error", 0.0, text[: whole[-1].start()]), "collection": True}]
    if code != "0" and any(entry["status"] in ("failed", "error") for entry in found):
        return found
    return [*found, _entry(name, "passed" if code == "0" else "failed", 0.0, text if code != "0" else "")]


BRACKETS = re.compile(r"^\[ *(RUN|OK|FAILED|SKIPPED|  ) *\] ([^\s,(]+)(?:.*\((\d+) ms\))?")
UNITY = re.compile(r"^\S+?:\d+:(\w+):(PASS|FAIL|IGNORE)(?:: ?(.*))?$")
CHECK = re.compile(r"^\S+?:\d+:([PFES]):([^:]*):(\w+):(\d+): ?(.*)$")
TAP = re.compile(r"^(not )?ok\b ?(\d+)?(?: -)? ?([^#]*)(?:# *(skip|todo)\S*)?", re.I)
QT = re.compile(r"^(PASS  |FAIL! |XFAIL |XPASS |SKIP  ) ?: (\w+::\w+\([^)]*\))(.*)$")
BOOST = re.compile(r'(Entering|Leaving) test (suite|case) "([^"]+)"|error: in "([^"]+)"')
LETTERS = {
    "OK": "passed", "FAILED": "failed", "SKIPPED": "skipped", "PASS": "passed", "FAIL": "failed",
    "IGNORE": "skipped", "P": "passed", "F": "failed", "E": "error", "S": "skipped", "PASS  ": "passed",
    "FAIL! ": "failed", "XFAIL ": "xfailed", "XPASS ": "xpassed", "SKIP  ": "skipped",
}  # fmt: skip


def _inside(output: str) -> Iterator[dict[str, Any]]:
    """What the tests of a framework said, each once; the later word counts."""
    found: dict[str, dict[str, Any]] = {}
    running = ""
    since: list[str] = []
    boost = _Boost()
    for line in output.split("\n"):
        line = re.sub(r"\x1b\[[0-9;]*m", "", line.rstrip("\r"))
        if match := BRACKETS.match(line):
            if match[1] == "RUN":
                running, since = match[2], []
                found[running] = _entry(running, "error", 0.0, UNENDED)
            elif match[2] == running and match[1] in LETTERS:
                status = LETTERS[match[1]]
                told = "" if status == "passed" else "\n".join(since)
                found[running] = _entry(running, status, int(match[3] or 0) / 1000, told)
                running = ""
        elif match := UNITY.match(line):
            found[match[1]] = _entry(match[1], LETTERS[match[2]], 0.0, match[3] or "")
        elif match := CHECK.match(line):
            name = f"{match[2]}:{match[3]}:{match[4]}"
            found[name] = _entry(name, LETTERS[match[1]], 0.0, match[5] if match[1] != "P" else "")
        elif match := QT.match(line):
            found[match[2]] = _entry(match[2], LETTERS[match[1]], 0.0, match[3])
        elif (match := TAP.match(line)) and (match[2] or match[3].strip()):
            name, directive = match[3].strip() or match[2], (match[4] or "").lower()
            ok = not match[1]
            status = "skipped" if directive == "skip" else "passed" if ok else "failed"
            if directive == "todo":
                status = "xpassed" if ok else "xfailed"
            found[name] = _entry(name, status)
        elif match := BOOST.search(line):
            boost.take(match, line, found)
        elif running and len(since) < 100:
            since.append(line)
    yield from found.values()


class _Boost:
    """Boost.Test, told as suites and cases are entered and left."""

    def __init__(self) -> None:
        self.path: list[str] = []

    def take(self, match: re.Match[str], line: str, found: dict[str, dict[str, Any]]) -> None:
        if match[4]:
            name = match[4]
            if name in found:
                found[name] = _entry(name, "failed", 0.0, line)
            return
        if match[1] == "Entering":
            self.path.append(match[3])
        name = "/".join(self.path)
        if match[2] == "case" and match[1] == "Entering":
            found[name] = _entry(name, "error", 0.0, UNENDED)
        elif match[2] == "case" and found.get(name, {}).get("status") == "error":
            found[name] = _entry(name, "passed")
        if match[1] == "Leaving" and self.path:
            self.path.pop()
