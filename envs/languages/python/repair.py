"""What to change when a step broke: rules, not judgement. Each is a pattern in the log and an action on the
recipe.

A rule that changes nothing (the package is there already) does not count, and the next one is asked; so
repair ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from packaging.utils import canonicalize_name

from envs.languages import Broken
from envs.languages.python import imports, interpreters, pytest_options
from envs.languages.python.recipe import PythonRecipe, requirement_name


@dataclass(frozen=True)
class Rule:
    """`action` returns the mended recipe, or None when there is nothing to mend."""

    stages: tuple[str, ...]
    pattern: str
    action: Callable[[PythonRecipe, re.Match[str]], PythonRecipe | None]


COMPILER_MISSING = (
    r"(?:gcc|g\+\+|cc1plus|c\+\+)'? (?:failed|: No such file)|unable to execute '?\S*(?:gcc|g\+\+|cc)\b"
    r"|error: (?:command|\[Errno 2\])[^\n]*(?:gcc|g\+\+|'cc')|linker `cc` not found"
    r"|Unknown compiler\(s\)|CMAKE_C(?:XX)?_COMPILER|[Nn]o C compiler|C compiler cannot"
)

# What a build says when a build requirement outgrew the source, and the bound that people set by hand.
BOUNDS = (
    (r"AttributeError: cython_sources", "cython<3"),
    (r"ModuleNotFoundError: No module named 'pkg_resources'", "setuptools<81"),
)
IN_PLACE_FAILED = (
    r"Failed to (?:build|prepare)[^\n]*@ file:///app|Call to `[\w.:]+(?:build_|get_requires)"
    r"|/app does not appear to be a Python project|multiple top-level packages discovered"
)

# C header, program or shared library that a build or an import misses → Debian package that has it.
HEADERS = {
    "Python.h": "python3-dev", "bzlib.h": "libbz2-dev", "curl/": "libcurl4-openssl-dev",
    "expat.h": "libexpat1-dev", "ffi.h": "libffi-dev", "gdbm.h": "libgdbm-dev", "gmp.h": "libgmp-dev",
    "jpeglib.h": "libjpeg-dev", "lber.h": "libldap2-dev", "ldap.h": "libldap2-dev",
    "libpq-fe.h": "libpq-dev", "libxml/": "libxml2-dev", "libxslt/": "libxslt1-dev", "lzma.h": "liblzma-dev",
    "magic.h": "libmagic-dev", "mpc.h": "libmpc-dev", "mpfr.h": "libmpfr-dev",
    "mysql": "default-libmysqlclient-dev", "openssl/": "libssl-dev", "re2/": "libre2-dev",
    "snappy": "libsnappy-dev", "sqlite3.h": "libsqlite3-dev", "yaml.h": "libyaml-dev",
    "zlib.h": "zlib1g-dev",
}  # fmt: skip
PROGRAMS = {
    "cargo": "cargo", "cmake": "cmake", "curl-config": "libcurl4-openssl-dev", "gfortran": "gfortran",
    "mysql_config": "default-libmysqlclient-dev", "pg_config": "libpq-dev", "rustc": "rustc", "swig": "swig",
    "xml2-config": "libxml2-dev", "xslt-config": "libxslt1-dev",
}  # fmt: skip
LIBRARIES = {"GL": "libgl1", "cairo": "libcairo2", "magic": "libmagic1", "sndfile": "libsndfile1"}


def add(recipe: PythonRecipe, name: str | None, why: str) -> PythonRecipe | None:
    """The recipe with one more test requirement, as of the date."""
    if not name or canonicalize_name(name) in {recipe.name, *map(requirement_name, recipe.inputs())}:
        return None
    if any(note.startswith(f"{canonicalize_name(name)} dropped") for note in recipe.notes):
        return None
    return change(recipe, f"{name} added: {why}", imported=(*recipe.imported, name))


def change(recipe: PythonRecipe, note: str, **fields: object) -> PythonRecipe:
    return recipe.model_copy(update={**fields, "notes": (*recipe.notes, note)})


def _module(recipe: PythonRecipe, match: re.Match[str]) -> PythonRecipe | None:
    return add(recipe, imports.distribution(match[1]), f"{match[1]} is imported")


def _option(recipe: PythonRecipe, match: re.Match[str]) -> PythonRecipe | None:
    """A plugin for an unknown option, or the option taken out."""
    unknown = pytest_options.split(match[1])
    for option in unknown:
        if mended := add(recipe, pytest_options.plugin(option), f"{option} is one of its options"):
            return mended
    kept = [
        o
        for o in pytest_options.split(recipe.addopts if recipe.addopts is not None else recipe.own_addopts)
        if o not in unknown
    ]
    if " ".join(kept) == recipe.addopts:
        return None
    return change(recipe, f"pytest options {' '.join(unknown)} left out", addopts=" ".join(kept))


def _plugins(recipe: PythonRecipe, match: re.Match[str]) -> PythonRecipe | None:
    for name in re.findall(r"[A-Za-z][\w-]+", match[1]):
        if mended := add(recipe, name, "a plugin that the project requires"):
            return mended
    return None


def _setting(recipe: PythonRecipe, match: re.Match[str]) -> PythonRecipe | None:
    return add(recipe, pytest_options.SETTINGS.get(match[1]), f"{match[1]} is one of its settings")


def _compiler(recipe: PythonRecipe, match: re.Match[str]) -> PythonRecipe | None:
    return None if recipe.compiler else change(recipe, f"compiler added: {match[0][:80]}", compiler=True)


def _header(recipe: PythonRecipe, match: re.Match[str]) -> PythonRecipe | None:
    package = next((p for header, p in HEADERS.items() if match[1].startswith(header)), None)
    return _package(recipe, package, match[1])


def _library(recipe: PythonRecipe, match: re.Match[str]) -> PythonRecipe | None:
    return _package(recipe, LIBRARIES.get(match[1]), match[0])


def _program(recipe: PythonRecipe, match: re.Match[str]) -> PythonRecipe | None:
    return _package(recipe, PROGRAMS[match[1]], match[0])


def _package(recipe: PythonRecipe, package: str | None, why: str) -> PythonRecipe | None:
    if not package or package in recipe.packages:
        return None
    return change(
        recipe,
        f"{package} added: {why[:80]}",
        packages=tuple(sorted({*recipe.packages, package})),
        compiler=True,
    )


def _bounded(recipe: PythonRecipe, match: re.Match[str]) -> PythonRecipe | None:
    bound = next(bound for pattern, bound in BOUNDS if re.search(pattern, match[0]))
    if bound in recipe.build_constraints:
        return None
    return change(
        recipe, f"{bound} in builds: {match[0]}", build_constraints=(*recipe.build_constraints, bound)
    )


def _path(recipe: PythonRecipe, match: re.Match[str]) -> PythonRecipe | None:
    """The last resort for a project of pure Python that its backend cannot install in place."""
    if recipe.install == "path" or recipe.compiler:
        return None
    return change(
        recipe, "only put on the import path: its backend cannot install it in place", install="path"
    )


def _runner(recipe: PythonRecipe, match: re.Match[str]) -> PythonRecipe | None:
    """The runner itself does not start: take the oldest that does."""
    floor = next(i.pytest for i in interpreters.INTERPRETERS if i.python == recipe.python)
    if recipe.runner_raised or recipe.framework != "pytest":
        return None
    return change(recipe, f"pytest raised to {floor}: that of the date does not start", runner_raised=floor)


def _with_pytest(recipe: PythonRecipe, match: re.Match[str]) -> PythonRecipe | None:
    """unittest found nothing: pytest collects more."""
    return (
        None
        if recipe.framework == "pytest"
        else change(recipe, "pytest runs the suite: unittest found no test", framework="pytest")
    )


# Matched in order; the first that changes something wins.
RULES: tuple[Rule, ...] = (
    Rule(
        ("import", "collect"), r"(?:ModuleNotFoundError|ImportError): No module named '?([\w.]+)'?", _module
    ),
    Rule(("collect",), r"Error importing plugin \"([\w.]+)\"", _module),
    Rule(("collect",), r"error: unrecognized arguments: ([^\n]+)", _option),
    Rule(("collect",), r"Missing required plugins: ([^\n]+)", _plugins),
    Rule(("collect",), r"Unknown config option: (\w+)", _setting),
    Rule(
        ("collect",), r"(?s)Traceback .*/_pytest/assertion/rewrite\.py.*(?:TypeError|AttributeError)", _runner
    ),
    Rule(("collect",), r"(?m)^0 tests collected|NO TESTS RAN", _with_pytest),
    Rule(("resolve", "build"), r"fatal error: ([\w./+-]+\.h(?:pp)?): No such file", _header),
    Rule(("resolve", "build"), COMPILER_MISSING, _compiler),
    Rule(
        ("resolve", "build"),
        rf"\b({'|'.join(PROGRAMS)})\b[^\n]*(?:not found|No such|not installed)",
        _program,
    ),
    Rule(("import", "collect"), r"lib(\w+)\.so[.\d]*: cannot open shared object file", _library),
    Rule(("build",), "|".join(pattern for pattern, _ in BOUNDS), _bounded),
    Rule(("build",), IN_PLACE_FAILED, _path),
)


def repair(recipe: PythonRecipe, broken: Broken) -> PythonRecipe | None:
    """The recipe changed by the first rule that fits what broke."""
    for rule in RULES:
        if broken.stage not in rule.stages:
            continue
        for match in re.finditer(rule.pattern, broken.log):
            if mended := rule.action(recipe, match):
                return mended
    return None
