"""R: packages tested with testthat, tinytest or plain scripts, with what they import from Debian.

Before each run the package is installed as R itself would, compiled parts included, into a library of the
account that runs the tests. The test driver then tells each test in a line of its own
(`envs/formats/report_testthat.py`): what the frameworks write names expectations by line, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar

from envs.languages import Broken, Upstream, scripts
from envs.languages.drivers import driver
from envs.languages.native import NativeRecipe, NativeToolchain, suites
from envs.languages.tree import Tree

VERSIONS = {"bullseye": (4, 0), "bookworm": (4, 2), "trixie": (4, 5)}
COMPILER = ("g++", "gcc", "gfortran", "libc6-dev", "make", "r-base-dev")
LIBRARY = "/tmp/r-library"
FIELDS = ("Depends", "Imports", "LinkingTo")
# Packages that come with R itself.
BASE = frozenset(
    ["R", "base", "methods", "utils", "stats", "graphics", "grDevices", "tools", "parallel", "splines",
     "stats4", "tcltk", "grid", "compiler", "datasets"]
)  # fmt: skip

_TESTTHAT = re.compile(r"^tests/testthat/test[^/]*\.[rR]$")
_TINYTEST = re.compile(r"^inst/tinytest/test[^/]*\.[rR]$")
_SCRIPT = re.compile(r"^tests/[^/]+\.[rR]$")
_USED = re.compile(
    r"""(?:library|require|requireNamespace|skip_if_not_installed|loadNamespace)\(\s*["']?([A-Za-z][\w.]+)"""
    r"""|([A-Za-z][\w.]+):::?[\w.]"""
)
_MISSING = re.compile(
    r"there is no package called \W([\w.]+)|ERROR: dependenc(?:y|ies) ([^\n]*?) (?:is|are) not available"
)

INSTALL = (
    f"mkdir -p {LIBRARY} && "
    f"R CMD INSTALL --no-docs --no-multiarch --no-test-load --preclean --clean --library={LIBRARY} ."
)

_COMMON = driver("common.R")

_TESTTHAT_RUN = driver("testthat.R")

# An expectation of tinytest has no name: its call stands for it.
_TINYTEST_RUN = driver("tinytest.R")


class RToolchain(NativeToolchain):
    """See `envs.languages.Toolchain`."""

    language: ClassVar[str] = "r"
    suffixes: ClassVar[tuple[str, ...]] = (".R", ".r")
    steering: ClassVar[str] = r"(^|/)(\.Rprofile|\.Renviron|\.Rbuildignore)$|^tests/testthat\.R$"
    packages: ClassVar[tuple[str, ...]] = ("r-base-core", "r-cran-testthat", "r-cran-tinytest")

    def claims(self, tree: Tree) -> bool:
        return "DESCRIPTION" in tree and bool(re.search(r"^Package:", tree.text("DESCRIPTION"), re.M))

    def is_test(self, path: str) -> bool:
        return path.startswith(("tests/", "inst/tinytest/", "inst/unitTests/"))

    def arguments(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Files of testthat, else of tinytest, else the scripts that R itself would run."""
        listed = sorted(paths)
        for pattern in (_TESTTHAT, _TINYTEST, _SCRIPT):
            if found := tuple(path for path in listed if pattern.match(path)):
                return found
        return ()

    def plan(self, upstream: Upstream) -> list[NativeRecipe] | Broken:
        tree = upstream.gold
        tests = self.arguments(tree)
        fields = description(tree.text("DESCRIPTION"))
        if not tests:
            return Broken("plan", "No file of tests/ or inst/tinytest/ is a test.", reason="no_tests")
        needed = _needed(fields.get("Depends", ""))
        able = [suite for suite in suites(upstream.date) if VERSIONS[suite] >= needed]
        if not able:
            asked = ".".join(map(str, needed))
            return Broken("plan", f"No suite has R {asked}.", reason="interpreter_unavailable")
        return [_recipe(tree, tests, fields, suite) for suite in able[:2]]

    def repair(self, recipe: NativeRecipe, broken: Broken) -> NativeRecipe | None:
        """Packages that were not found, from Debian."""
        if mended := super().repair(recipe, broken):
            return mended
        names = {n for a, b in _MISSING.findall(broken.log) for n in re.findall(r"[\w.]+", a or b)}
        tried = " ".join((*recipe.packages, *recipe.notes)).split()
        added = sorted({p for name in names if (p := debian_package(name)) not in tried})
        if broken.stage == "resolve" or not added:
            return None
        notes = (*recipe.notes, f"added {' '.join(added)} : packages that were not found")
        return recipe.model_copy(update={"packages": (*recipe.packages, *added), "notes": notes})


def debian_package(name: str) -> str:
    return f"r-cran-{name.lower()}"


def description(text: str) -> dict[str, str]:
    """Fields of a DESCRIPTION; a line that begins with a space goes on with the field above."""
    fields: dict[str, str] = {}
    last = ""
    for line in text.splitlines():
        if line[:1] in (" ", "\t") and last:
            fields[last] += " " + line.strip()
        elif match := re.match(r"([\w.@/-]+):\s*(.*)", line):
            last = match[1]
            fields[last] = match[2]
    return fields


def _needed(depends: str) -> tuple[int, int]:
    match = re.search(r"\bR\s*\(\s*>=?\s*(\d+)\.(\d+)", depends)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _names(listed: str) -> list[str]:
    return re.findall(r"(?:^|,)\s*([A-Za-z][\w.]*)", listed)


def _packages(tree: Tree, fields: dict[str, str]) -> tuple[str, ...]:
    """What the package imports, and of what it suggests that which its tests use."""
    names = {name for field in FIELDS for name in _names(fields.get(field, ""))}
    suggested = set(_names(fields.get("Suggests", "")))
    tests = [
        path for path in tree if path.startswith(("tests/", "inst/tinytest/")) and path.lower().endswith(".r")
    ]
    used = {name for path in tests for pair in _USED.findall(tree.text(path)) for name in pair if name}
    names |= suggested & used
    named = {debian_package(n) for n in names if n not in BASE and n != fields.get("Package")}
    return tuple(sorted(named - set(RToolchain.packages)))


def _recipe(tree: Tree, tests: tuple[str, ...], fields: dict[str, str], suite: str) -> NativeRecipe:
    compiled = COMPILER if any(path.startswith("src/") for path in tree) else ()
    framework = (
        "testthat" if _TESTTHAT.match(tests[0]) else "tinytest" if _TINYTEST.match(tests[0]) else "scripts"
    )
    code = _COMMON + (_TESTTHAT_RUN if framework == "testthat" else _TINYTEST_RUN)
    driver = ("Rscript", "--no-save", "-e", code, fields.get("Package", ""))
    plain = framework == "scripts"
    return NativeRecipe(
        language="r",
        suite=suite,
        packages=(*compiled, *_packages(tree, fields)),
        compile=("sh", "-c", INSTALL),
        framework=framework,
        test=scripts.command("Rscript --no-save", beside=True) if plain else driver,
        test_env={
            "R_LIBS": LIBRARY, "VERIFACTORY_OUT": "{out}", "NOT_CRAN": "true", "TESTTHAT_CPUS": "1",
            "_R_CHECK_LENGTH_1_CONDITION_": "true",
        },
        report="scripts" if plain else "testthat",
        report_files=() if plain else ("{out}/tests.tsv",),
    )  # fmt: skip
