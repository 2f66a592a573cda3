"""What resolution gives up, and what repair changes: rules against the tools' own words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from envs.languages import Broken
from envs.languages.python import PythonRecipe
from envs.languages.python.repair import repair
from envs.languages.python.resolve import give_up, manifest
from envs.languages.python.smoke import count

UNKNOWN = """  x No solution found when resolving dependencies:
  `-> Because no-such-thing was not found in the package registry and you require
      no-such-thing, we can conclude that your requirements are unsatisfiable."""
TOO_NEW = """error: No solution found when resolving dependencies
  cause: Because there are no versions of atomicwrites and pytest==4.6.11 depends on atomicwrites>=1.0, we can
hint: `atomicwrites` was filtered by `exclude-newer-package` to only include packages uploaded before
2020-06-07T00:00:00Z. The latest version satisfying the requirement is v1.4.1, published at
2022-07-08T18:31:40.459Z."""
NO_BUILD = """error: Failed to build `coverage==4.5.1`
  cause: Call to `setuptools.build_meta:__legacy__.build_wheel` failed (exit status: 1)"""
CONFLICT = "Because you require a==1 and a==2, we can conclude that your requirements are unsatisfiable."


def recipe(**fields: Any) -> PythonRecipe:
    given: dict[str, Any] = {
        "suite": "bookworm", "name": "calc", "version": "1", "python": "3.11", "requires": ("six",),
        "index_date": datetime(2023, 1, 1, tzinfo=UTC), "tests": ("pytest==7.1", "no-such-thing"),
    }  # fmt: skip
    return PythonRecipe(**(given | fields))


def test_the_named_test_requirement_goes_first() -> None:
    smaller = give_up(recipe(), UNKNOWN)
    assert smaller is not None
    assert smaller.tests == ("pytest==7.1",)
    assert smaller.notes == ("no-such-thing dropped: not on the index",)


def test_what_the_project_needs_is_never_dropped() -> None:
    bare = recipe(requires=("no-such-thing",), tests=())
    assert give_up(bare, UNKNOWN) is None


def test_versions_then_test_requirements() -> None:
    first = give_up(recipe(tests=("pytest==7.1", 'mock[a]<2 ; python_version > "3"')), CONFLICT)
    assert first is not None
    assert first.tests == ("pytest", 'mock[a] ; python_version > "3"')
    second = give_up(first, CONFLICT)
    assert second is not None
    assert second.tests == ()
    assert "pytest" in second.inputs()
    assert give_up(second, CONFLICT) is None


def test_releases_put_up_again_are_seen_as_of_their_day() -> None:
    later = give_up(recipe(), TOO_NEW)
    assert later is not None
    assert later.gone == ("atomicwrites=2022-07-08T19:31:40Z",)
    assert give_up(recipe(name="atomicwrites", tests=()), TOO_NEW) is None, "never the project itself"


def test_backends_are_raised_before_a_requirement_is_dropped() -> None:
    first = give_up(recipe(tests=("coverage",), backends_raised=("setuptools=2022-08-12",)), NO_BUILD)
    assert first is not None
    assert (first.raise_builds, first.tests) == (True, ("coverage",))
    second = give_up(first, NO_BUILD)
    assert second is not None
    assert second.tests == ()
    missing = NO_BUILD + "\nerror: command 'gcc' failed: No such file or directory"
    assert give_up(first, missing) is None, "the builder adds a compiler instead"


def test_the_project_is_never_in_its_manifest() -> None:
    assert manifest("# comment\nb==2\na==1\n    # via b\n", "calc") == ("a==1", "b==2")
    with pytest.raises(ValueError, match="own manifest"):
        manifest("Calc==2\n", "calc")


@pytest.mark.parametrize(("stage", "log", "field", "value"), [
    ("collect", "E   ModuleNotFoundError: No module named 'yaml'", "imported", ("PyYAML",)),
    ("import", "ImportError: No module named dateutil.parser", "imported", ("python-dateutil",)),
    ("collect", "error: unrecognized arguments: --cov=calc --cov-report", "imported", ("pytest-cov",)),
    ("collect", "__main__.py: error: unrecognized arguments: --nonsense", "addopts", "-q"),
    ("collect", "ERROR: Missing required plugins: pytest-asyncio>=0.2", "imported", ("pytest-asyncio",)),
    ("collect", "0 tests collected", "framework", "unittest"),
    ("build", "x.c:1:10: fatal error: Python.h: No such file or directory", "packages", ("python3-dev",)),
    ("build", "error: command 'gcc' failed: No such file or directory", "compiler", True),
    ("build", "/bin/sh: 1: pg_config: not found", "packages", ("libpq-dev",)),
    ("build", "AttributeError: cython_sources", "build_constraints", ("cython<3",)),
    ("build", "error: Failed to build `calc @ file:///app`", "install", "path"),
])  # fmt: skip
def test_repairs(stage: str, log: str, field: str, value: object) -> None:
    before = recipe(own_addopts="-q --nonsense", framework="unittest" if value == "unittest" else "pytest")
    mended = repair(before, Broken(stage, log))
    if value == "unittest":
        assert mended is not None
        assert mended.framework == "pytest"
        return
    assert mended is not None
    assert getattr(mended, field) == value
    assert len(mended.notes) == 1
    again = repair(mended, Broken(stage, log))
    assert again is None or again != mended, "a rule that changes nothing does not count"


def test_nothing_fits() -> None:
    assert repair(recipe(), Broken("collect", "E   AssertionError")) is None
    assert repair(recipe(), Broken("collect", "No module named 'six'")) is None


@pytest.mark.parametrize(("output", "tests"), [
    ("tests/a.py::t1\ntests/a.py::t2\n\nno tests ran in 0.01 seconds\n", 2),
    ("tests/a.py::t1\n\n1 test collected in 0.01s\n", 1),
    ("tests/a.py: 12\ntests/b.py: 3\n", 15),
    ("ERROR collecting x\n-1 tests collected\n", 0),
    ("23/25 tests collected (2 deselected) in 0.1s\n", 23),
])  # fmt: skip
def test_counting_collected_tests(output: str, tests: int) -> None:
    assert count(output) == tests
