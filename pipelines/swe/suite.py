"""How a change's suite is run: the test spec without roles, and the folder the supervisor is started from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from envs.builder import BuiltEnvironment
from pipelines.swe.filters import IsTest
from pipelines.swe.split import SplitChange
from verifiers.tests.bundle import HiddenFiles, write_tests
from verifiers.tests.spec import TestSpec, infrastructure
from warehouse.settings import Settings


def test_arguments(paths: Iterable[str], is_test: IsTest) -> tuple[str, ...]:
    """What the runner is pointed at: the outermost folders of tests, and test modules that lie elsewhere.

    Naming them, instead of collecting from the root, keeps examples and vendored suites out, and does not
    depend on a configuration that differs between the states.
    """
    found: set[str] = set()
    for path in paths:
        pure = PurePosixPath(path)
        if pure.suffix != ".py" or not is_test(path):
            continue
        # A folder is a test folder when any module in it would count as a test.
        folders = [str(p) for p in reversed(pure.parents) if str(p) != "." and is_test(f"{p}/any_module.py")]
        found.add(folders[0] if folders else path)
    return tuple(sorted(found))


def hidden_files(split: SplitChange) -> HiddenFiles:
    """Hidden tests in the bundle's form."""
    return {path: (f"{entry.mode:o}", entry.data) for path, entry in split.hidden.items()}


def test_spec(
    split: SplitChange,
    environment: BuiltEnvironment,
    *,
    base_paths: frozenset[str],
    touched: frozenset[str],
    is_test: IsTest,
    settings: Settings,
) -> TestSpec:
    """The spec of a change before anything of it was run. `touched` is what the gold patch touches."""
    protected, unprotected = infrastructure(base_paths, touched)
    base_tests = tuple(sorted(path for path in base_paths if is_test(path) and path not in touched))
    command = environment.runner.command
    return TestSpec(
        schema=1,
        runner="unittest" if environment.runner.framework == "unittest" else "pytest",
        python=command[0],
        options=command[3:],
        args=test_arguments((*base_paths, *split.hidden), is_test),
        env=environment.runner.env,
        test_seconds=settings.test_seconds,
        suite_seconds=settings.suite_seconds,
        deleted=split.deleted_tests,
        protected=tuple(dict.fromkeys((*protected, *base_tests))),
        unprotected=unprotected,
    )


def write_suite(folder: Path, spec: TestSpec, split: SplitChange) -> None:
    """Write the `tests/` folder of a draft."""
    write_tests(folder, spec, hidden_files(split))
