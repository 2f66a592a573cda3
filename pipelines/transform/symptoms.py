"""What is wrong, told by what the failing tests saw, without where it is. Pure.

The text is made of test names and failure messages. Messages come from code under test: control characters,
addresses, temporary names and lines of tracebacks go, and what repeats the mutated code or its original is
taken out by the same rules as in an upstream statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from envs.reports import TestReport, TestStatus
from pipelines.swe.statement import Removed, Statement, without_leaks
from warehouse.query import plain

MOST_SHOWN = 5
MOST_LINES, MOST_CHARACTERS = 10, 600
QUOTED = 12  # characters of code, blanks aside; shorter ones are told by chance

# What differs from run to run, or names a place: (pattern, what stands there instead).
VOLATILE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"0x[0-9a-fA-F]{4,}"), "0x…"),
    (re.compile(r"(?:/private)?/tmp/[\w./-]+|/verifier-\w+[\w./-]*"), "/tmp/…"),
    (re.compile(r"\b1\d{9}(?:\.\d+)?\b"), "…"),  # seconds since 1970
)
TRACEBACK = re.compile(r"^\s*(Traceback \(most recent|File \"|at .+[:(]\d+|\S+\.\w+:\d+(:|\b))|^[\s^~]+$")
HEAD = """\
Something that used to work in this project does not work any more. Find the cause and mend it, so that the
behaviour is right for every input and not only for the ones below.
"""


def statement(
    report: TestReport, failing: Sequence[str], code: Iterable[str], paths: Iterable[str]
) -> Statement:
    """The statement of a task whose `failing` tests show a defect in `paths`.

    `code` is the lines of the defect and of its mending, none of which may be told.
    """
    names = {PurePosixPath(path).name for path in paths}
    lines = tuple(code)
    results = report.by_id()
    told: dict[str, list[str]] = {}
    removed: list[Removed] = []
    for test in failing:
        message, out = _message(results[test].message if test in results else "", names, lines)
        if test in results and results[test].status is TestStatus.TIMEOUT:
            message = "It does not come to an end."
        removed += out
        told.setdefault(message, []).append(title(test))
    # Fewest tests first: what only one of them sees says more than what many have in common.
    groups = sorted(told.items(), key=lambda group: (not group[0], len(group[1]), group[1]))
    text = [HEAD, "What its tests see, which are hidden from you:", ""]
    for message, tests in groups[:MOST_SHOWN]:
        text.append(_group(message, list(dict.fromkeys(tests))))
    if (left := sum(len(set(tests)) for _, tests in groups[MOST_SHOWN:])) > 0:
        text.append(f"- {left} more tests fail in other ways.")
    return Statement("\n".join(text).strip(), "failing_tests", tuple(removed))


def title(test: str) -> str:
    """A test's own name, without its file."""
    address, bracket, parameters = test.partition("[")
    name = re.split(r"::|(?<=\w)\.(?=test)", address)[-1]
    return plain(f"{name}{bracket}{parameters}".replace("`", "'").replace("\n", " "))[:120]


def _group(message: str, tests: list[str]) -> str:
    names = ", ".join(f"`{name}`" for name in tests[:3])
    if len(tests) > 3:
        names += f" and {len(tests) - 3} more"
    verb = "fails" if len(tests) == 1 else "fail"
    if not message:
        return f"- {names} {verb}."
    if "\n" not in message and len(message) < 100 and "`" not in message:
        return f"- {names} {verb}: `{message}`"
    return (
        f"- {names} {verb}:\n\n" + "\n".join(f"      {line}".rstrip() for line in message.split("\n")) + "\n"
    )


def _message(raw: str, names: set[str], code: Sequence[str]) -> tuple[str, tuple[Removed, ...]]:
    """A failure message that is the same in every run and names no place, and what was taken out of it."""
    text = plain(raw)
    for pattern, instead in VOLATILE:
        text = pattern.sub(instead, text)
    kept = [
        line.rstrip()
        for line in text.split("\n")
        if line.strip() and not TRACEBACK.search(line) and not any(name in line for name in names)
    ]
    quoted = [line for line in kept if _quotes(line, code)]
    clean, removed = without_leaks("\n".join(line for line in kept if line not in quoted), code)
    shown = "\n".join(clean.split("\n")[:MOST_LINES])[:MOST_CHARACTERS].rstrip()
    return shown, (*(Removed("quoted", line) for line in quoted), *removed)


def _quotes(line: str, code: Sequence[str]) -> bool:
    """Whether a line holds a line of the code, whatever stands around it."""
    flat = re.sub(r"\s", "", line)
    return any(len(part) >= QUOTED and part in flat for part in (re.sub(r"\s", "", one) for one in code))
