"""Does the finished image work? The project imports, and its tests are collected, as upstream would have
them.

Both run without network and as `tester`, as grading will. Collection is asked of the gold tree, because its
metadata is what the packages were resolved from: a gold suite that does not collect means a broken
environment, where a base suite that does not may only mean an old one. A project with compiled parts cannot
be swapped without building it, so there the base tree is asked.
"""

from __future__ import annotations

import re

from envs.languages import Broken, Healthy, Resolved, Runner, Upstream
from envs.languages.python.paths import is_test_module
from envs.languages.python.recipe import PythonRecipe
from envs.languages.tree import pack
from envs.sandbox import ExecResult, Outcome, Sandbox

PYTHON = "/opt/venv/bin/python"
LOG = 40_000

# Collects like `unittest discover` and says what could not be loaded.
DISCOVER = """
import sys, unittest
loader = unittest.TestLoader()
suite = loader.discover(".", top_level_dir=".")
for error in loader.errors:
    print("ERROR collecting", error)
print(suite.countTestCases() - len(loader.errors), "tests collected")
sys.exit(2 if loader.errors else 0)
"""


async def smoke(
    recipe: PythonRecipe, runner: Runner, upstream: Upstream, sandbox: Sandbox, *, timeout: float
) -> Healthy | Broken:
    """Import, then collect."""
    for module in recipe.modules:
        result = await sandbox.exec(
            [PYTHON, "-c", f"import {module}"], timeout=timeout, user="tester", workdir="/"
        )
        if not result.ok:
            return Broken("import", result.text(LOG), reason=_ended(result) or "import_failed")
    if not recipe.compiler:
        await put(upstream, sandbox, timeout=timeout)
    pytest = recipe.framework == "pytest"
    argv = [*runner.command, "--collect-only", "-q"] if pytest else [PYTHON, "-c", DISCOVER]
    result = await sandbox.exec(argv, timeout=timeout, user="tester", workdir="/app", env=runner.env)
    log = result.text(LOG)
    collected = count(result.stdout.decode("utf-8", "replace"))
    if result.ok and collected:
        return Healthy(collected, log)
    reason = _ended(result) or ("nothing_collected" if result.exit_code in (0, 5) else "collection_failed")
    return Broken("collect", log, reason=reason, collected=collected, share=_share(upstream, log))


async def put(upstream: Upstream, sandbox: Sandbox, *, timeout: float) -> None:
    """Lay the gold tree over /app of this sandbox."""
    gone = "\0".join(f"/app/{path}" for path in upstream.base if path not in upstream.gold)
    await sandbox.upload({"/tmp/gold.tar": pack(upstream.gold)})
    await sandbox.exec(
        ["xargs", "-0r", "rm", "-f", "--"], timeout=timeout, stdin=gone.encode("utf-8", "surrogateescape")
    )
    await sandbox.exec(["tar", "-xf", "/tmp/gold.tar", "-C", "/app", "--unlink-first"], timeout=timeout)


def count(output: str) -> int:
    """Tests that a collection found, in the words of any pytest since 4."""
    for pattern in (r"^(\d+)(?:/\d+)? tests? collected", r"^collected (\d+) items?", r"^(\d+) tests? found"):
        if match := re.search(pattern, output, re.M):
            return int(match[1])
    listed = len(re.findall(r"^\S[^\n]*::\S", output, re.M))
    return listed or sum(int(n) for n in re.findall(r"^\S+\.py: (\d+)$", output, re.M))


def _share(upstream: Upstream, log: str) -> float:
    """The part of the test files that did not fail to collect."""
    files = sum(map(is_test_module, upstream.gold))
    errors = set(re.findall(r"ERROR collecting (\S+)", log))
    return max(0.0, 1 - len(errors) / files) if files else 0.0


def _ended(result: ExecResult) -> str:
    return {Outcome.TIMEOUT: "timeout", Outcome.OOM: "out_of_memory"}.get(result.outcome, "")


# Plugin → arguments that keep it from changing what is run: order, coverage and processes are the
# supervisor's.
QUIETED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("pytest-cov", ("--no-cov",)),
    ("pytest-randomly", ("-p", "no:randomly")),
    ("pytest-random-order", ("-p", "no:random-order")),
    ("pytest-xdist", ("-n0",)),
)


def runner(resolved: Resolved) -> Runner:
    """The command that runs the suite: the project's own options, quieted."""
    recipe: PythonRecipe = resolved.recipe
    versions = dict(line.split("==", 1) for line in resolved.manifest if "==" in line)
    env = {"PYTHONDONTWRITEBYTECODE": "1", "HOME": "/tmp"}
    if recipe.framework == "unittest":
        return Runner(framework="unittest", command=(PYTHON, "-m", "unittest"), env=env)
    quiet = [arg for plugin, args in QUIETED if plugin in versions for arg in args]
    override = ["-o", f"addopts={recipe.addopts}"] if recipe.addopts is not None else []
    return Runner(
        framework="pytest",
        version=versions.get("pytest", ""),
        command=(PYTHON, "-m", "pytest", "-p", "no:cacheprovider", *quiet, *override),
        env=env,
    )
