"""Whole environments of small made-up projects: the real index resolves, the real daemon builds and runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent

import pytest

from envs import registries
from envs.builder import BuildFailure, BuiltEnvironment, build_environment, toolchain_image
from envs.docker.backend import DockerBackend
from envs.languages import Resolved, Upstream
from envs.languages.python import PythonRecipe, PythonToolchain
from envs.languages.tree import EXECUTABLE, LINK, Tree
from envs.sandbox import Network, Sandbox, SandboxSpec
from warehouse.settings import Settings

pytestmark = [pytest.mark.docker, pytest.mark.network]

python = PythonToolchain()

# As of March 2021: setuptools without PEP 660, and a conftest that later pytests refuse.
OLD = {
    "setup.py": """
        import os
        from setuptools import setup
        open("oldcalc/_version.py", "w").write("written by the build")
        open("made-by-build.txt", "w").write(str(os.getuid()))
        setup(name="oldcalc", use_scm_version=True, setup_requires=["setuptools_scm"], packages=["oldcalc"],
              install_requires=["six"])
    """,
    "oldcalc/__init__.py": "import six\ndef add(a, b): return a + b\n",
    "oldcalc/_version.py": "mined\n",
    "conftest.py": """
        import pytest
        collect = pytest.collect.File  # gone since pytest 8

        @pytest.yield_fixture
        def one(): yield 1
    """,
    "tests/test_add.py": "import mock\nfrom oldcalc import add\ndef test_add(one): assert add(one, 1) == 2\n",
    "crlf.txt": "a\r\nb\r\n",
    ".gitattributes": "* text=auto eol=lf\n*.txt ident filter=evil\n",
    "run.sh": "#!/bin/sh\n",
    "link": "run.sh",
}

# Requirements computed by code, one that nobody ever published, and an import that only collection shows.
NEW = {
    "pyproject.toml": """
        [build-system]
        requires = ["setuptools>=60"]
        build-backend = "setuptools.build_meta"
        [project]
        name = "newcalc"
        version = "2.0"
        dynamic = ["dependencies"]
        requires-python = ">=3.8"
        [project.optional-dependencies]
        test = ["pytest>=7", "verifactory-was-never-published>=1"]
        [tool.pytest.ini_options]
        addopts = "--cov=newcalc --flake8"
    """,
    "setup.py": "from setuptools import setup\nsetup(install_requires=['attrs' + '>=21'])\n",
    "src/newcalc/__init__.py": "import attr\n",
    "tests/test_new.py": """
        import importlib
        simplejson = importlib.import_module("simplejson")
        def test_new(): assert simplejson.dumps([]) == "[]"
    """,
}


def tree(files: dict[str, str], modes: dict[str, int] | None = None) -> Tree:
    return Tree({name: dedent(text).lstrip("\n").encode() for name, text in files.items()}, modes or {})


@pytest.fixture(autouse=True)
def no_environment_outlives_its_test(docker: DockerBackend, tmp_path: Path) -> Iterator[None]:
    """Each attempt's context is a folder named like its image, whether the attempt succeeded or not."""
    yield
    api = docker.daemon.client.api
    for dockerfile in tmp_path.rglob("Dockerfile"):
        for tag in api.images(f"verifactory/env:{dockerfile.parent.name}"):
            api.remove_image(tag["RepoTags"][0])


@pytest.fixture
async def opened(docker: DockerBackend) -> AsyncIterator[list[Sandbox]]:
    sandboxes: list[Sandbox] = []
    yield sandboxes
    for sandbox in sandboxes:
        await sandbox.stop()


async def test_an_old_project_gets_the_packages_and_interpreter_of_its_day(
    docker: DockerBackend,
    docker_settings: Settings,
    tmp_path: Path,
    opened: list[Sandbox],
) -> None:
    old = tree(OLD, {"run.sh": EXECUTABLE, "link": LINK})
    upstream = Upstream("oldcalc", "1.2.3", datetime(2021, 3, 1, tzinfo=UTC), old, old)
    first = await build_environment(
        upstream, backend=docker, settings=docker_settings, workdir=tmp_path / "a"
    )
    assert isinstance(first, BuiltEnvironment), first
    assert (first.recipe.suite, first.runner.version, first.collected, first.attempts) == (
        "bullseye",
        "6.2.2",
        1,
        1,
    )
    assert {line.split("==")[0] for line in first.manifest} >= {"pytest", "six", "mock", "setuptools"}
    assert "oldcalc" not in str(first.manifest)

    again = await build_environment(
        upstream, backend=docker, settings=docker_settings, workdir=tmp_path / "b"
    )
    assert isinstance(again, BuiltEnvironment)
    assert (again.environment_id, again.digest) == (first.environment_id, first.digest)
    for name in ("Dockerfile", "requirements.lock", "app.tar"):
        assert (again.context / name).read_bytes() == (first.context / name).read_bytes()
    record = first.record("0" * 64)
    assert (record.environment_id, record.language, record.attempts) == (first.environment_id, "python", 1)
    assert record.size_bytes > 0

    sandbox = await docker.start(SandboxSpec(image=first.image, network=Network.NONE))
    opened.append(sandbox)
    await check_contract(sandbox)
    tests = await sandbox.exec(
        [*first.runner.command, "-q"], timeout=60, user="tester", workdir="/app", env=first.runner.env
    )
    assert tests.ok, tests.text()
    assert b"1 passed" in tests.stdout


# Command and what it must print, as `agent`: docs/design.md, the environment image.
CONTRACT: tuple[tuple[str, str], ...] = (
    ("git status --porcelain", ""),
    ("git log --format='%an %ad %s' --date=short; git tag; git remote", "upstream 2000-01-01 Base"),
    ("cat oldcalc/_version.py; od -An -c crlf.txt", r"mined a \r \n b \r \n"),
    ("cat made-by-build.txt; echo; stat -c '%U %a %N' run.sh link",
     "1000 agent 755 'run.sh' agent 777 'link' -> 'run.sh'"),
    ("find /app ! -user agent; find /opt ! -user root; find /tmp /var/tmp -mindepth 1", ""),
    ("id -u agent tester", "1000 1001"),
    ("ls /usr/lib/*/faketime/libfaketime.so.1 | wc -l; /usr/bin/python3 -V; which git",
     "1 Python 3.9.2 /usr/bin/git"),
    ("touch /opt/venv/x /opt/x 2>/dev/null; echo $?", "1"),
    ("find / -xdev -path '*/.cache/*' 2>/dev/null", ""),
    ("cd /; python -c 'from importlib.metadata import version as v; import oldcalc as o; '"
        "'print(v(o.__name__), o.__file__)'",
     "1.2.3 /app/oldcalc/__init__.py"),
    ("echo $LC_ALL; find /var/lib/apt/lists /var/cache/apt -type f -size +0 2>&- | wc -l", "C.UTF-8 0"),
)  # fmt: skip


async def check_contract(sandbox: Sandbox) -> None:
    for script, expected in CONTRACT:
        result = await sandbox.exec(["sh", "-c", script], timeout=60, user="agent", workdir="/app")
        assert " ".join(result.text().split()) == expected, script


async def test_what_is_missing_is_dropped_or_added_by_rule(
    docker: DockerBackend, docker_settings: Settings, tmp_path: Path
) -> None:
    gold = tree(NEW)
    base = Tree({name: data for name, data in gold.items() if name != "tests/test_new.py"})
    upstream = Upstream("newcalc", "1.9", datetime(2023, 6, 1, tzinfo=UTC), base, gold)
    built = await build_environment(upstream, backend=docker, settings=docker_settings, workdir=tmp_path)
    assert isinstance(built, BuiltEnvironment), built
    names = {line.split("==")[0] for line in built.manifest}
    assert names >= {"attrs", "pytest", "pytest-cov", "simplejson"}
    assert built.recipe.suite == "bookworm"
    assert built.attempts == 2
    notes = "\n".join(built.recipe.notes)
    assert "verifactory-was-never-published dropped: not on the index" in notes
    assert "simplejson added: simplejson is imported" in notes
    assert "pytest option --flake8 left out" in notes
    assert not (tmp_path / built.environment_id / "tests").exists()


async def test_a_project_that_its_runner_needs_is_not_in_the_lock(
    docker: DockerBackend, docker_settings: Settings, opened: list[Sandbox]
) -> None:
    recipe = PythonRecipe(
        suite="bookworm", name="iniconfig", version="1.0", python="3.11", requires=(),
        index_date=datetime(2023, 6, 1, tzinfo=UTC),
    )  # fmt: skip
    image = await toolchain_image(python, recipe, docker, docker_settings)
    sandbox = await docker.start(
        SandboxSpec(image=image, network=Network.ALLOWLIST, allowed_hosts=registries.python_hosts())
    )
    opened.append(sandbox)
    resolved = await python.resolve(recipe, tree(NEW), sandbox, timeout=120)
    assert isinstance(resolved, Resolved), resolved
    assert "pytest==7.3.1" in resolved.manifest
    assert not any(line.startswith("iniconfig") for line in resolved.manifest)


async def test_a_project_that_cannot_be_had_says_why(
    docker: DockerBackend, docker_settings: Settings, tmp_path: Path
) -> None:
    broken = tree({
        "setup.py": "from setuptools import setup\nsetup()\n",
        "setup.cfg": "[metadata]\nname = x\n[options]\npython_requires = >=3.11,<3.12\n"
        "install_requires = verifactory-was-never-published\n",
        "tests/test_a.py": "def test(): pass\n",
    })  # fmt: skip
    upstream = Upstream("x", "1", datetime(2023, 6, 1, tzinfo=UTC), broken, broken)
    failure = await build_environment(upstream, backend=docker, settings=docker_settings, workdir=tmp_path)
    assert isinstance(failure, BuildFailure)
    assert failure.reason == "resolution_failed"
    assert "verifactory-was-never-published" in failure.log
