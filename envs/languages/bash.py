"""Bash and other shells: bats, and plain test scripts.

bats runs below `prove`, which tells the file of each test and goes on after one that breaks; that way every
version of bats reports alike. A project that is itself bats is tested with its own. Helper libraries that
projects keep as git submodules, which no tree holds, come from Debian and are put where the tests look.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar

from envs.languages import Broken, Upstream, scripts
from envs.languages.native import NativeRecipe, NativeToolchain, suites
from envs.languages.tree import EXECUTABLE, Tree

OWN = "bin/bats"
LIBRARIES = ("bats-support", "bats-assert", "bats-file")
# What shell tests expect to find and a minimal system lacks.
PACKAGES = ("bats", "bc", "bsdextrautils", "curl", "file", "jq", "less", "make", "procps", "unzip", "zip")

_FOLDER = re.compile(r"(^|/)(test|tests|spec|t|bats|test_helper|fixtures)/")
_SCRIPT = re.compile(r"(^|/)(test[^/]*|[^/]*[_.-]tests?|run[^/]*)\.(sh|bash)$")
_SUBMODULE = re.compile(r"^\s*path\s*=\s*(\S+)\s*$", re.M)
_LOAD = re.compile(
    r"""(?:load|source|\.)\s+["']?(?:\$\{?\w+\}?/)?([\w./-]*?(bats-\w+))/load(?:\.bash)?["']?"""
)


class BashToolchain(NativeToolchain):
    """See `envs.languages.Toolchain`."""

    language: ClassVar[str] = "bash"
    suffixes: ClassVar[tuple[str, ...]] = (".bats", ".sh", ".bash")
    steering: ClassVar[str] = r"(^|/)(setup_suite\.bash|\.bats|\.shellspec)$"
    packages: ClassVar[tuple[str, ...]] = PACKAGES

    def claims(self, tree: Tree) -> bool:
        return any(path.endswith(".bats") for path in tree) or bool(self.arguments(tree))

    def is_test(self, path: str) -> bool:
        return path.endswith(".bats") or bool(_FOLDER.search(path))

    def arguments(self, paths: Iterable[str]) -> tuple[str, ...]:
        """bats files, but not those that other tests take as input; else scripts of the test folders."""
        tests = sorted(path for path in paths if self.is_test(path))
        bats = tuple(p for p in tests if p.endswith(".bats") and not re.search(r"(^|/)fixtures?/", p))
        folder = re.compile(r"^(test|tests|spec|t)/")
        return bats or tuple(p for p in tests if _SCRIPT.search(p) and folder.match(p))

    def plan(self, upstream: Upstream) -> list[NativeRecipe] | Broken:
        tree = upstream.gold
        tests = self.arguments(tree)
        if not tests:
            return Broken("plan", "No file ends in .bats or looks like a test script.", reason="no_tests")
        suite, *later = suites(upstream.date)
        if not tests[0].endswith(".bats"):
            return [_scripts(suite, beside) for beside in (False, True)]
        return [_bats(tree, tests, s) for s in (suite, *later[:1])]


def _bats(tree: Tree, tests: Iterable[str], suite: str) -> NativeRecipe:
    own = tree.modes.get(OWN) == EXECUTABLE
    links = _links(tree, tests)
    packages = tuple(
        lib for lib in LIBRARIES if any(target == lib for target, _ in links) or _named(tree, lib)
    )
    run = "./bin/bats --tap" if own else "bats --tap"
    return NativeRecipe(
        language="bash",
        suite=suite,
        packages=() if suite == "bullseye" else packages,
        build=tuple(f"mkdir -p {_parent(path)} && ln -sfn /usr/lib/bats/{lib} {path}" for lib, path in links),
        framework="bats",
        test=("prove", "--norc", "--verbose", "--merge", "--exec", run),
        test_env={"BATS_LIB_PATH": "/usr/lib/bats", "TERM": "dumb", "SHELL": "/bin/bash"},
        report="tap",
    )


def _scripts(suite: str, beside: bool) -> NativeRecipe:
    return NativeRecipe(
        language="bash",
        suite=suite,
        framework="scripts",
        test=scripts.command("bash", beside=beside),
        test_env={"TERM": "dumb", "SHELL": "/bin/bash"},
        report="scripts",
    )


def _named(tree: Tree, library: str) -> bool:
    return any(library in tree.text(p) for p in tree if p.endswith((".bats", ".bash")))


def _links(tree: Tree, tests: Iterable[str]) -> list[tuple[str, str]]:
    """(library, path in the tree) of helper libraries that are submodules, or loaded by a relative path."""
    found = {path for path in _SUBMODULE.findall(tree.text(".gitmodules"))}
    for test in (*tests, *(path for path in tree if path.endswith(".bash"))):
        found |= {f"{_parent(test)}/{path}" for path, _ in _LOAD.findall(tree.text(test)) if "/" in path}
    plain = {path for path in found if re.fullmatch(r"[\w][\w./-]*", path) and ".." not in path.split("/")}
    pairs = sorted((path.rpartition("/")[2], path) for path in plain)
    return [(lib, path) for lib, path in pairs if lib in LIBRARIES and not _held(tree, path)]


def _held(tree: Tree, folder: str) -> bool:
    return any(path.startswith(f"{folder}/") for path in tree)


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "."
