"""How a change's suite is run: the test spec without roles, and the folder the supervisor is started from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from envs.builder import BuiltEnvironment
from envs.languages import Runner, Toolchain
from pipelines.swe.split import SplitChange
from verifiers.tests.bundle import HiddenFiles, write_tests
from verifiers.tests.spec import TestSpec, infrastructure
from warehouse.settings import Settings


def hidden_files(split: SplitChange) -> HiddenFiles:
    """Hidden tests in the bundle's form."""
    return {path: (f"{entry.mode:o}", entry.data) for path, entry in split.hidden.items()}


def test_spec(
    split: SplitChange,
    environment: BuiltEnvironment,
    *,
    toolchain: Toolchain[Any],
    base_paths: frozenset[str],
    touched: frozenset[str],
    settings: Settings,
) -> TestSpec:
    """The spec of a change before anything of it was run. `touched` is what the gold patch touches."""
    protected, unprotected = infrastructure(base_paths, touched, toolchain.steering)
    is_test = toolchain.is_test
    base_tests = tuple(sorted(path for path in base_paths if is_test(path) and path not in touched))
    return TestSpec(
        schema=1,
        **_runner(environment.runner),
        args=toolchain.arguments((*base_paths, *split.hidden)),
        env=environment.runner.env,
        test_seconds=settings.test_seconds,
        suite_seconds=settings.suite_seconds,
        deleted=split.deleted_tests,
        protected=tuple(dict.fromkeys((*protected, *base_tests))),
        unprotected=unprotected,
        steering=toolchain.steering,
    )


def _runner(runner: Runner) -> dict[str, Any]:
    """How the suite is started: with our reporter in its process, or as a command that reports itself."""
    if runner.framework in ("pytest", "unittest"):
        return {
            "runner": runner.framework,
            "python": runner.command[0],
            "options": runner.command[3:],
        }
    return {
        "runner": "command",
        "command": runner.command,
        "build": runner.build,
        "report": runner.report,
        "report_files": runner.report_files,
        "log_report": runner.log_report,
    }


def write_suite(folder: Path, spec: TestSpec, split: SplitChange) -> None:
    """Write the `tests/` folder of a draft."""
    write_tests(folder, spec, hidden_files(split))
