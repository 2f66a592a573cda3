"""Planning a recipe, and what it renders to."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from envs.languages import Broken, Resolved, Upstream, detect
from envs.languages.python import PythonRecipe, PythonToolchain, image, interpreters
from envs.languages.tree import Tree

python = PythonToolchain()


def upstream(date: str, files: dict[str, str] | None = None, version: str = "1.0") -> Upstream:
    content = {
        "setup.py": "from setuptools import setup\nsetup(name='calc')",
        "tests/test_a.py": "def test(): pass",
    }
    tree = Tree({name: text.encode() for name, text in (content | (files or {})).items()})
    return Upstream("calc", version, datetime.fromisoformat(date).replace(tzinfo=UTC), tree, tree)


def plan(date: str, files: dict[str, str] | None = None, version: str = "1.0") -> list[PythonRecipe]:
    recipes = python.plan(upstream(date, files, version))
    assert isinstance(recipes, list)
    return recipes


def test_detection() -> None:
    assert isinstance(detect(Tree({"setup.cfg": b""})), PythonToolchain)
    assert detect(Tree({"main.f90": b""})) is None


@pytest.mark.parametrize(("date", "order"), [
    ("2019-05-01", ["3.9", "3.11", "3.13"]),
    ("2021-03-01", ["3.9", "3.11", "3.13"]),
    ("2022-10-20", ["3.9", "3.11", "3.13"]),
    ("2023-02-01", ["3.11", "3.9", "3.13"]),
    ("2025-06-01", ["3.13", "3.11", "3.9"]),
])  # fmt: skip
def test_the_newest_interpreter_of_the_day_comes_first(date: str, order: list[str]) -> None:
    assert [recipe.python for recipe in plan(date)] == order


def test_the_source_narrows_the_interpreters() -> None:
    cfg = "[options]\npython_requires = >=3.9.1,<3.12\n"
    cfg += "[metadata]\nclassifier =\n  Programming Language :: Python :: 3.9\n"
    assert [recipe.python for recipe in plan("2025-06-01", {"setup.cfg": cfg})] == ["3.9", "3.11"]
    none = python.plan(upstream("2025-06-01", {"setup.cfg": "[options]\npython_requires = >=3.99\n"}))
    assert isinstance(none, Broken)
    assert none.reason == "interpreter_unavailable"


def test_the_runner_is_raised_only_where_that_days_does_not_start() -> None:
    assert [r.runner_raised for r in plan("2021-03-01")] == ["", "6.2.5", "6.2.5"]
    assert [r.runner_raised for r in plan("2016-03-01")] == ["3.9.3", "6.2.5", "6.2.5"]
    assert [r.runner_raised for r in plan("2023-03-01")] == ["", "", ""]
    raised = plan("2016-03-01", {"requirements-test.txt": "pytest==2.9"})[0]
    assert "pytest==3.9.3" in raised.inputs()
    assert "pytest==2.9" not in raised.inputs()


def test_backends_are_raised_for_builds_only() -> None:
    recipe = plan("2021-03-01")[0]
    strict, building = (image.index_options(recipe, builds=builds) for builds in (False, True))
    assert strict == ["--exclude-newer=2021-03-01T00:00:00Z"]
    assert "--exclude-newer-package=setuptools=2022-08-14T00:00:00Z" in building
    assert interpreters.backends_raised(interpreters.INTERPRETERS[1], datetime(2024, 1, 1, tzinfo=UTC)) == {}


def test_a_source_without_tests_is_refused() -> None:
    bare = Tree({"setup.py": b"", "calc.py": b""})
    broken = python.plan(Upstream("calc", "1", datetime(2023, 1, 1, tzinfo=UTC), bare, bare))
    assert isinstance(broken, Broken)
    assert broken.reason == "no_tests"


def test_dockerfile_layers_and_sharing() -> None:
    first, second = (plan("2023-02-01", version=v)[0] for v in ("1.0", "2.0"))
    one, two = (image.dockerfile(recipe) for recipe in (first, second))
    assert one.startswith("ARG BASE=debian:bookworm-slim\nFROM ${BASE}\n")
    assert one.startswith(image.toolchain(first))
    assert two.startswith(image.toolchain(first)), "projects of a suite share the toolchain's layers"
    order = [one.index(part) for part in ("apt-get", "requirements.lock", "ADD app.tar", " -e /app")]
    assert order == sorted(order)
    assert one.count("apt-get update") == 1, "nothing asks Debian after the toolchain"


def test_a_hostile_version_reaches_no_shell() -> None:
    for version in ("1.0; touch /pwned", "$(id)", "1.0\nRUN id"):
        recipe = plan("2023-02-01", version=version)[0]
        assert recipe.version == "0"
        assert "pwned" not in image.dockerfile(recipe)


def test_recipe_round_trip_and_runner() -> None:
    recipe = plan("2023-02-01", {"setup.cfg": "[tool:pytest]\naddopts = --cov --flake8\n"})[0]
    assert PythonRecipe.model_validate_json(recipe.model_dump_json()) == recipe
    runner = python.runner(Resolved(recipe, ("pytest==7.2.1", "pytest-cov==4.0.0")))
    assert runner.version == "7.2.1"
    assert runner.command[:3] == ("/opt/venv/bin/python", "-m", "pytest")
    assert runner.command[-2:] == ("-o", "addopts=--cov")
    assert "--no-cov" in runner.command
    files = python.context(Resolved(recipe, ("a==1", "b==2")))
    assert files["requirements.lock"] == b"a==1\nb==2\n"
    assert re.search(rb"^COPY requirements.lock", files["Dockerfile"], re.M)
