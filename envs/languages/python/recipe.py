"""A Python environment before resolution: the recipe, and how one is planned from a project. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import Field

from envs.languages import Broken, Recipe, Upstream
from envs.languages.python import imports, interpreters, metadata, pytest_options, requirements
from envs.languages.python.interpreters import Interpreter
from envs.languages.python.metadata import Project
from envs.languages.python.paths import is_test_module
from envs.languages.python.requirements import Notes


class PythonRecipe(Recipe):
    """Everything that decides a Python environment except what the index answers."""

    language: str = "python"
    name: str = Field(description="Normalised name of the project; never resolved, never in the manifest.")
    version: str = Field(description="Of the base tree; told to build backends that would ask git.")
    python: str
    index_date: datetime = Field(
        description="Nothing uploaded later is seen, neither by resolution nor by builds."
    )
    requires: tuple[str, ...] = Field(description="What the project needs to run.")
    computed: tuple[str, ...] | None = Field(
        None,
        description="Extras to ask of the project's own backend, where requirements are computed by code.",
    )
    tests: tuple[str, ...] = Field((), description="What its tests are said to need.")
    imported: tuple[str, ...] = Field((), description="What its tests import beyond that.")
    framework: str = "pytest"
    own_addopts: str = Field("", description="The project's own runner options.")
    addopts: str | None = Field(None, description="What replaces them where some had to go.")
    runner_raised: str = Field(
        "", description="Oldest pytest that starts on the interpreter, where that day's does not."
    )
    backends_raised: tuple[str, ...] = Field(
        (), description="'name=day' of build backends too old to install in place; isolated builds only."
    )
    raise_builds: bool = Field(False, description="Resolution had to build, and sees those backends too.")
    build_constraints: tuple[str, ...] = Field(
        (), description="Bounds on build requirements, from a rule's table."
    )
    gone: tuple[str, ...] = Field(
        (), description="'name=time' of packages whose older releases left the index."
    )
    setuptools: bool = Field(False, description="The build backend is setuptools.")
    install: str = Field(
        "editable", description="editable: by its backend, in place | path: only put on the import path."
    )
    compiler: bool = False
    packages: tuple[str, ...] = Field((), description="Debian packages that building its dependencies needs.")
    modules: tuple[str, ...] = Field((), description="Names that must import.")

    def inputs(self) -> tuple[str, ...]:
        """Requirement lines to resolve, without the computed project."""
        lines = [*self.requires, *self.tests, *self.imported]
        if self.runner_raised:
            lines = [line for line in lines if requirement_name(line) != "pytest"] + [
                f"pytest=={self.runner_raised}"
            ]
        elif self.framework == "pytest" and not any(requirement_name(line) == "pytest" for line in lines):
            lines.append("pytest")
        if self.python in ("3.9", "3.11") and not any(
            requirement_name(line) == "setuptools" for line in lines
        ):
            lines.append(
                "setuptools"
            )  # virtual environments came with it until Python 3.12: code of the time expects it
        return tuple(dict.fromkeys(lines))


def _version(*told: str) -> str:
    """The first of `told` that is a version. It reaches a shell, so nothing else may pass."""
    for text in told:
        try:
            return str(Version(text))
        except InvalidVersion:
            continue
    return "0"


def requirement_name(line: str) -> str:
    """Normalised name of a requirement line."""
    return str(canonicalize_name(Requirement(line).name))


def plan(upstream: Upstream) -> list[PythonRecipe] | Broken:
    """One recipe an interpreter, most faithful first."""
    project = metadata.read(upstream.gold)
    if not any(map(is_test_module, upstream.gold)):
        return Broken("plan", "No file of the source looks like a test.", reason="no_tests")
    chosen = interpreters.choose(project.requires_python, project.pythons, upstream.date)
    if not chosen:
        have = ", ".join(i.python for i in interpreters.INTERPRETERS)
        detail = f"The source requires Python {project.requires_python!r}; at hand are {have}."
        return Broken("plan", detail, reason="interpreter_unavailable")
    return [_recipe(upstream, project, interpreter) for interpreter in chosen]


def _recipe(upstream: Upstream, project: Project, interpreter: Interpreter) -> PythonRecipe:
    notes = Notes()
    own = str(canonicalize_name(project.name or upstream.name))
    needs = requirements.needs_of(upstream.gold, project, interpreter.python)
    requires = [
        str(r)
        for line in project.requires
        if (r := requirements.parse(line, notes)) and requirement_name(str(r)) != own
    ]
    options = pytest_options.read(upstream.gold)
    tests = _with(needs.requirements, options.plugins)
    framework = imports.framework(upstream.gold)
    raised = interpreters.runner_floor(interpreter, upstream.date) if framework == "pytest" else ""
    if raised:
        notes.add(
            f"pytest raised to {raised}: that of the date does not start on Python {interpreter.python}"
        )
    return PythonRecipe(
        suite=interpreter.suite,
        notes=(*needs.notes, *options.notes, *notes),
        name=own,
        version=_version(upstream.version, metadata.read(upstream.base).version),
        python=interpreter.python,
        index_date=upstream.date.astimezone(UTC),
        requires=tuple(dict.fromkeys(requires)) if project.static else (),
        computed=None if project.static else needs.extras,
        tests=tests,
        imported=_imported(upstream, project, own, (*requires, *tests)),
        framework=framework,
        own_addopts=pytest_options.addopts(upstream.gold),
        addopts=options.kept,
        runner_raised=raised,
        backends_raised=tuple(
            f"{k}={v}" for k, v in interpreters.backends_raised(interpreter, upstream.date).items()
        ),
        setuptools=project.backend.startswith("setuptools"),
        compiler=project.compiled,
        modules=project.modules,
    )


def _with(lines: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    have = {requirement_name(line) for line in lines}
    return (*lines, *(name for name in more if name not in have))


def _imported(upstream: Upstream, project: Project, own: str, have: tuple[str, ...]) -> tuple[str, ...]:
    """Distributions of what the tests import and nothing above provides."""
    provided = {requirement_name(line) for line in have} | {own, "pytest"}
    wanted = (imports.distribution(name) for name in imports.third_party(upstream.gold, project.modules))
    return tuple(sorted({d for d in wanted if d and str(canonicalize_name(d)) not in provided}))
