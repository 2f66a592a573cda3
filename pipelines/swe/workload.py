"""Which tests a change that makes something faster is measured by, before anything is measured.

The change's own report of each state says how long each test took. Those that saved most are the workload;
if none did, those of the change's own files that took longest. Times of one run are a hint and no more:
whether the workload tells gold from the base is measured (`verifiers.performance`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from envs.reports import TestReport
from verifiers.tests.spec import TestSpec

MOST_TESTS = 12
LEAST_SECONDS = 0.03  # of the workload, in the base; what is shorter is lost in a process's start
LEAST_SAVED = 0.005
SAVED_SHARE = 0.1


@dataclass(frozen=True)
class Workload:
    """Tests, and what the runner is given to run them."""

    tests: tuple[str, ...]
    args: tuple[str, ...]
    seconds: float


def choose(spec: TestSpec, kept: Iterable[str], before: TestReport, after: TestReport) -> Workload | None:
    """The workload among the tests that are maintained; None where none takes long enough to be measured."""
    was, now = before.by_id(), after.by_id()
    kept = [name for name in kept if name in was and name in now]
    saved = {name: was[name].seconds - now[name].seconds for name in kept}
    better = [n for n in kept if saved[n] >= max(LEAST_SAVED, SAVED_SHARE * was[n].seconds)]
    own = {file.path for file in spec.hidden}
    if better:
        chosen = sorted(better, key=lambda name: -saved[name])[:MOST_TESTS]
    else:
        mine = [name for name in kept if not own or _file(name) in own] or kept
        chosen = sorted(mine, key=lambda name: -was[name].seconds)[:MOST_TESTS]
    functions = {_function(name) for name in chosen} if spec.runner == "pytest" else set(chosen)
    tests = [name for name in kept if name in chosen or _function(name) in functions]
    seconds = sum(was[name].seconds for name in tests)
    if seconds < LEAST_SECONDS:
        return None
    return Workload(tuple(tests), _arguments(spec, tests), seconds)


def _arguments(spec: TestSpec, tests: Iterable[str]) -> tuple[str, ...]:
    """As little of the suite as the runner can be told to run."""
    if spec.runner == "pytest":
        return tuple(dict.fromkeys(_function(name) for name in tests))
    if spec.runner == "unittest":
        stems = {name.rsplit(".", 2)[0].replace(".", "/") + ".py" for name in tests}
        files = [
            a
            for a in spec.args
            if any(a == stem or stem.endswith("/" + a) or a.endswith("/" + stem) for stem in stems)
        ]
        return tuple(files) or spec.args
    return spec.args


def _function(name: str) -> str:
    """A test of pytest without its parameters: those need not be what they were, read back from a command."""
    return name.partition("[")[0]


def _file(name: str) -> str:
    return str(PurePosixPath(name.partition("::")[0]))
