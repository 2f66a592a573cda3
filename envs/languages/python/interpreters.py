"""Interpreters that can be had, and the oldest runner and build backends that work on them: tables, and one
ordering.

Faithful means: the newest interpreter that was out when the source was published and that the source allows,
with the runner of that day. The tables say where that day's runner or backend cannot work, so that a plan is
right before anything is started. Versions and dates are upstream's; "oldest that starts" was measured in
containers of each suite.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from packaging.specifiers import InvalidSpecifier, SpecifierSet


@dataclass(frozen=True)
class Interpreter:
    """The Python of a Debian suite, with what is too old to work on it."""

    suite: str
    python: str
    released: date
    pytest: str
    """Oldest pytest that starts, collects and runs a test on it: measured."""
    pytest_released: date
    """When it and all that comes with it were out: 6.2.5 needs py 1.11 here."""
    setuptools_released: date
    """Day of the oldest setuptools that builds on it and installs in place (PEP 660, 64.0)."""


INTERPRETERS = (
    Interpreter("bullseye", "3.9", date(2020, 10, 5), "3.9.3", date(2018, 10, 27), date(2022, 8, 12)),
    Interpreter("bookworm", "3.11", date(2022, 10, 24), "6.2.5", date(2021, 11, 5), date(2022, 8, 12)),
    Interpreter("trixie", "3.13", date(2024, 10, 7), "6.2.5", date(2021, 11, 5), date(2023, 6, 23)),
)

# Other build backends: the day of the first release that installs in place. wheel is what setuptools needs
# for it.
BACKENDS = {
    "flit-core": date(2021, 10, 10),
    "pdm-pep517": date(2022, 3, 8),
    "poetry-core": date(2022, 2, 28),
    "wheel": date(2021, 12, 22),
}


def choose(requires_python: str, classified: tuple[str, ...], when: datetime) -> list[Interpreter]:
    """Interpreters the source allows, most faithful first.

    Released by the date before later ones; among those, one whose runner of that day starts, then one the
    source names in its classifiers (when it names any of ours), then the newest.
    """
    allowed = [i for i in INTERPRETERS if _allows(requires_python, i.python)]
    named = {i.python for i in allowed} & set(classified)

    def rank(i: Interpreter) -> tuple[bool, bool, bool, int]:
        out = i.released <= when.date()
        age = -i.released.toordinal() if out else i.released.toordinal()
        return (not out, runner_floor(i, when) != "", bool(named) and i.python not in named, age)

    return sorted(allowed, key=rank)


def _allows(requires_python: str, python: str) -> bool:
    try:
        allowed = SpecifierSet(requires_python)
    except InvalidSpecifier:
        return True
    # Any patch release will do: '>=3.9.2' must not exclude 3.9 here; uv checks the real one.
    return any(allowed.contains(f"{python}.{patch}") for patch in range(0, 26))


def runner_floor(interpreter: Interpreter, when: datetime) -> str:
    """The pytest to raise to when that day's does not start on the interpreter, else ''."""
    return "" if interpreter.pytest_released <= when.date() else interpreter.pytest


def backends_raised(interpreter: Interpreter, when: datetime) -> dict[str, date]:
    """Build backends too old to install in place on the interpreter: name → the day whose release builds
    instead.

    They are raised in isolated builds only; the packages of the environment stay as of the date.
    """
    days = BACKENDS | {"setuptools": interpreter.setuptools_released}
    return {name: day for name, day in sorted(days.items()) if day > when.date()}
