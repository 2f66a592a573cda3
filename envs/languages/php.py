"""PHP: PHPUnit, with packages from Debian or, where this machine has Composer, from its repositories.

Without Composer there is no `vendor/`, so a stand-in for `vendor/autoload.php` is made that does what
Composer would: it reads `composer.json` anew in every run and finds everything else where Debian puts it. The
suite is run with the project's own configuration, less what turns notices into a failing exit status, stops
early or shuffles: these are the supervisor's.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from envs import registries
from envs.languages import Broken, Upstream
from envs.languages.drivers import driver
from envs.languages.native import CACHE, NativeRecipe, NativeToolchain, suites
from envs.languages.tree import Tree

VERSIONS = {"bullseye": (7, 4), "bookworm": (8, 2), "trixie": (8, 4)}
PHPUNIT = {"bullseye": 9, "bookworm": 9, "trixie": 11}
PACKAGES = ("phpunit", "php-cli", "php-xml", "php-mbstring")
INCLUDED = frozenset({"php-json", "php-pcre", "php-spl", "php-ctype", "php-tokenizer", "php-hash"})
CONFIGURATIONS = ("phpunit.xml", "phpunit.xml.dist", "phpunit.dist.xml")

_TEST = re.compile(r"(^|/)(tests?|Tests?|spec|unit-tests?|fixtures)/|(^|/)phpunit[^/]*\.xml(\.dist)?$")
_SUITE = re.compile(r"Test\.php$|\.phpt$")
_NUMBER = re.compile(r"(\d+)(?:\.(\d+))?")
_CLASS = re.compile(r"""(?:Class|Interface|Trait) ["\\]?\\?([\w\\]+)["\\]? (?:not found|does not exist)""")

NOT_NEEDED = re.compile(
    r"^(php|composer|hhvm|roave|phpstan|vimeo|psalm|squizlabs|slevomat|friendsofphp|infection|phpbench|phpmd"
    r"|rector|doctrine/coding-standard|php-parallel-lint|overtrue|ergebnis|brianium|captainhook|ext-json"
    r"|php-coveralls)(/|$|-.*)"
)

# Composer's autoloader as far as tests can tell: classes by the rules of composer.json, packages of Debian by
# their names, and the files that are always loaded.
_AUTOLOAD = driver("autoload.php")

# The project's configuration under another name beside it, since its paths are relative.
_RUN = driver("phpunit.sh")


class PhpToolchain(NativeToolchain):
    """See `envs.languages.Toolchain`."""

    language: ClassVar[str] = "php"
    suffixes: ClassVar[tuple[str, ...]] = (".php", ".phpt")
    steering: ClassVar[str] = r"(^|/)(phpunit[^/]*\.xml(\.dist)?|\.verifactory\.phpunit\.xml)$|^vendor/"
    packages: ClassVar[tuple[str, ...]] = PACKAGES

    def claims(self, tree: Tree) -> bool:
        return "composer.json" in tree or any(name in tree for name in CONFIGURATIONS)

    def is_test(self, path: str) -> bool:
        return bool(_TEST.search(path)) or path.endswith("Test.php")

    def arguments(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Nothing where a configuration names the suites, else the folder of the tests."""
        listed = tuple(paths)
        if any(name in listed for name in CONFIGURATIONS):
            return ()
        folders = {path.split("/")[0] for path in listed if self.is_test(path) and _SUITE.search(path)}
        return tuple(sorted(folders))

    def plan(self, upstream: Upstream) -> list[NativeRecipe] | Broken:
        tree = upstream.gold
        if not any(_SUITE.search(path) and self.is_test(path) for path in tree):
            return Broken("plan", "No file is named like a test of PHPUnit.", reason="no_tests")
        composer = _composer(tree)
        wanted = {**composer.get("require-dev", {}), **composer.get("require", {})}
        able = [s for s in suites(upstream.date) if _satisfied(wanted.get("php", ""), VERSIONS[s])]
        if not able:
            asked = wanted.get("php")
            return Broken("plan", f"No suite has PHP {asked}.", reason="interpreter_unavailable")
        major = wanted.get("phpunit/phpunit", "")
        able.sort(key=lambda suite: _distance(major, PHPUNIT[suite]))  # stable: equals stay as they were
        recipes = [_debian(tree, wanted, suite) for suite in able[:2]]
        return [_composed(recipes[0]), *recipes] if registries.composer_hosts() and composer else recipes


def _composer(tree: Tree) -> dict[str, Any]:
    try:
        read = json.loads(tree.text("composer.json") or "{}")
    except ValueError:
        return {}
    sections = ("require", "require-dev", "autoload", "autoload-dev")
    return {key: read[key] for key in sections if isinstance(read, dict) and isinstance(read.get(key), dict)}


def _satisfied(constraint: object, version: tuple[int, int]) -> bool:
    """Does any alternative of a Composer constraint allow `version`? What cannot be read does."""
    return any(
        all(_holds(part, version) for part in re.findall(r"[<>=!^~]*\s*v?[\d.*x]+", alternative))
        for alternative in str(constraint).split("|")
        if alternative.strip() or not str(constraint).strip()
    )


def _distance(constraint: object, major: int) -> float:
    """How far a suite's PHPUnit is from what is asked for: one too new is better than one too old, whose
    classes the tests may lack.
    """
    if _satisfied(constraint, (major, 99)):
        return 0
    asked = [int(number) for number, _ in _NUMBER.findall(str(constraint))]
    return min((major - a if major > a else a - major + 0.5 for a in asked), default=0)


def _holds(part: str, version: tuple[int, int]) -> bool:
    match = _NUMBER.search(part)
    if match is None:
        return True
    major, minor = int(match[1]), int(match[2] or 0)
    sign = part[: match.start()].strip().removesuffix("v").strip()
    if sign in (">=", ">"):
        return version >= (major, minor)
    if sign in ("<", "<="):
        return version < (major, minor) if sign == "<" else version <= (major, minor)
    if sign == "!=":
        return True
    if sign in ("^", "~"):
        return version[0] == major and version[1] >= minor
    return version[0] == major and (match[2] is None or version[1] == minor)


def _packages(wanted: dict[str, Any]) -> Iterator[str]:
    """Debian names a Composer package may have; those that do not exist are left out when apt says so."""
    for name in wanted:
        if name.startswith("ext-"):
            yield f"php-{name.removeprefix('ext-').lower()}"
        elif "/" in name and not NOT_NEEDED.match(name) and not name.startswith("phpunit/"):
            vendor, _, package = name.lower().replace("_", "-").partition("/")
            yield f"php-{package}" if vendor == package else f"php-{vendor}-{package}"


def _debian(tree: Tree, wanted: dict[str, Any], suite: str) -> NativeRecipe:
    encoded = base64.b64encode(_AUTOLOAD.encode()).decode()
    held = any(path.startswith("vendor/") for path in tree)
    return NativeRecipe(
        language="php",
        suite=suite,
        packages=tuple(sorted({*_packages(wanted)} - {*PACKAGES} - INCLUDED)),
        build=() if held else (f"mkdir -p vendor && echo {encoded} | base64 -d > vendor/autoload.php",),
        framework="phpunit",
        test=("sh", "-c", _RUN, "sh", "phpunit"),
        test_env={
            "VERIFACTORY_OUT": "{out}",
            "VERIFACTORY_SHUFFLE": "--order-by=random --random-order-seed={seed}",
        },
        report="phpunit_log",
        report_files=("{out}/phpunit.teamcity",),
    )


def _composed(recipe: NativeRecipe) -> NativeRecipe:
    """The same with what Composer installs, by the project's lock file where it has one."""
    return recipe.model_copy(
        update={
            "packages": ("composer", "git", "unzip"),
            "env": {"COMPOSER_HOME": f"{CACHE}/composer", "COMPOSER_NO_INTERACTION": "1"},
            "install": ("composer install --no-progress --ignore-platform-req=ext-*",),
            "build": (),
            "test": ("sh", "-c", _RUN, "sh", "vendor/bin/phpunit"),
        }
    )
