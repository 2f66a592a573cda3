"""Native test reports: one parser a format, used on the host and, copied flat, inside every bundle.

A parser is a module `report_<name>.py` that needs nothing but the standard library (Python 3.9) and has one
public function, `parse(log, files)`: `log` is the output of the test command, `files` are its report files by
relative path. It returns dicts of `id` (verbatim as the runner prints it), `status` (passed | failed | error
| skipped | xfailed | xpassed), `seconds` and `message`. An entry with `"collection": True` is no test: its id
is a file, package or class whose tests could not be compiled or collected. Reports are hostile: a parser
never runs, imports or fetches what it reads, takes time linear in its input, and raises ValueError for what
is no report of its format.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from envs.reports import TestResult, TestStatus
from warehouse.errors import FactoryError

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Parsed:
    """What a report says: tests, and what could not be collected."""

    results: tuple[TestResult, ...]
    collection_errors: tuple[TestResult, ...]


def names() -> tuple[str, ...]:
    """Every format there is."""
    return tuple(sorted(path.stem.removeprefix("report_") for path in FOLDER.glob("report_*.py")))


def source(name: str) -> bytes:
    """The parser's module, to be copied into a bundle."""
    path = FOLDER / f"report_{name}.py"
    if not path.is_file():
        raise FactoryError(f"There is no report format {name!r}: use one of {', '.join(names())}.")
    return path.read_bytes()


def read(name: str, log: bytes, files: Mapping[str, bytes]) -> Parsed:
    """Parse a report. Raises ValueError for what is no report of the format."""
    source(name)
    entries = importlib.import_module(f"envs.formats.report_{name}").parse(log, dict(files))
    results: list[TestResult] = []
    errors: list[TestResult] = []
    for entry in entries:
        result = TestResult(
            id=entry["id"],
            status=TestStatus(entry["status"]),
            seconds=entry.get("seconds", 0.0),
            message=entry.get("message", ""),
        )
        (errors if entry.get("collection") else results).append(result)
    return Parsed(tuple(results), tuple(errors))


def parse(name: str, log: bytes, files: Mapping[str, bytes]) -> tuple[TestResult, ...]:
    """The tests of a report."""
    return read(name, log, files).results
