"""What a model may submit: changes of a recipe, every field checked before anything of it is rendered.

A field that is left out stays as the failed recipe has it. Packages, options and commands of a recipe end up
in a Dockerfile and in command lines, so each is held to its own form: nothing may end a Dockerfile
instruction early, name a user, or come from anywhere but the registries.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from envs import formats
from envs.languages import Recipe, Upstream
from envs.languages.native import NativeRecipe
from envs.languages.python import interpreters
from envs.languages.python.recipe import PythonRecipe, requirement_name

NOTE_CHARACTERS = 300
IN_PROCESS = ("pytest", "unittest")  # names of runners that a reporter of ours is plugged into


def _matching(pattern: str, what: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{text[:80]!r} is not {what}")
        return text

    return AfterValidator(check)


def _instruction(command: str) -> str:
    """A shell command that is one instruction of a Dockerfile, for any builder."""
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]|<<|\\$", command):
        raise ValueError(
            f"{command[:80]!r} must be one line, without here-documents and without a backslash at its end: "
            "join commands with && or use printf"
        )
    return command


def _requirement(line: str) -> str:
    try:
        found = Requirement(line)
    except InvalidRequirement as error:
        raise ValueError(f"{line[:80]!r} is not a requirement: {error}") from error
    if found.url:
        raise ValueError(f"{line[:80]!r} is not from the package index")
    return str(found)


def _report(name: str) -> str:
    if name not in formats.names():
        raise ValueError(f"there is no report format {name[:40]!r}: use one of {', '.join(formats.names())}")
    return name


def _framework(name: str) -> str:
    if name in IN_PROCESS:
        raise ValueError(f"{name!r} is Python's own: give the command another name")
    return name


Package = Annotated[str, _matching(r"[a-z0-9][a-z0-9+.-]+", "the name of a Debian package")]
Variable = Annotated[str, _matching(r"[A-Za-z_][A-Za-z0-9_]*", "the name of a variable")]
Value = Annotated[str, _matching(r"[^\x00-\x1f\x7f]*", "one line of text")]
Instruction = Annotated[str, Field(max_length=2000), AfterValidator(_instruction)]
Argument = Annotated[str, Field(max_length=8000), _matching(r"[^\x00]*", "an argument")]
Glob = Annotated[str, _matching(r"(?!/)(?!.*(?:^|/)\.\.(?:/|$))[^\x00-\x1f]+", "a glob below /app or {out}")]
Line = Annotated[str, AfterValidator(_requirement)]
Name = Annotated[str, _matching(r"[A-Za-z0-9][A-Za-z0-9._-]*", "the name of a distribution")]
Module = Annotated[str, _matching(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", "a module")]
Suite = Literal["bullseye", "bookworm", "trixie"]


class Proposal(BaseModel):
    """What every language has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    why: str = Field(min_length=1, description="What was wrong and what this changes, in one sentence.")

    def note(self) -> str:
        return f"agent: {' '.join(self.why.split())}"[:NOTE_CHARACTERS]

    def applied(self, recipe: Any, upstream: Upstream) -> Recipe:
        """The recipe with the changes. Raises ValueError for what cannot be one."""
        raise NotImplementedError

    def given(self) -> dict[str, Any]:
        """The fields that were set."""
        told = self.model_dump(exclude_unset=True, exclude={"why"})
        return {name: tuple(v) if isinstance(v, list) else v for name, v in told.items() if v is not None}


class NativeProposal(Proposal):
    """Changes of an environment of packages and commands. Lists replace those of the recipe."""

    suite: Suite | None = Field(None, description="Debian suite of the image, oldest to newest.")
    packages: list[Package] | None = Field(None, description="Debian packages beyond the language's own.")
    env: dict[Variable, Value] | None = Field(None, description="Variables of install, build and tests.")
    install: list[Instruction] | None = Field(
        None, description="Shell commands in /app, as `agent`, once, that may reach package registries."
    )
    build: list[Instruction] | None = Field(
        None, description="Shell commands in /app after install, that need no network: they compile ahead."
    )
    compile: list[Argument] | None = Field(
        None,
        description="argv of a command before every run of the tests, offline; when it fails no test ran.",
    )
    framework: Annotated[str, _matching(r"[a-z0-9][a-z0-9 _.-]{0,39}", "a short name"),
                         AfterValidator(_framework)] | None = Field(
        None, description="Short name of the test runner."
    )  # fmt: skip
    test: list[Argument] | None = Field(
        None,
        description='argv of the test command, e.g. ["sh", "-c", "…"]; runs in /app, offline. `{out}` in an '
        "argument is a private folder for report files.",
    )
    paths: list[Argument] | None = Field(None, description="Test files and folders to put behind `test`.")
    test_env: dict[Variable, Value] | None = Field(None, description="Variables of the tests alone.")
    report: Annotated[str, AfterValidator(_report)] | None = Field(
        None, description="Format that the tests report in."
    )
    report_files: list[Glob] | None = Field(
        None, description="Globs of report files, below /app or `{out}/…`; none where the log is the report."
    )
    log_report: str | None = Field(None, description="Format of the log, where report files are parsed.")

    def applied(self, recipe: NativeRecipe, upstream: Upstream) -> NativeRecipe:
        changed = recipe.model_dump() | self.given()
        if changed["log_report"]:
            _report(changed["log_report"])
        if not changed["test"]:
            raise ValueError("test is empty: it must be the command that runs the suite")
        changed["notes"] = (*recipe.notes, self.note())
        return NativeRecipe.model_validate(changed)


class PythonProposal(Proposal):
    """Changes of a Python environment. Packages come from the index as of the recipe's date."""

    python: Literal["3.9", "3.11", "3.13"] | None = Field(
        None, description="Interpreter, each with its Debian suite: bullseye, bookworm, trixie."
    )
    add: list[Line] = Field(
        default_factory=list, description='Requirement lines to add, with bounds if need be: "numpy<2".'
    )
    drop: list[Name] = Field(
        default_factory=list,
        description="Distributions whose requirement lines are left out. If one is not in the recipe, what "
        "the project's backend computes is left out as a whole: add what is needed of it.",
    )
    packages: list[Package] | None = Field(None, description="Debian packages; replaces the recipe's.")
    compiler: bool | None = Field(None, description="The project has parts that a compiler builds.")
    build_constraints: list[Line] | None = Field(
        None, description='Bounds on what builds require: "setuptools<81".'
    )
    install: Literal["editable", "path"] | None = Field(
        None, description="editable: by the project's own backend | path: only put on the import path."
    )
    framework: Literal["pytest", "unittest"] | None = None
    addopts: Value | None = Field(None, description="What replaces the project's own pytest options.")
    modules: list[Module] | None = Field(None, description="Modules that must import; replaces the recipe's.")

    REPLACED: ClassVar[tuple[str, ...]] = (
        "packages", "compiler", "build_constraints", "install", "framework", "addopts", "modules",
    )  # fmt: skip

    def applied(self, recipe: PythonRecipe, upstream: Upstream) -> PythonRecipe:
        told = self.given()
        changed: dict[str, Any] = {name: told[name] for name in self.REPLACED if name in told}
        gone = {str(canonicalize_name(name)) for name in self.drop}
        for kind in ("requires", "tests", "imported"):
            changed[kind] = tuple(
                line for line in getattr(recipe, kind) if requirement_name(line) not in gone
            )
        own = [line for line in self.add if requirement_name(line) == recipe.name]
        if own:
            raise ValueError(f"{own[0]} is the project itself")
        changed["imported"] = tuple(dict.fromkeys((*changed["imported"], *self.add)))
        had = {requirement_name(line) for line in (*recipe.requires, *recipe.tests, *recipe.imported)}
        if recipe.computed is not None and gone - had:
            # It can only be in what the project's backend computes, of which nothing can be cut out.
            changed["computed"] = None
        if self.python and self.python != recipe.python:
            changed |= _interpreter(self.python, upstream, recipe)
        changed["notes"] = (*recipe.notes, self.note())
        return PythonRecipe.model_validate(recipe.model_dump() | changed)


def _interpreter(python: str, upstream: Upstream, recipe: PythonRecipe) -> dict[str, Any]:
    """What follows from another interpreter, as the plan has it."""
    chosen = next(i for i in interpreters.INTERPRETERS if i.python == python)
    raised = interpreters.runner_floor(chosen, upstream.date) if recipe.framework == "pytest" else ""
    backends = interpreters.backends_raised(chosen, upstream.date)
    return {
        "python": python,
        "suite": chosen.suite,
        "runner_raised": raised,
        "backends_raised": tuple(f"{name}={day}" for name, day in backends.items()),
    }


def form_of(recipe: Recipe) -> type[Proposal] | None:
    """What may be submitted for a recipe; None for one of a language that has no such form."""
    match recipe:
        case NativeRecipe():
            return NativeProposal
        case PythonRecipe():
            return PythonProposal
        case _:
            return None
