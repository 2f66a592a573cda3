"""Environments that no rule mends, mended by one scripted model that sees nothing but the conversation.

The failures are real: the rules run first, in the same containers. So are the repairs: the script looks into
the tree, asks apt in the trial sandbox which package has what is missing, and submits a recipe, which the
ordinary builder builds from scratch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from scripted_model import KEY, Raw, Say, Use, in_turn, serving

from envs.builder import BuildFailure, BuiltEnvironment, build_environment, toolchain_image
from envs.docker.backend import DockerBackend
from envs.languages import Upstream
from envs.languages.python import PythonRecipe, PythonToolchain
from envs.languages.tree import EXECUTABLE, Tree
from envs.model import metered
from envs.repair_loop.shell import Shell
from envs.sandbox import Limits, SandboxSpec
from warehouse.settings import Settings

pytestmark = [pytest.mark.docker, pytest.mark.network]


@dataclass(frozen=True)
class Project:
    """What is broken, and what the mended recipe must have."""

    files: dict[str, str]
    date: datetime
    broken: str
    """The reason of the rules."""
    changed: dict[str, Any]
    modes: dict[str, int]

    def upstream(self, name: str) -> Upstream:
        files = {path: dedent(text).lstrip("\n").encode() for path, text in self.files.items()}
        tree = Tree(files, self.modes)
        return Upstream(name, "1.0", self.date, tree, tree)


PROJECTS: dict[str, Project] = {
    # A header that no table of ours knows.
    "c": Project(
        {
            "Makefile": """
                test: tests/run
                \ttests/run
                tests/run: tests/run.c
                \tcc -o tests/run tests/run.c
            """,
            "tests/run.c": """
                #include <stdio.h>
                #include <utlist.h>
                int main(void) { puts("PASS: list"); return 0; }
            """,
        },
        datetime(2024, 6, 1, tzinfo=UTC),
        "compiler_failed",
        {"packages": ("uthash-dev",)},
        {},
    ),
    # A shared library that the project loads by itself and names nowhere.
    "python": Project(
        {
            "pyproject.toml": """
                [build-system]
                requires = ["setuptools>=61"]
                build-backend = "setuptools.build_meta"
                [project]
                name = "jsonscan"
                version = "1.0"
                requires-python = ">=3.11,<3.12"
            """,
            "jsonscan.py": 'import ctypes\nyajl = ctypes.CDLL("libyajl.so.2")\n',
            "test_it.py": "import jsonscan\ndef test_it(): assert jsonscan.yajl.yajl_version() > 20000\n",
        },
        datetime(2023, 6, 1, tzinfo=UTC),
        "import_failed",
        {"packages": ("libyajl2",)},
        {},
    ),
    # A pin on a release that there never was.
    "pin": Project(
        {
            "setup.py": """
                from setuptools import setup
                setup(name="pinned", version="1.0", py_modules=["pinned"], python_requires=">=3.11,<3.12",
                      install_requires=["six==99.0"])
            """,
            "pinned.py": "import six\n",
            "test_pinned.py": "import pinned\ndef test_it(): assert pinned.six.PY3\n",
        },
        datetime(2023, 6, 1, tzinfo=UTC),
        "resolution_failed",
        {"imported": ("six",)},
        {},
    ),
    # A suite behind a script of the project's own, which no rule can read.
    "javascript": Project(
        {
            "package.json": '{"name": "till", "version": "1.0.0", "scripts": {"test": "./check.sh"}}\n',
            "check.sh": "#!/bin/sh\nexec node test/all.js\n",
            "till.js": "exports.add = (a, b) => a + b;\n",
            "test/all.js": """
                const { add } = require('../till');
                console.log('TAP version 13');
                console.log(`${add(1, 1) === 2 ? 'ok' : 'not ok'} 1 - adds`);
                console.log('1..1');
            """,
        },
        datetime(2025, 9, 15, tzinfo=UTC),
        "no_tests",
        {"test": ("./check.sh",), "report": "tap"},
        {"check.sh": EXECUTABLE},
    ),
}

MISSING = (
    (r"fatal error: ([\w/]+)\.h: No such file", "{0}", r"^(\S+-dev) - "),
    (r"lib(\w+)\.so[.\d]*: cannot open shared object file", "^lib{0}", r"^(lib[a-z]+\d+) - "),
)


def mender(messages: list[dict[str, Any]]) -> Any:
    """Look; search for what is missing; submit. Knows failures, and no project."""
    opening, heard = messages[1]["content"], [m["content"] for m in messages if m["role"] == "tool"]
    broken = opening[opening.index("It broke at the stage") :]
    if not heard:
        return [
            Use("shell", {"command": "cat package.json check.sh Makefile 2>/dev/null; id -un; ls -l"}),
            Use("shell", {"command": "yes | head -c 9000000", "seconds": 60}),
        ]
    if len(heard) == 2:
        return Use("shell", {"command": "sleep 300", "seconds": 1})
    if pin := re.search(r"there is no version of (\w+)==", broken):
        return Use(
            "submit_recipe", {"why": f"{pin[1]} had no such release", "drop": [pin[1]], "add": [pin[1]]}
        )
    if script := re.search(r"No test runner that we know: (\S+)", broken):
        return Use(
            "submit_recipe",
            {"why": "the script prints TAP", "framework": "script", "test": [script[1]], "report": "tap"},
        )  # fmt: skip
    for pattern, search, listed in MISSING:
        if not (found := re.search(pattern, broken)):
            continue
        # a header's package seldom has its name: list what belongs to its stem
        stem = re.sub(r"^(ut)list$", "uthash", found[1])
        if len(heard) == 3:
            command = f"apt-get update -qq && apt-cache search --names-only '{search.format(stem)}'"
            return Use("shell", {"command": command, "as_root": True, "seconds": 300})
        package = re.search(listed, heard[3], re.M)
        if package:
            return Use("submit_recipe", {"why": f"{found[0]}: {package[1]}", "packages": [package[1]]})
    return Use("give_up", {"why": f"nothing known: {heard[-1][-200:]}"})


@pytest.fixture(autouse=True)
def no_environment_outlives_its_test(docker: DockerBackend, tmp_path: Path) -> Iterator[None]:
    """Each attempt's context is a folder named like its image, whether the attempt succeeded or not."""
    yield
    api = docker.daemon.client.api
    for dockerfile in tmp_path.rglob("Dockerfile"):
        for tag in api.images(f"verifactory/env:{dockerfile.parent.name}"):
            api.remove_image(tag["RepoTags"][0])


def with_model(settings: Settings, url: str, **more: Any) -> Settings:
    return Settings.model_validate(
        settings.model_dump() | {"model_base_url": url, "model_name": "scripted", "model_api_key": KEY} | more
    )


@pytest.mark.parametrize("name", PROJECTS)
async def test_one_script_mends_what_rules_cannot(
    name: str, docker: DockerBackend, docker_settings: Settings, tmp_path: Path
) -> None:
    project = PROJECTS[name]
    with serving(mender) as endpoint, metered() as usage:
        built = await build_environment(
            project.upstream(name), backend=docker, workdir=tmp_path,
            settings=with_model(docker_settings, endpoint.url),
        )  # fmt: skip
    assert isinstance(built, BuiltEnvironment), built
    assert endpoint.refused == []
    assert {field: getattr(built.recipe, field) for field in project.changed} == project.changed
    assert built.recipe.notes[-1].startswith("agent: ")
    assert built.collected >= 1
    assert (usage.calls, usage.tokens > 0) == (len(endpoint.requests), True)

    lines = [json.loads(line) for line in built.transcript.splitlines()]
    opening = lines[2]["content"]
    assert f"({project.broken})" in opening, opening
    heard = [line["content"] for line in lines if line.get("role") == "tool"]
    assert heard[0].startswith("[exit status 0 after")
    assert "agent\n" in heard[0]
    assert len(heard[1]) < 9_000
    assert heard[2].startswith("[killed at the time limit after")
    assert lines[-1] == {"kind": "outcome", "reason": "", "detail": "mended"}


async def test_what_mended_a_project_is_tried_on_its_next_change(
    docker: DockerBackend, docker_settings: Settings, tmp_path: Path
) -> None:
    """With no question asked."""
    settings = Settings.model_validate(docker_settings.model_dump() | {"home": tmp_path / "home"})
    first = PROJECTS["javascript"].upstream("till")
    changed = Tree(
        {**first.base, "till.js": b"exports.add = (...all) => all.reduce((a, b) => a + b);\n"},
        first.base.modes,
    )
    second = replace(first, base=changed, gold=changed)
    with serving(mender) as endpoint:
        asked = [
            await build_environment(
                upstream, backend=docker, workdir=tmp_path, settings=with_model(settings, endpoint.url)
            )
            for upstream in (first, second)
        ]
        last = endpoint.requests[-1]
    for built in asked:
        assert isinstance(built, BuiltEnvironment), built
        assert built.recipe.notes[-1] == "agent: the script prints TAP"
    assert [bool(built.transcript) for built in asked] == [True, False]
    assert len(endpoint.requests) == len({len(r["messages"]) for r in endpoint.requests}), last


async def test_a_recipe_that_does_not_build_is_a_failure(
    docker: DockerBackend, docker_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so is a made-up result, a model that is away, and one that was never asked."""
    monkeypatch.setattr("envs.repair_loop.loop.RECIPES", 3)
    upstream = PROJECTS["javascript"].upstream("till")

    def submit(**changes: Any) -> Use:
        return Use("submit_recipe", {"why": "a try", "report": "tap", "framework": "script", **changes})

    script = in_turn(
        submit(test=["true"], build=["exit 3"]),
        submit(test=["true"]),
        submit(test=["node", "no/such.js"]),
    )
    with serving(script) as endpoint:
        failure = await build_environment(
            upstream, backend=docker, workdir=tmp_path, settings=with_model(docker_settings, endpoint.url)
        )
        told = [m["content"] for m in endpoint.requests[-1]["messages"] if m["role"] == "tool"]
    assert isinstance(failure, BuildFailure)
    assert (failure.reason, failure.attempts) == ("agent_invalid_recipe", 3)
    assert "before that, no_tests: " in failure.detail
    assert "stage `build` (build_failed)" in told[0]
    assert "stage `collect` (nothing_collected)" in told[1]
    assert "no/such.js" in failure.log
    assert failure.transcript

    with serving(in_turn(Raw(503, "{}"))) as endpoint:
        away = await build_environment(
            upstream, backend=docker, workdir=tmp_path, settings=with_model(docker_settings, endpoint.url)
        )
    assert isinstance(away, BuildFailure)
    assert away.reason == "model_unavailable"

    without = await build_environment(upstream, backend=docker, workdir=tmp_path, settings=docker_settings)
    assert isinstance(without, BuildFailure)
    assert (without.reason, without.transcript) == ("no_tests", b"")


async def test_where_no_recipe_could_help_no_model_is_asked(
    docker: DockerBackend, docker_settings: Settings, tmp_path: Path
) -> None:
    nothing = Tree({"setup.py": b"", "calc.py": b""})
    with serving(in_turn(Say("never"))) as endpoint:
        failure = await build_environment(
            Upstream("calc", "1", datetime(2023, 1, 1, tzinfo=UTC), nothing, nothing),
            backend=docker, workdir=tmp_path, settings=with_model(docker_settings, endpoint.url),
        )  # fmt: skip
    assert isinstance(failure, BuildFailure)
    assert (failure.reason, endpoint.requests) == ("no_tests", [])


async def test_a_shell_survives_its_sandbox(docker: DockerBackend, docker_settings: Settings) -> None:
    """What a command breaks is the model's to hear, not a failure of the machine."""
    recipe = PythonRecipe(
        suite="bookworm", name="x", version="1", python="3.11", requires=(),
        index_date=datetime(2023, 6, 1, tzinfo=UTC),
    )  # fmt: skip
    image = await toolchain_image(PythonToolchain(), recipe, docker, docker_settings)
    limits = Limits(memory_mb=128)
    shell = Shell(
        Tree({"a/b.txt": b"text"}), lambda suite: docker.start(SandboxSpec(image=image, limits=limits)),
        "bookworm", {"GREETING": "hello"},
    )  # fmt: skip
    try:
        told = await shell.run(
            "cat a/b.txt; echo $GREETING $HOME; id -un; touch made", seconds=60, as_root=False
        )
        assert told.endswith("]\ntexthello /build\nagent")
        greedy = await shell.run("head -c 600000000 /dev/zero | tail", seconds=120, as_root=False)
        assert greedy.startswith(("[killed at the memory limit", "[exit status 137", "[exit status 1 "))
        gone = await shell.run("kill -9 -1; sleep 30", seconds=60, as_root=True)
        assert "exit status 0" not in gone
        await shell.reset("bookworm")
        assert "b.txt" in await shell.run("ls a; ls made", seconds=60, as_root=False)
    finally:
        await shell.close()


async def test_minutes_end_a_build(docker: DockerBackend, docker_settings: Settings, tmp_path: Path) -> None:
    """Whatever the builder is doing when they are over."""
    script = in_turn(
        Use("submit_recipe", {"why": "waits", "report": "tap", "test": ["true"], "build": ["sleep 1000"]})
    )
    with serving(script) as endpoint:
        settings = with_model(docker_settings, endpoint.url, repair_minutes=0.25)
        failure = await build_environment(
            PROJECTS["javascript"].upstream("waiting"), backend=docker, workdir=tmp_path, settings=settings
        )
    assert isinstance(failure, BuildFailure)
    assert (failure.reason, failure.seconds < 600) == ("agent_budget", True)
    assert "0.25 minutes were over" in failure.detail
    assert len(endpoint.requests) == 1
