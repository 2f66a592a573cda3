"""Which Node a project gets: that of a Debian suite, or a newer one from the registry where it asks for that.

Pure. Ranges are read to the major version only; that is what the choice is between.
"""

from __future__ import annotations

import re
from datetime import date

SUITES: tuple[tuple[str, int, date], ...] = (
    ("bullseye", 12, date(2021, 11, 1)),
    ("bookworm", 18, date(2024, 11, 1)),
    ("trixie", 20, date.max),
)
"""Debian suite, its Node's major version, and until when sources are rather older than newer than it."""

NEWEST = 26
"""Newest major version that is tried from the registry."""

# Oldest Node that a tool starts on, by its own major version: known where no lock file tells.
FLOORS: dict[str, tuple[tuple[int, int], ...]] = {
    "jest": ((27, 10), (28, 12), (29, 14), (30, 18)),
    "vitest": ((0, 14), (1, 18), (3, 18), (4, 20)),
    "mocha": ((8, 10), (9, 12), (10, 14), (11, 18)),
    "ava": ((4, 12), (5, 14), (6, 18), (7, 20)),
    "tap": ((15, 10), (16, 10), (18, 16), (19, 18), (21, 20)),
    "typescript": ((5, 14),),
    "vite": ((3, 14), (5, 18), (7, 20)),
    "rollup": ((3, 14), (4, 18)),
}


def allows(wanted: str, major: int) -> bool:
    """Whether a range of versions has one with this major version."""
    return not wanted.strip() or any(_part(part, major) for part in wanted.split("||"))


def _part(part: str, major: int) -> bool:
    if between := re.match(r"\s*v?(\d+)\S*\s+-\s+v?(\d+)", part):
        return int(between[1]) <= major <= int(between[2])
    return all(
        _comparator(sign, int(number), rest, major)
        for sign, number, rest in re.findall(r"([<>=~^]*)\s*v?(\d+)([\w.*-]*)", part)
    )


def _comparator(sign: str, number: int, rest: str, major: int) -> bool:
    if sign == ">=":
        return major >= number
    if sign == ">":
        return major > number or (major == number and bool(re.search(r"\d", rest)))
    if sign == "<":
        return major < number or (major == number and bool(re.search(r"[1-9]", rest)))
    if sign == "<=":
        return major <= number
    return major == number


def least(requirement: str) -> int | None:
    """The lowest major version that a requirement names; None when it names none."""
    found = [int(n) for n in re.findall(r"(?<![\d.])v?(\d+)(?:\.[\dx*]+)*", requirement)]
    return min(found, default=None)


def floor(dependencies: dict[str, str]) -> int:
    """Oldest Node that the tools of a project start on."""
    highest = 0
    for name, steps in FLOORS.items():
        version = least(dependencies[name]) if name in dependencies else None
        fitting = [node for major, node in steps if version is not None and major <= version]
        highest = max([highest, *fitting])
    return highest


def choose(engines: str, dependencies: dict[str, str], when: date) -> list[tuple[str, int]]:
    """(suite, 0) or (suite, major version to fetch), in the order worth trying."""
    oldest = floor(dependencies)
    fitting = [entry for entry in SUITES if entry[1] >= oldest and allows(engines, entry[1])]
    usual = [entry for entry in fitting if when < entry[2]]
    earlier = [entry for entry in reversed(fitting) if when >= entry[2]]
    chosen = [(suite, 0) for suite, _, _ in (*usual, *earlier)]
    if chosen:
        return chosen
    last = SUITES[-1]
    newer = [
        major for major in range(last[1] + 2, NEWEST + 1, 2) if allows(engines, major) and major >= oldest
    ]
    odd = [major for major in range(13, NEWEST + 1) if allows(engines, major) and major >= oldest]
    return [(last[0], major) for major in (newer or odd)[:1]]
