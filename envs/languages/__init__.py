"""What a language must bring so that its projects become environments.

A toolchain reads a source tree (pure, nothing of it is executed), plans recipes in the order they are worth
trying, resolves a recipe to a manifest inside a sandbox, and renders the image. `envs.builder` walks the
plan; it knows images and sandboxes, and no language. Adding a language is one module here and one line in
`TOOLCHAINS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from envs.languages.tree import Tree
from envs.sandbox import Sandbox


@dataclass(frozen=True)
class Upstream:
    """What an environment is made for: the tree that goes in, and the tree and date that decide its
    packages.
    """

    name: str
    """Distribution or repository; never in the manifest."""
    version: str
    """Of the base tree; '' when unknown."""
    date: datetime
    """When upstream published the change; packages and interpreter are as of it."""
    base: Tree
    gold: Tree


class Recipe(BaseModel):
    """Everything that decides an environment except what the index answers. A language adds fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str
    suite: str = Field(description="Debian suite of the base image.")
    notes: tuple[str, ...] = Field((), description="What was dropped, added or raised, in order.")


class Runner(BaseModel):
    """How the suite is run in the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    framework: str = Field(
        description="pytest | unittest, which a reporter of ours is plugged into; else the name of a runner "
        "that is a command and reports in a format of its own."
    )
    version: str = Field("", description="As resolved; '' when it comes with the language.")
    command: tuple[str, ...] = Field(
        description="Arguments before the reporter's and the selection's. `{out}` is a private folder for "
        "reports; `{test_seconds}` and `{suite_seconds}` are the limits; an argument or variable with "
        "`{seed}` is there in shuffled runs only."
    )
    env: dict[str, str] = Field(default_factory=dict)
    build: tuple[str, ...] = Field((), description="Command before every run; when it fails, no test ran.")
    report: str = Field("", description="Parser of `envs/formats/report_<name>.py`.")
    report_files: tuple[str, ...] = Field(
        (), description="Globs below /app or, with `{out}/`, below that folder: report files for the parser."
    )
    log_report: str = Field(
        "", description="Parser of the log: asked when no report file was left, compared with them else."
    )


@dataclass(frozen=True)
class Resolved:
    """A recipe and the packages it stands for, one pinned requirement a line, sorted."""

    recipe: Any
    manifest: tuple[str, ...]


@dataclass(frozen=True)
class Broken:
    """A step of the recipe failed; `log` is what rules look at. `stage` is resolve | build | import |
    collect.
    """

    stage: str
    log: str
    reason: str = ""
    """A code of `envs.builder.REASONS` where the toolchain knows it."""
    collected: int = 0
    """Tests that were found all the same."""
    share: float = 0.0
    """Of the test files, how many were collected."""


@dataclass(frozen=True)
class Healthy:
    """The image answers: the project imports and `collected` tests are found."""

    collected: int
    log: str = ""


R = TypeVar("R", bound=Recipe)


class Toolchain(Protocol[R]):
    """One language. Every method but `resolve` and `smoke` is pure."""

    language: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    """Of the files that hold tests: whose tests a tree has most decides between toolchains that claim it."""
    steering: ClassVar[str]
    """Pattern of the files that steer a run of its tests, beyond those of Python; '' for none."""
    compiled: ClassVar[str]
    """Pattern of sources that would have to be compiled after a patch and that no run of the tests compiles;
    '' when the test command builds what it tests.
    """

    def claims(self, tree: Tree) -> bool:
        """Is this a project of the language?"""
        ...

    def is_test(self, path: str) -> bool:
        """Does the path hold tests, or what only tests use?"""
        ...

    def arguments(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Files and folders the runner is pointed at, of a tree's paths; () when its command says it."""
        ...

    def plan(self, upstream: Upstream) -> list[R] | Broken:
        """Recipes, most faithful first; or why there is none."""
        ...

    def toolchain(self, recipe: R) -> str:
        """Dockerfile of the layers that all projects of the suite share; `dockerfile` starts with the same
        lines.
        """
        ...

    async def resolve(self, recipe: R, tree: Tree, sandbox: Sandbox, *, timeout: float) -> Resolved | Broken:
        """Ask the index, in a sandbox of the toolchain image."""
        ...

    def context(self, resolved: Resolved) -> dict[str, bytes]:
        """Files of `environment/` except `app.tar`: the Dockerfile and what it copies."""
        ...

    async def smoke(
        self, resolved: Resolved, upstream: Upstream, sandbox: Sandbox, *, timeout: float
    ) -> Healthy | Broken:
        """Import the project and collect its tests in the finished image, without network."""
        ...

    def repair(self, recipe: R, broken: Broken) -> R | None:
        """A recipe that mends what broke, or None when no rule fits."""
        ...

    def runner(self, resolved: Resolved) -> Runner: ...


# language → "module:class"; imported on first use, in the order that detection asks them.
TOOLCHAINS: Mapping[str, str] = {
    "python": "envs.languages.python:PythonToolchain",
    "javascript": "envs.languages.javascript:JavaScriptToolchain",
    "go": "envs.languages.go:GoToolchain",
    "c": "envs.languages.c:CToolchain",
    "cpp": "envs.languages.c:CppToolchain",
    "ruby": "envs.languages.ruby:RubyToolchain",
    "php": "envs.languages.php:PhpToolchain",
    "perl": "envs.languages.perl:PerlToolchain",
    "lua": "envs.languages.lua:LuaToolchain",
    "r": "envs.languages.r:RToolchain",
    "bash": "envs.languages.bash:BashToolchain",
    "rust": "envs.languages.rust:RustToolchain",
    "java": "envs.languages.java:JavaToolchain",
}


def toolchain(language: str) -> Toolchain[Any]:
    """The toolchain of a language."""
    module, _, name = TOOLCHAINS[language].partition(":")
    return getattr(importlib.import_module(module), name)()


def detect(tree: Tree) -> Toolchain[Any] | None:
    """Of the toolchains that claim the tree, the one with most tests in it; the first of equals."""
    claiming = [found for found in map(toolchain, TOOLCHAINS) if found.claims(tree)]

    def tests(found: Toolchain[Any]) -> int:
        return sum(1 for path in tree if path.endswith(found.suffixes) and found.is_test(path))

    return max(claiming, key=tests, default=None)
