"""Interpreters that can be had, and the oldest runner and build backends that work on them: tables, and one ordering.

Faithful means: the newest interpreter that was out when the source was published and that the source allows, with the
runner of that day. The tables say where that day's runner or backend cannot work, so that a plan is right before
anything is started. Versions and dates are upstream's; "oldest that starts" was measured in containers of each suite.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name


@dataclass(frozen=True)
class Interpreter:
    """The Python of a Debian suite."""

    suite: str
    python: str
    released: date
    pytest: str
    """Oldest pytest that starts on it."""
    pytest_released: date


INTERPRETERS = (
    Interpreter("bullseye", "3.9", date(2020, 10, 5), "4.6.11", date(2020, 6, 5)),
    Interpreter("bookworm", "3.11", date(2022, 10, 24), "6.2.5", date(2021, 8, 30)),
    Interpreter("trixie", "3.13", date(2024, 10, 7), "7.4.0", date(2023, 6, 23)),
)


@dataclass(frozen=True)
class Backend:
    """The first release of a build backend that can install a project in place (PEP 660)."""

    name: str
    version: str
    released: date


# A backend older than this is raised to it in the isolated build only; the packages of the environment stay as of the date.
BACKENDS = (
    Backend("setuptools", "64.0.3", date(2022, 8, 18)),
    Backend("poetry-core", "1.0.8", date(2022, 2, 28)),
    Backend("flit-core", "3.4.0", date(2021, 10, 18)),
    Backend("pdm-pep517", "0.12.0", date(2022, 2, 20)),
)


def choose(requires_python: str, classified: tuple[str, ...], when: datetime) -> list[Interpreter]:
    """Interpreters the source allows, most faithful first.

    Released by the date before later ones; among those, one whose runner of that day starts, then one the source
    names in its classifiers (when it names any of ours), then the newest.
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


def backends_raised(when: datetime) -> dict[str, date]:
    """Build backends that could not yet install in place on that day: name → the day whose release is used instead."""
    return {str(canonicalize_name(b.name)): b.released for b in BACKENDS if b.released > when.date()}
