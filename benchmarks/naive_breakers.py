"""Three real releases that break naive pipelines: what the factory makes of them, and what a naive one sees.

- parso 0.7.1: its conftest is written for the pytest of its day, and newer ones cannot collect a test;
- markdown 3.10.1: its old code hangs on the new tests, so only a limit per test lets the rest be judged;
- natsort 8.3.1: nothing but tests and a version number changed, so there is nothing to solve.

Prints, per release: stage and reason it ended with, pytest as resolved as of its date, hidden tests that hung
before the fix, F2P and P2P counts; and for the first, the same tree with today's packages.

Run: python benchmarks/naive_breakers.py [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from envs.builder import BuiltEnvironment, build_environment
from envs.docker.backend import DockerBackend
from envs.languages import Upstream
from envs.languages.tree import Tree
from envs.sandbox import SandboxSpec
from pipelines.factory import Quiet, Tally, mine, process_batch, run_id
from pipelines.family import Context
from pipelines.swe.family import SweFamily, SweOptions
from pipelines.swe.trees import ObjectStore
from warehouse.loader import load
from warehouse.query import Reader
from warehouse.settings import Settings

RELEASES = (("parso", "0.7.1"), ("markdown", "3.10.1"), ("natsort", "8.3.1"))

FATE = """
SELECT e.stage, e.outcome, e.reason,
    list_filter(n.manifest, x -> starts_with(x, 'pytest=='))[1] AS runner,
    (SELECT count(DISTINCT test_id) FROM test_outcomes o
     WHERE o.task_id = t.task_id AND o.state = 'before' AND o.outcome = 'timeout') AS hung_before,
    len(t.fail_to_pass) AS f2p, len(t.new_tests) AS new, len(t.pass_to_pass) AS p2p
FROM events e JOIN candidates c ON c.candidate_id = e.item
LEFT JOIN tasks t USING (candidate_id) LEFT JOIN environments n USING (environment_id)
WHERE c.repo = $repo ORDER BY e.recorded_at DESC LIMIT 1
"""


async def through_the_factory(settings: Settings, package: str, version: str) -> dict[str, Any]:
    """One release, mined to validated or rejected; how it ended."""
    chosen, options = SweFamily(), SweOptions(package=(package,), version=(version,))
    run, tally = run_id("swe", package, options.identity()), Tally(package, "")
    todo = mine(chosen, package, options, settings, run, tally)
    backend = DockerBackend(settings)
    with tempfile.TemporaryDirectory() as folder:
        try:
            context = Context(settings=settings, sandboxes=backend, run_id=run, workdir=Path(folder))
            await process_batch(chosen, todo, context, package, tally, Quiet())
            row = {"release": f"{package} {version}", **fate(settings, package)}
            if package == RELEASES[0][0]:
                row["with today's packages"] = await naive(
                    settings, backend, todo[0].change, Path(folder) / "naive"
                )
        finally:
            await backend.close()
    return row


def fate(settings: Settings, package: str) -> dict[str, Any]:
    load(settings)
    result = Reader(settings).sql(FATE, {"repo": package})
    return dict(zip(result.columns, result.rows[0], strict=True))


async def naive(settings: Settings, backend: DockerBackend, change: Any, folder: Path) -> str:
    """The same tree, resolved today."""
    store = ObjectStore.open(change.store)
    trees = [store.tree(tree) for tree in (change.base_tree, change.gold_tree)]
    base, gold = (Tree(files=view, modes=view.modes) for view in trees)
    upstream = Upstream(
        name=change.repo, version=change.base_ref, date=datetime.now(UTC), base=base, gold=gold
    )
    outcome = await build_environment(upstream, backend=backend, settings=settings, workdir=folder)
    if not isinstance(outcome, BuiltEnvironment):
        return f"{outcome.reason}: {outcome.detail[:120]}"
    sandbox = await backend.start(SandboxSpec(image=outcome.image))
    try:
        runner = outcome.runner
        ran = await sandbox.exec(
            [*runner.command, "-q"], timeout=300, user="tester", workdir="/app", env=runner.env
        )
    finally:
        await sandbox.stop()
    return f"{runner.framework} {runner.version}: {ran.text().splitlines()[-1]}"


async def main(as_json: bool, runs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder), test_seconds=20, runs_per_side=runs)
        rows = [await through_the_factory(settings, *release) for release in RELEASES]
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(", ".join(f"{key}: {value}" for key, value in row.items() if value not in (None, "")))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one list of objects")
    parser.add_argument("--runs", type=int, default=2, help="test runs a side")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.json, arguments.runs))
