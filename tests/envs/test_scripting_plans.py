"""What Ruby, PHP, Perl, Lua, R and shell toolchains plan, from project files of our own; nothing is run."""

from __future__ import annotations

from datetime import UTC, datetime
from textwrap import dedent

import pytest

from envs.languages import Broken, Upstream, detect, toolchain
from envs.languages.bash import BashToolchain
from envs.languages.lua import LuaToolchain
from envs.languages.native import NativeRecipe
from envs.languages.perl import PerlToolchain
from envs.languages.php import PhpToolchain
from envs.languages.r import RToolchain
from envs.languages.ruby import RubyToolchain
from envs.languages.tree import EXECUTABLE, Tree


def tree(files: dict[str, str], modes: dict[str, int] | None = None) -> Tree:
    return Tree({name: dedent(text).lstrip("\n").encode() for name, text in files.items()}, modes or {})


def plan(
    language: str, files: dict[str, str], *, year: int = 2024, modes: dict[str, int] | None = None
) -> list[NativeRecipe] | Broken:
    made = tree(files, modes)
    return toolchain(language).plan(Upstream("x", "1", datetime(year, 6, 1, tzinfo=UTC), made, made))


def first(
    language: str, files: dict[str, str], *, year: int = 2024, modes: dict[str, int] | None = None
) -> NativeRecipe:
    recipes = plan(language, files, year=year, modes=modes)
    assert not isinstance(recipes, Broken), recipes
    return recipes[0]


@pytest.mark.parametrize(
    ("language", "files"),
    [
        ("ruby", {"a.gemspec": "", "lib/a.rb": "", "test/test_a.rb": ""}),
        ("php", {"composer.json": "{}", "src/A.php": "", "tests/ATest.php": ""}),
        ("perl", {"Makefile.PL": "", "lib/A.pm": "", "t/a.t": ""}),
        ("lua", {"a.lua": "", "test/test.lua": ""}),
        ("r", {"DESCRIPTION": "Package: a\n", "R/a.R": "", "tests/testthat/test-a.R": ""}),
        ("bash", {"bin/a": "", "test/a.bats": ""}),
        # A helper in another language does not make the project one of that language.
        ("perl", {"Makefile.PL": "", "lib/A.pm": "", "t/a.t": "", "t/b.t": "", "test/run.sh": ""}),
        ("ruby", {"Gemfile": "", "lib/a.rb": "", "test/a_test.rb": "", "bin/b.pl": "", "DESCRIPTION": "x\n"}),
    ],
)
def test_a_project_is_claimed_by_its_language(language: str, files: dict[str, str]) -> None:
    found = detect(tree(files))
    assert found is not None
    assert found.language == language


def test_tests_are_told_by_path() -> None:
    ruby = RubyToolchain()
    assert ruby.is_test("test/helper.rb")
    assert not ruby.is_test("lib/rack/test.rb")
    assert ruby.arguments(
        ["spec/a_spec.rb", "spec/spec_helper.rb", "test/test_b.rb", "spec/support/x_spec.rb"]
    ) == ("spec/a_spec.rb",)
    assert ruby.arguments(["test/spec_a.rb", "test/a_test.rb", "test/test_helper.rb"]) == (
        "test/a_test.rb",
        "test/spec_a.rb",
    )
    perl = PerlToolchain()
    assert perl.arguments(["t/b/a.t", "t/a.t", "xt/author/pod.t", "t/lib/A.pm"]) == ("t/a.t", "t/b/a.t")
    bash = BashToolchain()
    assert bash.arguments(["test/a.bats", "test/fixtures/b.bats", "test/run.sh"]) == ("test/a.bats",)
    assert bash.arguments(["test/test_a.sh", "install.sh"]) == ("test/test_a.sh",)
    lua = LuaToolchain()
    assert lua.arguments(["spec/a_spec.lua", "spec/helper.lua", "test/test.lua"]) == ("spec/a_spec.lua",)
    r = RToolchain()
    assert r.arguments(["tests/testthat/test-a.R", "tests/testthat.R"]) == ("tests/testthat/test-a.R",)
    assert r.arguments(["tests/b.R", "tests/a.R"]) == ("tests/a.R", "tests/b.R")
    php = PhpToolchain()
    assert php.arguments(["phpunit.xml.dist", "tests/ATest.php"]) == ()
    assert php.arguments(["test/ATest.php", "src/A.php"]) == ("test",)


def test_the_suite_has_the_interpreter_that_is_asked_for() -> None:
    gem = {"a.gemspec": 'spec.required_ruby_version = ">= 3.2"\n', "test/test_a.rb": ""}
    assert first("ruby", gem, year=2022).suite == "trixie"
    php = {"composer.json": '{"require-dev": {"phpunit/phpunit": "^11.0 || ^12.0"}}', "tests/ATest.php": ""}
    assert first("php", php).suite == "trixie"
    php["composer.json"] = '{"require-dev": {"phpunit/phpunit": "^10.3"}}'
    assert first("php", php).suite == "trixie"  # between those that there are: the newer one
    php["composer.json"] = '{"require": {"php": "^7.2 || ^8.0"}, "require-dev": {"phpunit/phpunit": "^9.5"}}'
    assert first("php", php, year=2022).suite == "bullseye"
    assert first("php", php, year=2026).suite in ("bookworm", "bullseye")
    cran = {"DESCRIPTION": "Package: a\nDepends: R (>= 4.1)\n", "tests/a.R": ""}
    assert first("r", cran, year=2022).suite == "bookworm"
    broken = plan("perl", {"Makefile.PL": "use 5.050;\n", "t/a.t": ""})
    assert isinstance(broken, Broken)
    assert broken.reason == "interpreter_unavailable"


def test_names_become_debian_packages() -> None:
    gem = first("ruby", {
        "a.gemspec": 'spec.add_dependency "rack-test"\nspec.add_development_dependency("rubocop", "~> 1")\n',
        "Gemfile": 'gem "minitest-global_expectations"\n', "test/test_a.rb": "",
    })  # fmt: skip
    assert gem.packages == ("ruby-minitest-global-expectations", "ruby-rack-test")
    rock = first("lua", {
        "a-1.rockspec": 'dependencies = { "lua >= 5.1", "luafilesystem", "lpeg >= 1" }\n',
        "a.lua": "", "spec/a_spec.lua": 'local a = require "a"\nlocal pl = require("pl.path")\n',
    })  # fmt: skip
    assert set(rock.packages) == {"lua-filesystem", "lua-lpeg", "lua-penlight"}
    dist = first("perl", {
        "Makefile.PL": "WriteMakefile(PREREQ_PM => { 'Try::Tiny' => '0.3' });\n",
        "cpanfile": "on test => sub { requires 'Test::Deep', '>= 1' };\n",
        "lib/My/App.pm": "", "t/a.t": "use My::App;\nuse Test::Warnings;\n",
    })  # fmt: skip
    assert {"libtry-tiny-perl", "libtest-deep-perl", "libtest-warnings-perl"} <= set(dist.packages)
    assert "libmy-app-perl" not in dist.packages
    package = first("r", {
        "DESCRIPTION": "Package: a\nImports: methods,\n  rlang (>= 1.0)\nSuggests: knitr, withr, covr\n",
        "R/a.R": "", "src/a.c": "", "tests/testthat/test-a.R": "withr::local_options(a = 1)\n",
    })  # fmt: skip
    assert {"r-cran-rlang", "r-cran-withr", "gcc"} <= set(package.packages)
    assert not {"r-cran-knitr", "r-cran-methods", "r-cran-covr"} & set(package.packages)


def test_a_runner_is_tested_with_itself() -> None:
    files = {"bin/bats": "#!/usr/bin/env bash\n", "test/a.bats": ""}
    assert "./bin/bats --tap" in first("bash", files, modes={"bin/bats": EXECUTABLE}).test
    assert "bats --tap" in first("bash", {"test/a.bats": ""}).test


def test_missing_modules_are_added_once() -> None:
    ruby, recipe = RubyToolchain(), first("ruby", {"a.gemspec": "", "test/test_a.rb": ""})
    broken = Broken("collect", "LoadError: cannot load such file -- mustermann/grape\n")
    mended = ruby.repair(recipe, broken)
    assert mended is not None
    assert {"ruby-mustermann-grape", "ruby-mustermann"} <= set(mended.packages)
    assert ruby.repair(mended, broken) is None
    perl, recipe = PerlToolchain(), first("perl", {"Makefile.PL": "", "lib/A.pm": "", "t/a.t": ""})
    log = "Can't locate Data/Dump.pm in @INC (you may need to install the Data::Dump module)"
    mended = perl.repair(recipe, Broken("collect", log))
    assert mended is not None
    assert "libdata-dump-perl" in mended.packages
    gone = perl.repair(mended, Broken("resolve", "E: Unable to locate package libdata-dump-perl"))
    assert gone is not None
    assert "libdata-dump-perl" not in gone.packages
    assert perl.repair(gone, Broken("collect", log)) is None
