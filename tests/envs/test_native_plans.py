"""Recipes that Go, C and C++ plan from a project's own files, and how they are mended. Nothing is run."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from envs import registries
from envs.languages import Broken, Upstream, detect
from envs.languages.c import CppToolchain, CToolchain
from envs.languages.go import GoToolchain, debian_package, import_path, read
from envs.languages.native import CACHE, NativeRecipe
from envs.languages.tree import Tree


def tree(files: dict[str, str]) -> Tree:
    return Tree({path: text.encode() for path, text in files.items()})


def plan(toolchain: GoToolchain | CToolchain, files: dict[str, str], year: int) -> list[NativeRecipe]:
    upstream = Upstream("calc", "", datetime(year, 6, 1, tzinfo=UTC), tree(files), tree(files))
    recipes = toolchain.plan(upstream)
    assert isinstance(recipes, list), recipes
    return recipes


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registries, "go_proxy", lambda: "")


MODULE = {"go.mod": "module example.org/calc\n\ngo 1.13\n", "calc.go": "package calc\n", "calc_test.go": ""}
REQUIRES = """\
module example.org/calc // the calculator

go 1.18

require (
\tgithub.com/stretchr/testify v1.7.0
\tgopkg.in/yaml.v3 v3.0.0 // indirect
\texample.org/near v0.0.0
)

require golang.org/x/net v0.1.0

replace example.org/near => ./near
"""


def test_go_of_the_day_that_the_module_allows() -> None:
    assert [r.suite for r in plan(GoToolchain(), MODULE, 2021)] == ["bullseye", "bookworm", "trixie"]
    assert [r.suite for r in plan(GoToolchain(), MODULE, 2024)] == ["bookworm", "bullseye", "trixie"]
    newer = MODULE | {"go.mod": "module example.org/calc\ngo 1.21.3\ntoolchain go1.22.0\n"}
    assert [r.suite for r in plan(GoToolchain(), newer, 2024)] == ["trixie"]
    future = MODULE | {"go.mod": "module example.org/calc\ngo 9.1\n"}
    upstream = Upstream("calc", "", datetime(2024, 6, 1, tzinfo=UTC), tree(future), tree(future))
    broken = GoToolchain().plan(upstream)
    assert isinstance(broken, Broken)
    assert broken.reason == "interpreter_unavailable"


def test_modules_come_from_the_tree_the_proxy_or_debian(monkeypatch: pytest.MonkeyPatch) -> None:
    files = MODULE | {"go.mod": REQUIRES}
    (debian, *_) = plan(GoToolchain(), files, 2024)
    assert debian.packages == (
        "golang-github-stretchr-testify-dev", "golang-golang-x-net-dev", "golang-gopkg-yaml.v3-dev",
    )  # fmt: skip
    assert debian.env["GO111MODULE"] == "off"
    assert debian.install == (
        f"mkdir -p {CACHE}/go/src/example.org && ln -s /app {CACHE}/go/src/example.org/calc",
    )
    vendored = plan(GoToolchain(), files | {"vendor/modules.txt": ""}, 2024)
    assert (vendored[0].packages, "-mod=vendor" in vendored[0].env["GOFLAGS"]) == ((), True)
    monkeypatch.setattr(registries, "go_proxy", lambda: "https://proxy.example.org")
    assert plan(GoToolchain(), files, 2024)[0].install == ("go mod download",)
    assert plan(GoToolchain(), MODULE, 2024)[0].install == ()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"calc.go": 'package calc // import "example.org/real/calc"\n'}, "example.org/real/calc"),
        ({"cmd/main.go": 'package main\nimport "example.org/me/calc/sub"\n'}, "example.org/me/calc"),
        ({"README.md": "go get example.org/you/calc\n", "calc.go": "package calc\n"}, "example.org/you/calc"),
        ({"calc.go": "package calc\n"}, "localhost.localdomain/calc"),
        ({"calc.go": 'package calc // import "a b; rm -rf /"\n'}, "localhost.localdomain/calc"),
    ],
)
def test_the_import_path_of_sources_older_than_modules(files: dict[str, str], expected: str) -> None:
    assert import_path(tree(files), "calc") == expected


def test_sources_older_than_modules_name_their_packages() -> None:
    names = '"fmt"', 'y "gopkg.in/yaml.v2"', '"github.com/a/b/c"', '"example.org/me/calc/sub"'
    code = "package calc\nimport (\n\t" + "\n\t".join(names) + "\n)\n"
    module = read(tree({"calc.go": code, "vendor/x/x.go": 'import "x.org/y/z"\n'}), "calc")
    assert (module.path, module.declared) == ("example.org/me/calc", False)
    assert module.requires == ("github.com/a/b", "gopkg.in/yaml.v2")


@pytest.mark.parametrize(
    ("path", "package"),
    [
        ("github.com/Masterminds/semver/v3", "golang-github-masterminds-semver-dev"),
        ("golang.org/x/sys", "golang-golang-x-sys-dev"),
        ("go.uber.org/zap", "golang-go.uber-zap-dev"),
        ("google.golang.org/grpc", "golang-google-grpc-dev"),
        ("gopkg.in/check.v1", "golang-gopkg-check.v1-dev"),
    ],
)
def test_debian_names_go_modules_by_rule(path: str, package: str) -> None:
    assert debian_package(path) == package


CMAKE = {"CMakeLists.txt": "enable_testing()\n", "calc.c": "", "tests/test_calc.c": ""}


def test_c_and_cpp_are_told_apart_by_their_tests() -> None:
    for files, language in (
        (CMAKE, "c"),
        (CMAKE | {"tests/a_test.cc": "", "tests/b_test.cc": "", "tests/c.h": ""}, "cpp"),
        (CMAKE | {"go.mod": "", "a_test.go": "", "b_test.go": ""}, "go"),
        ({"Makefile": "test:\n\t./t\n", "t/t.c": ""}, "c"),
    ):
        found = detect(tree(files))
        assert found is not None
        assert found.language == language


def test_every_build_system_that_can_test_is_planned() -> None:
    files = {
        "CMakeLists.txt": "option(CALC_TESTS \"Tests\" OFF)\noption(CALC_FUZZ_TESTS \"\" OFF)\n"
        "option(BUILD_UNITTESTS OFF)\n# option(OLD_TESTS OFF)\ninclude(CTest)\nfind_package(OpenSSL)\n",
        "configure.ac": "PKG_CHECK_MODULES([CHECK], [check >= 0.9])\n",
        "Makefile": "all:\n\tcc\ncheck: all\n\t./t\n", "calc.cpp": "", "tests/calc.cpp": "",
    }  # fmt: skip
    recipes = plan(CppToolchain(), files, 2023)
    assert [(r.framework, r.suite) for r in recipes] == [
        ("ctest", "bookworm"), ("ctest", "bullseye"), ("automake", "bookworm"), ("automake", "bullseye"),
        ("make check", "bookworm"), ("make check", "bullseye"),
    ]  # fmt: skip
    assert recipes[0].packages == ("check", "libssl-dev")
    told = recipes[0].build[0]
    assert ("-DCALC_TESTS=ON" in told, "-DBUILD_UNITTESTS=ON" in told) == (True, True)
    assert ("FUZZ" in told, "OLD_TESTS" in told) == (False, False)
    # CTest writes JUnit since CMake 3.21
    assert ([r.report_files for r in recipes[:2]]) == [("{out}/ctest.xml",), ()]


@pytest.mark.parametrize(
    ("log", "note", "packages"),
    [
        ("E: Unable to locate package libold-dev", "left out libold-dev: not in bookworm", ()),
        (
            "a.c:3:10: fatal error: openssl/ssl.h: No such file or directory",
            "added libssl-dev",
            ("libssl-dev",),
        ),
        ("a.c:3:10: fatal error: check.h: No such file or directory", "added check", ("check",)),
        ("CMake Error: Could NOT find ZLIB (missing: ZLIB_LIBRARY)", "added zlib1g-dev", ("zlib1g-dev",)),
        ("No package 'libevent' found", "added libevent-dev", ("libevent-dev",)),
        ("/usr/bin/ld: cannot find -lcmocka: No such file", "added libcmocka-dev", ("libcmocka-dev",)),
        ("/bin/sh: 1: bison: not found", "added bison", ("bison",)),
    ],
)
def test_what_a_build_lacks_is_added(log: str, note: str, packages: tuple[str, ...]) -> None:
    recipe = plan(CToolchain(), CMAKE, 2023)[0].model_copy(update={"packages": ("libold-dev",)})
    mended = CToolchain().repair(recipe, Broken("build", log))
    assert mended is not None
    assert mended.notes[-1].startswith(note)
    assert set(mended.packages) - {"libold-dev"} == set(packages)
    assert CToolchain().repair(mended, Broken("build", log)) is None


def test_warnings_newer_than_the_source_are_no_errors() -> None:
    recipe = plan(CToolchain(), CMAKE, 2023)[0]
    log = "a.c:1:1: error: o [-Werror=stringop-overflow=]\nb.c:2:2: error: m [-Werror=maybe-uninitialized]"
    mended = CToolchain().repair(recipe, Broken("build", log))
    assert mended is not None
    assert mended.env["CFLAGS"] == "-Wno-error=maybe-uninitialized -Wno-error=stringop-overflow"
    assert CToolchain().repair(mended, Broken("build", log)) is None
