"""JUnit XML, in whatever dialect: surefire, gradle, nextest, ctest, phpunit, bats, testthat, busted, rspec,
minitest, node.

A test's id is its class and its name, `class::name`; the nearest suite with a name stands in for a class that
is not told. Line numbers that some writers put behind a class's file are left out, since they change with
every edit. Two cases with one id are both returned: the worse counts.

The report was written by the process under test. Documents that declare types or entities are refused, in any
encoding, and nothing is fetched; the parser keeps no tree, so depth and size cost nothing.
"""

from __future__ import annotations

import math
import re
from typing import Any
from xml.parsers import expat

MESSAGE_CHARS = 2000
PASSED, FAILED, ERROR, SKIPPED, XFAILED = "passed", "failed", "error", "skipped", "xfailed"
# Worst first: a case may hold several of these elements.
OUTCOMES = {"error": ERROR, "failure": FAILED, "skipped": SKIPPED}
SEVERITY = (FAILED, ERROR, SKIPPED, XFAILED, PASSED)
NOT_RUN = ("notrun", "disabled", "skipped", "ignored", "suppressed")

_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_REFERENCE = re.compile(rb"&#(?:[xX]([0-9a-fA-F]{1,8})|([0-9]{1,8}));")
_LINE = re.compile(r"(\.\w+):\d+$")


def parse(log: bytes, files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Cases of all files, in order of path; without files, of the document in the log."""
    if not files and (start := re.search(rb"<\?xml|<testsuites?[\s>]", log)):
        end = max(log.rfind(b"</testsuite>") + 12, log.rfind(b"</testsuites>") + 13)
        files = {"log": log[start.start() : end]} if end > start.start() else {}
    results: list[dict[str, Any]] = []
    for path in sorted(files):
        if not files[path].strip():
            raise ValueError(f"{path}: an empty report")
        results.extend(_Reader(path).read(files[path]))
    return results


class _Reader:
    """One document, event by event."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.suites: list[str] = []
        self.case: dict[str, Any] | None = None
        self.inside = ""  # the outcome element whose text is being read
        self.results: list[dict[str, Any]] = []

    def read(self, data: bytes) -> list[dict[str, Any]]:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.text
        parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = self.refuse
        try:
            parser.Parse(_REFERENCE.sub(_character, _CONTROL.sub(b"", data)), True)
        except (expat.ExpatError, UnicodeError, LookupError) as error:
            raise ValueError(f"{self.path}: unreadable: {error}") from None
        return self.results

    def refuse(self, *_: Any) -> None:
        raise ValueError(f"{self.path}: a report that declares entities")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        if tag == "testsuite":
            self.suites.append(attributes.get("name", ""))
        elif tag == "testcase":
            self.case = self.begin(attributes)
        elif self.case is not None and tag in OUTCOMES:
            status = OUTCOMES[tag]
            if tag == "skipped" and attributes.get("type") == "pytest.xfail":
                status = XFAILED
            if SEVERITY.index(status) < SEVERITY.index(self.case["status"]):
                self.case["status"] = status
            if said := attributes.get("message", ""):
                self.case["message"] += said + "\n"
            self.inside = tag
        elif tag.lower() in ("parsererror", "html"):
            raise ValueError(f"{self.path}: not a report")

    def begin(self, attributes: dict[str, str]) -> dict[str, Any]:
        name = attributes.get("name", "")
        named = next((suite for suite in reversed(self.suites) if suite), "")
        group = attributes.get("classname") or attributes.get("class") or named
        group = _LINE.sub(r"\1", group)
        status = SKIPPED if attributes.get("status", "").lower() in NOT_RUN else PASSED
        return {
            "id": f"{group}::{name}" if group and group != name else name,
            "status": status,
            "seconds": _seconds(attributes.get("time", attributes.get("duration", ""))),
            "message": "",
        }

    def text(self, data: str) -> None:
        if self.case is not None and self.inside and len(self.case["message"]) < MESSAGE_CHARS:
            self.case["message"] += data[:MESSAGE_CHARS]

    def end(self, tag: str) -> None:
        tag = tag.rpartition(":")[2]
        if tag == "testsuite":
            self.suites.pop()
        elif tag == "testcase" and self.case is not None:
            self.case["message"] = self.case["message"].strip()[:MESSAGE_CHARS]
            if self.case["id"]:
                self.results.append(self.case)
            self.case = None
        elif tag == self.inside:
            self.inside = ""


def _seconds(text: str) -> float:
    """A duration; surefire once wrote thousands with commas."""
    try:
        value = float(text.replace(",", "") or 0)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value >= 0 else 0.0


def _character(match: re.Match[bytes]) -> bytes:
    """A character reference as it stands, or nothing where XML has no such character (colours, mostly)."""
    code = int(match[1], 16) if match[1] else int(match[2])
    return match[0] if _legal(code) else b""


def _legal(code: int) -> bool:
    return code in (9, 10, 13) or 0x20 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or 0xFFFF < code < 0x110000
