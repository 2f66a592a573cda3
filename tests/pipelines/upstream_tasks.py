"""Validated upstream tasks to transform: a bug fix, and two features, each starting where the last ended."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from calc_repo import _commit, make

from envs.docker.backend import DockerBackend
from pipelines.factory import Quiet, Tally, mine, process_batch, run_id
from pipelines.family import Context, Family
from pipelines.swe.family import SweFamily, SweOptions
from warehouse.loader import load
from warehouse.settings import Settings

STATS = '''\
"""What a list of numbers looks like."""


def median(values):
    """The middle one, or the mean of the two in the middle."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2 == 1:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def spread(values):
    """How far the largest is from the smallest; 0 for none."""
    if not values:
        return 0
    return max(values) - min(values)


def histogram(values, width):
    """How many values lie in each interval of a width."""
    counts = {}
    for value in values:
        start = value // width * width
        counts[start] = counts.get(start, 0) + 1
    return counts


def longest_run(values):
    """Length of the longest run of equal values."""
    best = run = 0
    last = None
    for value in values:
        run = run + 1 if value == last and run > 0 else 1
        best = max(best, run)
        last = value
    return best
'''
STATS_TESTS = """\
from calc.stats import histogram, longest_run, median, spread


def test_median():
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 2, 3]) == 2.5


def test_spread():
    assert spread([3, 1, 7]) == 6
    assert spread([]) == 0


def test_histogram():
    assert histogram([1, 2, 11, 12, 13], 10) == {0: 2, 10: 3}


def test_longest_run():
    assert longest_run([1, 1, 2, 2, 2, 1]) == 3
    assert longest_run([]) == 0
"""
TEXT = """Add statistics (#5)

Lists of numbers can be described: `calc.stats` has `median`, `spread`, `histogram` and `longest_run`.
"""


def upstream(repo: Path) -> Path:
    """The history of `calc_repo`, with a larger change at its end."""
    make(repo)
    files = {"calc/stats.py": STATS, "tests/test_stats.py": STATS_TESTS}
    _commit(repo, files, TEXT, "2024-03-06T12:00:00Z")
    return repo


def place(folder: Path, settings: Settings) -> None:
    """Put them into the home of `settings`: made once for all folders beside `folder`, then copied."""
    made = folder.parent / "upstream-tasks"
    if not made.exists():
        part = settings.model_copy(update={"home": folder.parent / "upstream-part"})
        options = SweOptions(
            source="git",
            repo=(upstream(folder.parent / "upstream-calc"),),
            since=datetime(2024, 3, 4, tzinfo=UTC),
        )
        asyncio.run(run(SweFamily(), options, part, folder.parent / "upstream-work"))
        part.home.rename(made)
    shutil.copytree(made, settings.home)


async def run(family: Family, options: Any, settings: Settings, folder: Path) -> Tally:
    """Take every candidate of the options' one source through every stage."""
    (source,) = family.inputs(options)
    name = run_id(family.name, source, options.identity())
    tally = Tally(source, name)
    todo = mine(family, source, options, settings, name, tally)
    backend = DockerBackend(settings)
    try:
        context = Context(settings=settings, sandboxes=backend, run_id=name, workdir=folder)
        await process_batch(family, todo, context, source, tally, Quiet())
    finally:
        await backend.close()
    load(settings)
    return tally
