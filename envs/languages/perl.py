"""Perl: suites that `prove` runs, with the modules that the distribution's metadata names from Debian.

A module's Debian package has its name in lower case (`Try::Tiny` is libtry-tiny-perl); modules that come with
Perl have none, and are left out when apt does not know them. Distributions with compiled parts are built
before each run, the others are tested as they lie.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import ClassVar

from envs.languages import Broken, Upstream
from envs.languages.native import NativeRecipe, NativeToolchain, suites
from envs.languages.tree import Tree

BUILDS = ("Makefile.PL", "Build.PL", "dist.ini", "minil.toml", "cpanfile")
VERSIONS = {"bullseye": (5, 32), "bookworm": (5, 36), "trixie": (5, 40)}
COMPILER = ("gcc", "libc6-dev", "libperl-dev", "make")

_MODULE = r"[A-Z]\w*(?:::\w+)*"
_REQUIRES = re.compile(
    rf"""(?:^|[{{;])\s*(?:(?:test_|build_|configure_)?requires|recommends)\s*\(?\s*["']?({_MODULE})["']?""",
    re.M,
)
_PAIR = re.compile(rf"""["']?({_MODULE})["']?\s*=>\s*["']?v?[\d._]+""")
_INI = re.compile(rf"^({_MODULE})\s*=\s*[\d.<>=]+\s*$", re.M)
_USED = re.compile(rf"^\s*(?:use|require)\s+({_MODULE})", re.M)
_MISSING = re.compile(
    rf"Can't locate (\w+(?:/\w+)*)\.pm in @INC|you may need to install the ({_MODULE}) module"
)
_VERSION = re.compile(r"^\s*use\s+v?5\.(\d+)|MIN_PERL_VERSION\W+v?5\.(\d+)", re.M)

# Only the author's release process needs them.
NOT_NEEDED = re.compile(
    r"^(Dist::Zilla|Pod::Weaver|Perl::Critic|Perl::Tidy|Devel::Cover|ExtUtils|CPAN|Minilla)\b"
)


class PerlToolchain(NativeToolchain):
    """See `envs.languages.Toolchain`."""

    language: ClassVar[str] = "perl"
    suffixes: ClassVar[tuple[str, ...]] = (".t",)
    steering: ClassVar[str] = r"(^|/)(Makefile\.PL|Build\.PL|\.proverc|cpanfile|dist\.ini)$"
    packages: ClassVar[tuple[str, ...]] = ("perl",)

    def claims(self, tree: Tree) -> bool:
        return any(name in tree for name in BUILDS) and any(path.endswith((".pm", ".pl")) for path in tree)

    def is_test(self, path: str) -> bool:
        return path.endswith(".t") or bool(re.match(r"(t|xt|test|tests)/", path))

    def arguments(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Test files but the author's own checks of style and documents."""
        tests = (path for path in paths if path.endswith(".t") and self.is_test(path))
        return tuple(sorted(path for path in tests if not re.search(r"(^|/)(xt|author|release)/", path)))

    def plan(self, upstream: Upstream) -> list[NativeRecipe] | Broken:
        tree = upstream.gold
        tests = self.arguments(tree)
        if not tests:
            return Broken("plan", "No file ends in .t.", reason="no_tests")
        needed = _minimum(tree)
        able = [suite for suite in suites(upstream.date) if VERSIONS[suite] >= (5, needed)]
        if not able:
            return Broken("plan", f"No suite has Perl 5.{needed}.", reason="interpreter_unavailable")
        packages = tuple(sorted({debian_package(m) for m in _modules(tree, tests)}))
        return [_recipe(tree, suite, packages) for suite in able[:2]]

    def repair(self, recipe: NativeRecipe, broken: Broken) -> NativeRecipe | None:
        """Modules that the run did not find come as Debian packages."""
        if mended := super().repair(recipe, broken):
            return mended
        names = {(a.replace("/", "::") or b) for a, b in _MISSING.findall(broken.log)}
        tried = " ".join((*recipe.packages, *recipe.notes))
        added = sorted({p for name in names if (p := debian_package(name)) not in tried.split()})
        if broken.stage == "resolve" or not added:
            return None
        notes = (*recipe.notes, f"added {' '.join(added)} : modules that were not found")
        packages = tuple(sorted({*recipe.packages, *added}))
        return recipe.model_copy(update={"packages": packages, "notes": notes})


def debian_package(module: str) -> str:
    return f"lib{module.lower().replace('::', '-').replace('_', '-')}-perl"


def _recipe(tree: Tree, suite: str, packages: tuple[str, ...]) -> NativeRecipe:
    compiled = any(path.endswith((".xs", ".c")) for path in tree if not path.startswith(("t/", "xt/")))
    build = "perl Build.PL && ./Build" if "Build.PL" in tree else "perl Makefile.PL && make"
    libraries = ("-b",) if compiled else ("-l", *(("-Iinc",) if _has(tree, "inc/") else ()))
    return NativeRecipe(
        language="perl",
        suite=suite,
        packages=(*packages, *(COMPILER if compiled else ())),
        compile=("sh", "-c", f"{build} > /dev/null") if compiled else (),
        framework="prove",
        test=("prove", "--norc", "--verbose", "--merge", *libraries, "-It/lib", "-I."),
        test_env={"PERL_MM_USE_DEFAULT": "1", "NONINTERACTIVE_TESTING": "1"},
        report="tap",
    )


def _has(tree: Tree, folder: str) -> bool:
    return any(path.startswith(folder) for path in tree)


def _minimum(tree: Tree) -> int:
    """The minor version of Perl 5 that the build or the main modules ask for."""
    found = [0]
    for path in tree:
        if path in BUILDS or path.endswith(".pm"):
            for pair in _VERSION.findall(tree.text(path)[:20_000]):
                digits = next(text for text in pair if text)
                found.append(int(digits[:3]))  # 5.010001 and 5.10 alike
    return max(found)


def _modules(tree: Tree, tests: Iterable[str]) -> set[str]:
    """Modules that the metadata and the tests name and the tree does not hold."""
    own = {path.removeprefix("lib/").removesuffix(".pm").replace("/", "::") for path in tree}
    own |= {path.removeprefix("t/lib/").removesuffix(".pm").replace("/", "::") for path in tree}
    named = {*_declared(tree), *(m for path in tests for m in _USED.findall(tree.text(path)[:50_000]))}
    return {m for m in named - own if not NOT_NEEDED.match(m)}


def _declared(tree: Tree) -> Iterator[str]:
    for name in ("Makefile.PL", "Build.PL"):
        yield from _PAIR.findall(tree.text(name))
        yield from _REQUIRES.findall(tree.text(name))
    yield from _REQUIRES.findall(tree.text("cpanfile"))
    for section in re.split(r"^\[", tree.text("dist.ini"), flags=re.M):
        if section.startswith("Prereqs"):
            yield from _INI.findall(section)
    try:
        prereqs = json.loads(tree.text("META.json") or "{}").get("prereqs", {})
        for phase in ("runtime", "test"):
            yield from prereqs.get(phase, {}).get("requires", {})
    except (ValueError, AttributeError):
        return
