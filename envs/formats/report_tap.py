"""TAP 12 to 14: bats, prove -v, node --test, node-tap, tape, AVA.

A test's id is its path of descriptions, `file > parent > child`; one without a description goes by its
number. The file is told by `prove`, or a command like it, before each file's lines. Of a test with subtests
only these are reported, unless it failed though they did not. tape and AVA write a comment with the test's
name and then its assertions: there the comment is the test, and its assertions decide. Two tests with one id
are both returned: the worse counts.
"""

from __future__ import annotations

import re
from typing import Any

MESSAGE_CHARS = 2000
DEEPEST = 200  # columns; and subtests in braces, one in another
PASSED, FAILED, SKIPPED, XFAILED, XPASSED = "passed", "failed", "skipped", "xfailed", "xpassed"
SEVERITY = (FAILED, SKIPPED, XPASSED, XFAILED, PASSED)

_TEST = re.compile(r"^([ \t]*)(not )?ok\b(?:[ \t]+(\d+)\b)?[ \t]*(?:-[ \t])?[ \t]*(.*)$")
_DIRECTIVE = re.compile(r"(?<!\\)#[ \t]*(skip|todo)\S*[ \t]*(.*)$", re.I)
_TIME = re.compile(r"(?<!\\)#[ \t]*(?:time=|in )[ \t]*([\d.]+)[ \t]*(ms|s)\b.*$", re.I)
_PROVE = re.compile(
    r"^(\S.*?)[ \t]\.{2,}[ \t]*(ok|skipped.*|dubious.*|failed.*|all .*|no subtests.*)?$", re.I
)
_DUBIOUS = re.compile(r"^(?:Dubious, test returned|Failed \d+/\d+ subtests|No subtests run)")
_SKIP_ALL = re.compile(r"^1\.\.0[ \t]+#[ \t]*skip\S*[ \t]*(.*)$", re.I)
_SUMMARY = re.compile(
    r"^# (tests|suites|pass|fail|cancelled|skipped|todo|duration_ms|ok|skip)\b[ \t:]*[\d.]*$"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def parse(log: bytes, files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Tests of the log, or of the report files where there are any."""
    texts = [files[path] for path in sorted(files)] or [log]
    results: list[dict[str, Any]] = []
    for text in texts:
        lines = _COLOUR.sub("", text.decode("utf-8", "replace")).split("\n")
        lines = [line.rstrip() for line in lines]
        results.extend(_Reader(_named_by_comments(lines)).read(lines))
    return results


def _named_by_comments(lines: list[str]) -> bool:
    """Is it tape's or AVA's? They sum up at the end, and know no subtests."""
    summary = {m[1] for line in lines if (m := _SUMMARY.match(line))}
    return {"tests", "pass"} <= summary and not any(line.lstrip().startswith("# Subtest:") for line in lines)


class _Test:
    """One test line, and what was indented above it."""

    def __init__(self, indent: int, name: str, status: str) -> None:
        self.indent = indent
        self.name = name
        self.status = status
        self.seconds = 0.0
        self.message: list[str] = []
        self.children: list[_Test] = []
        self.suite = False

    def results(self, prefix: tuple[str, ...]) -> list[dict[str, Any]]:
        path = (*prefix, self.name)
        found = [result for child in self.children for result in child.results(path)]
        alone = not self.children and not self.suite
        if alone or (self.status == FAILED and not any(result["status"] == FAILED for result in found)):
            message = "\n".join(self.message).strip()[:MESSAGE_CHARS]
            found.append(
                {"id": " > ".join(p for p in path if p), "status": self.status, "seconds": self.seconds,
                 "message": message}
            )  # fmt: skip
        return found


class _Reader:
    """All lines of one stream, in order."""

    def __init__(self, by_comment: bool) -> None:
        self.by_comment = by_comment
        self.file = ""
        self.pending: list[_Test] = []
        self.open: list[tuple[_Test, int]] = []  # tests whose subtests follow in braces
        self.group: _Test | None = None
        self.last: _Test | None = None
        self.details: int | None = None  # indentation of the YAML block being read
        self.done: list[dict[str, Any]] = []

    def read(self, lines: list[str]) -> list[dict[str, Any]]:
        for line in lines:
            if not self.detail(line):
                self.line(line)
        self.close_file("")
        return self.done

    def detail(self, line: str) -> bool:
        """Take a line of a test's YAML block, or of its beginning."""
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if self.details is None:
            if text != "---" or self.last is None or indent <= self.last.indent:
                return False
            self.details = indent
            return True
        if text == "..." and indent == self.details:
            self.details = None
            return True
        if text and indent < self.details:  # cut off
            self.details = None
            return False
        assert self.last is not None
        self.last.message.append(line[self.details :])
        if indent == self.details:
            self.known(self.last, text)
        return True

    def known(self, test: _Test, text: str) -> None:
        """Details that decide more than a message."""
        if text in ("type: 'suite'", "type: suite", 'type: "suite"'):
            test.suite = True
        elif match := re.match(r"duration_ms:[ \t]*([\d.]{1,20})$", text):
            test.seconds = _number(match[1]) / 1000

    def line(self, line: str) -> None:
        if line == "ok" and self.file:  # prove's own verdict
            self.last = None
        elif match := _TEST.match(line):
            self.test(match)
        elif line.strip() == "}" and self.open:
            test, start = self.open.pop()
            test.children = self.pending[start:]
            del self.pending[start:]
        elif self.by_comment and line.startswith("# ") and not _SUMMARY.match(line):
            self.comment(line[2:].strip())
        elif match := _PROVE.match(line):
            self.close_file(match[1])
            if match[2] and match[2].startswith("skipped"):
                self.skip_all("", match[2].partition(": ")[2])
        elif self.file and _DUBIOUS.match(line):
            self.dubious(line)
        elif match := _SKIP_ALL.match(line.strip()):
            self.skip_all(line, match[1])
        elif self.last is not None and self.last.status == FAILED and _is_diagnostic(line):
            self.last.message.append(line.strip()[1:].strip())

    def test(self, match: re.Match[str]) -> None:
        indent, failed, number, rest = len(match[1].expandtabs(4)), bool(match[2]), match[3], match[4]
        buffered = rest.endswith("{")
        rest = rest[:-1].rstrip() if buffered else rest
        status = FAILED if failed else PASSED
        said, seconds = "", 0.0
        if time := _TIME.search(rest):
            seconds = _number(time[1]) / (1000 if time[2].lower() == "ms" else 1)
            rest = rest[: time.start()].rstrip()
        if directive := _DIRECTIVE.search(rest):
            said = directive[2]
            status = (XFAILED if failed else XPASSED) if directive[1].lower() == "todo" else SKIPPED
            rest = rest[: directive.start()].rstrip()
        if indent > DEEPEST or len(self.open) > DEEPEST:
            return
        test = _Test(indent, rest.removeprefix("- ").replace("\\#", "#").strip() or number or said, status)
        test.seconds = seconds
        test.message = [said] if said else []
        self.last = test
        if self.by_comment and self.group is not None and indent == 0:
            self.assertion(test)
            return
        start = len(self.pending)
        while not buffered and start and self.pending[start - 1].indent > indent:
            start -= 1
        test.children = self.pending[start:]
        self.pending[start:] = [test]
        if buffered:
            self.open.append((test, len(self.pending)))

    def comment(self, name: str) -> None:
        """The name of a test; its assertions follow."""
        marked = re.match(r"(SKIP|TODO)[ \t]+(.*)", name)
        status = SKIPPED if marked and marked[1] == "SKIP" else ""
        self.group = _Test(0, marked[2] if marked else name, status)
        self.pending.append(self.group)

    def assertion(self, test: _Test) -> None:
        assert self.group is not None
        known = self.group.status
        if not known or SEVERITY.index(test.status) < SEVERITY.index(known):
            self.group.status = test.status
        if test.status != PASSED:
            self.group.message.append(test.name)
            test.message = self.group.message

    def skip_all(self, line: str, reason: str) -> None:
        """A plan of no tests, for a reason: the file, or the subtest that follows, is skipped."""
        if line[:1] not in (" ", "\t") and self.file:
            test = _Test(0, "", SKIPPED)
            test.message = [reason]
            self.pending.append(test)

    def dubious(self, line: str) -> None:
        """prove found fault with a file none of whose tests failed: it ended early, or badly."""
        if any(result["status"] == FAILED for test in self.pending for result in test.results(())):
            return
        self.done.append(
            {"id": self.file, "status": "error", "seconds": 0.0, "message": line, "collection": True}
        )

    def close_file(self, following: str) -> None:
        """What is still indented has lost its parent: its run was cut off, and it has no id."""
        for test in self.pending:
            if test.indent == 0 and test.status:
                self.done.extend(test.results((self.file,)))
        self.pending, self.open, self.group, self.last, self.details = [], [], None, None, None
        self.file = following


def _is_diagnostic(line: str) -> bool:
    return line.lstrip().startswith("#") and not _SUMMARY.match(line)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
