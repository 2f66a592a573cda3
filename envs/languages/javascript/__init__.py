"""The JavaScript and TypeScript toolchain: Node of the time, packages by the project's own manager and lock
file, the suite that `npm test` comes down to.

Packages lie in /app/node_modules, as everywhere. A registry's dates are not relied on: a lock file decides
where there is one, else the ranges of package.json.
"""

from __future__ import annotations

from typing import ClassVar

from envs.languages import Broken, Upstream
from envs.languages.javascript import install, manifest, node, paths, repair, runners, scripts
from envs.languages.javascript.scripts import Command, Suite
from envs.languages.native import CACHE, NativeRecipe, NativeToolchain
from envs.languages.tree import Tree

ENV = {
    "npm_config_update_notifier": "false",
    "npm_config_engine_strict": "false",
    "npm_config_fund": "false",
    "npm_config_audit": "false",
    "CI": "true",
    "NO_COLOR": "1",
    "NO_UPDATE_NOTIFIER": "1",
}
NEWER_NODE = f"{CACHE}/node"


class JavaScriptToolchain(NativeToolchain):
    """See `envs.languages.Toolchain`."""

    language: ClassVar[str] = "javascript"
    suffixes: ClassVar[tuple[str, ...]] = paths.SUFFIXES
    steering: ClassVar[str] = paths.STEERING
    packages: ClassVar[tuple[str, ...]] = ("nodejs", "npm")

    def claims(self, tree: Tree) -> bool:
        return "package.json" in tree

    def is_test(self, path: str) -> bool:
        return paths.is_test(path)

    def plan(self, upstream: Upstream) -> list[NativeRecipe] | Broken:
        gold = manifest.read(upstream.gold)
        if not any(path.endswith(paths.SUFFIXES) and paths.is_test(path) for path in upstream.gold):
            return Broken("plan", "No file of the source looks like a test.", reason="no_tests")
        versions = gold.requirements | manifest.locked_versions(upstream.gold)
        suite = scripts.suite(gold.scripts) or _usual(gold.requirements)
        if suite is None:
            told = gold.scripts.get("test", "no test script")
            return Broken("plan", f"No test runner that we know: {told[:200]}", reason="no_tests")
        chosen = node.choose(gold.engines, versions, upstream.date.date())
        if not chosen:
            detail = f"The source requires Node {gold.engines!r}."
            return Broken("plan", detail, reason="interpreter_unavailable")
        return [_recipe(upstream, suite, versions, name, major) for name, major in chosen]

    def repair(self, recipe: NativeRecipe, broken: Broken) -> NativeRecipe | None:
        return super().repair(recipe, broken) or repair.repair(recipe, broken)


def _usual(requirements: dict[str, str]) -> Suite | None:
    """A runner that is required and that no script starts as we would know it."""
    found = next((name for name in runners.RUNNERS if name in requirements), None)
    if found is None:
        return None
    return Suite(Command((found, *(("'test/**/*.js'",) if found == "tape" else ()))))


def _recipe(
    upstream: Upstream, suite: Suite, versions: dict[str, str], debian: str, major: int
) -> NativeRecipe:
    commands, notes = install.commands(upstream.base, upstream.gold)
    runner = suite.command.runner
    told = runners.RUNNERS.get(runner)
    env = dict(ENV)
    if major:
        # The registry's `node` is a package whose script puts the program in place.
        commands = (f"mkdir -p {NEWER_NODE} && npm install --prefix {NEWER_NODE} node@{major}", *commands)
        env["PATH"] = f"{NEWER_NODE}/node_modules/.bin:/usr/local/bin:/usr/bin:/bin"
        notes = (*notes, f"Node {major} from the registry: {debian} has an older one")
    return NativeRecipe(
        language="javascript",
        suite=debian,
        notes=notes,
        env=env,
        install=commands,
        compile=_build(suite),
        framework=runner,
        test=runners.command(suite.command, versions),
        test_env={**suite.command.env, "npm_config_offline": "true"},
        report=told.report if told else "tap",
        report_files=told.report_files if told else (),
        log_report=told.log_report if told else "",
    )


def _build(suite: Suite) -> tuple[str, ...]:
    """What the scripts make before the tests, each step because the one before went well."""
    if not suite.before:
        return ()
    steps = " && ".join(command.text() for command in suite.before)
    return ("bash", "-c", f'export PATH="/app/node_modules/.bin:$PATH"; {steps}')
