"""What package.json comes down to: the suite, what is built before, Node, what is installed."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest

from envs.languages import Broken, Upstream, detect
from envs.languages.javascript import install, manifest, node, paths, repair, scripts
from envs.languages.native import NativeRecipe
from envs.languages.tree import Tree

WHEN = datetime(2024, 1, 1, tzinfo=UTC)


def tree(package: dict[str, Any], **files: str) -> Tree:
    named = {"package.json": json.dumps(package), "test/a.test.js": "", **files}
    return Tree({path.replace("__", "/"): text.encode() for path, text in named.items()})


def plan(package: dict[str, Any], **files: str) -> list[NativeRecipe]:
    found = tree(package, **files)
    toolchain = detect(found)
    assert toolchain is not None
    recipes = toolchain.plan(Upstream("x", "1", WHEN, found, found))
    assert isinstance(recipes, list), recipes
    return recipes


@pytest.mark.parametrize(
    ("given", "runner", "text", "before"),
    [
        ({"test": "jest"}, "jest", "jest", []),
        # The suite is the call that names fewest files, with quotes inside words left alone.
        (
            {
                "test": "cross-env TZ=A npm run zone && jest --coverageThreshold=\"{ \\\"lines\\\": 9 }\"",
                "zone": "date && jest test/zone.test --coverage=false",
            },
            "jest",
            'jest --coverageThreshold="{ \\"lines\\": 9 }"',
            [],
        ),
        # Wrappers come off, linters are left out, builders stay in order.
        (
            {
                "pretest": "npm run build && npm run lint",
                "build": "run-p build:*",
                "build:es": "babel src -d es",
                "build:node": "babel src -d .",
                "lint": "eslint .",
                "test": "nyc --reporter=text mocha --require @babel/register --reporter dot --recursive",
            },
            "mocha",
            "mocha --require @babel/register --reporter dot --recursive",
            ["babel src -d es", "babel src -d ."],
        ),
        ({"test": "npm run tests-only", "tests-only": "nyc tape 'test/**/*.js' | tap-spec"}, "tape",
         "tape 'test/**/*.js'", []),
        ({"test": "tsc -p . && node --test build/test/"}, "node", "node --test build/test/", ["tsc -p ."]),
        ({"test": "NODE_ENV=test node --expose-gc node_modules/mocha/bin/_mocha -t 99"}, "mocha",
         "NODE_ENV=test NODE_OPTIONS=--expose-gc mocha -t 99", []),
        ({"test": "npm run u -- -t 9", "u": "mocha -r esm"}, "mocha", "mocha -r esm -t 9", []),
    ],
)  # fmt: skip
def test_the_suite_is_what_npm_test_comes_down_to(
    given: dict[str, str], runner: str, text: str, before: list[str]
) -> None:
    suite = scripts.suite(given)
    assert suite is not None
    got = suite.command.text().replace("_mocha", "mocha")
    assert (suite.command.runner, got) == (runner, text)
    assert [command.text() for command in suite.before] == before


def test_scripts_that_call_each_other_end() -> None:
    assert scripts.suite({"test": "npm run a", "a": "npm run b", "b": "npm run a"}) is None


@pytest.mark.parametrize(
    ("engines", "major", "fits"),
    [
        ("", 12, True), (">=10", 12, True), (">= 0.10", 18, True), ("^18 || >=20", 12, False),
        ("^18 || >=20", 18, True), ("14.x", 18, False), (">=12 <17", 18, False), ("12 - 16", 12, True),
        (">=18.12.0", 18, True), ("<18", 18, False), ("*", 20, True),
    ],
)  # fmt: skip
def test_engines_allow_by_major_version(engines: str, major: int, fits: bool) -> None:
    assert node.allows(engines, major) is fits


def test_node_is_that_of_the_time_that_tools_start_on() -> None:
    assert node.choose("", {}, date(2019, 1, 1))[0] == ("bullseye", 0)
    assert node.choose("", {}, date(2023, 1, 1)) == [("bookworm", 0), ("trixie", 0), ("bullseye", 0)]
    assert node.choose("", {"vitest": "^1.2.0"}, date(2019, 1, 1)) == [("bookworm", 0), ("trixie", 0)]
    assert node.choose(">=22", {}, date(2025, 6, 1)) == [("trixie", 22)]
    assert node.choose(">=99", {}, date(2025, 6, 1)) == []


def test_lock_files_choose_the_package_manager() -> None:
    plain = {"scripts": {"test": "jest"}, "devDependencies": {"jest": "^29.7.0"}}
    assert plan(plain, **{"package-lock.json": "{}"})[0].install == (install.NPM_CI,)
    pnpm = plan(plain, **{"pnpm-lock.yaml": "lockfileVersion: '6.0'\n"})[0].install
    assert "pnpm@8" in pnpm[0]
    assert "yarn@1" in plan(plain, **{"yarn.lock": "# yarn lockfile v1\n"})[0].install[0]
    berry = {**plain, "packageManager": "yarn@3.6.1"}
    assert "cli-dist@3.6.1" in plan(berry, **{"yarn.lock": "__metadata:\n"})[0].install[0]
    assert plan(plain)[0].install == (install.NPM_INSTALL,)


def test_tools_of_maintenance_are_left_out_unless_imported() -> None:
    package = {
        "scripts": {"test": "mocha"},
        "devDependencies": {
            "mocha": "^10",
            "eslint": "^8",
            "husky": "^8",
            "prettier": "^3",
            "a": "github:b/c",
        },
    }
    files = {"src__format.js": "const prettier = require('prettier');\n"}
    dropped = plan(package, **files)[0].install[0]
    assert dropped.endswith(" a eslint husky")
    assert manifest.unobtainable(manifest.read(tree(package))) == ("a",)


def test_what_only_the_change_requires_is_added() -> None:
    before = {"scripts": {"test": "mocha"}, "dependencies": {"a": "^1"}}
    after = {**before, "dependencies": {"a": "^1", "b": "~2.1"}}
    commands, notes = install.commands(tree(before), tree(after))
    assert commands[-1].endswith(" 'b@~2.1'")
    assert "b@~2.1" in notes[-1]


def test_options_that_change_what_is_told_are_dropped() -> None:
    jest = plan({"scripts": {"test": "jest --config=c.js --coverage --ci --watchAll=false -i"}})[0]
    assert jest.test[2].endswith("--watchman=false --config=c.js -i")
    assert jest.report_files == ("{out}/jest.json",)
    mocha = plan({"scripts": {"test": "mocha -R dot --require x --bail 'test/*.js'"}})[0]
    assert mocha.test[2].endswith("--reporter json --require x 'test/*.js'")
    shuffled = plan({"scripts": {"test": "jest"}, "devDependencies": {"jest": "^30.0.0"}})[0]
    assert shuffled.test[-1] == "--seed={seed}"
    assert '${1:+--randomize} "$@"' in shuffled.test[2]


def test_a_package_without_a_runner_is_refused() -> None:
    found = tree({"scripts": {"test": "echo none"}})
    toolchain = detect(found)
    assert toolchain is not None
    assert isinstance(toolchain.plan(Upstream("x", "1", WHEN, found, found)), Broken)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("test/a.js", True), ("src/__tests__/a.ts", True), ("src/a.test.ts", True), ("src/a.spec.jsx", True),
        ("src/a.ts", False), ("src/lib/test/index.js", False), ("lib/testing.js", False),
        ("tap-snapshots/x.cjs", True), ("src/latest.js", False), ("packages/a/test/x.js", True),
        ("test.js", True), ("src/contest.js", False),
    ],
)  # fmt: skip
def test_paths_of_tests(path: str, expected: bool) -> None:
    assert paths.is_test(path) is expected


def test_repairs_change_something_once() -> None:
    recipe = plan({"scripts": {"test": "tsc && mocha"}, "devDependencies": {"mocha": "^10"}})[0]
    cases = [
        (
            "build",
            "npm ERR! code ETARGET\nnpm ERR! notarget No matching version found for gone@^9.\n",
            "gone",
        ),
        ("build", "npm ERR! `npm ci` can only install packages when your package.json and lock are", "lock"),
        ("collect", "Error: Cannot find module 'chai/register'\n", "chai"),
        ("collect", "Error: Cannot find module '../build/Release/x.node'\n", "rebuilt"),
        ("build", "src/a.ts(1,1): error TS2304: Cannot find name 'x'.\n", "build before"),
    ]
    for stage, log, word in cases:
        mended = repair.repair(recipe, Broken(stage, log))
        assert mended is not None
        assert word in mended.notes[-1]
        recipe = mended
    assert recipe.compile == ()
    assert repair.repair(recipe, Broken("collect", "Error: Cannot find module './own'")) is None
    assert repair.repair(recipe, Broken("collect", cases[2][1])) is None
