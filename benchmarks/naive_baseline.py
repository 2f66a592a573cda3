"""Validated tasks an hour and core: the factory, and a naive pipeline that does the same runs.

Both see the same changes of the same clones, one after another on an otherwise idle machine. The factory
mines, builds, composes and validates them. The naive pipeline is given what the factory found out (packages,
interpreter, command), and only runs: each of the runs that validation took gets a container from the
distribution's image, in which everything is installed over the network, and which is thrown away. So no layer
is shared, as in a `docker run` script per pull request. `--toolchain-there` is kinder: compilers and
interpreters are in its image already, and only the project's packages are installed each time.

Images that the factory has of these very environments are removed first (ours, by their ids), or it would
have nothing to build.

Run: python benchmarks/naive_baseline.py --repo CLONE … [--limit N] [--toolchain-there] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from envs import registries
from envs.docker.backend import DockerBackend
from envs.images import ensure_base
from envs.sandbox import Network
from pipelines.factory import Quiet, Tally, mine, process_batch, run_id
from pipelines.family import Context, Done, Mined
from pipelines.selection import recorded_tasks
from pipelines.swe.compose import limits
from pipelines.swe.family import SweFamily, SweOptions
from verifiers.tests.bundle import load as load_bundle
from verifiers.tests.grader import observe
from warehouse.loader import load
from warehouse.query import Reader
from warehouse.records import Task
from warehouse.settings import Settings


@dataclass
class Row:
    """One task, or a change that came to none. Seconds of wall clock, one at a time."""

    repo: str
    outcome: str
    factory: float
    runs: int = 0
    naive: float = 0.0


async def factory(clone: Path, settings: Settings, backend: DockerBackend, limit: int) -> list[Row]:
    """The clone's newest changes through the factory; a row each."""
    family, options = SweFamily(), SweOptions(source="git", repo=(clone,), limit=limit)
    run, tally = run_id("swe", str(clone), options.identity()), Tally(str(clone), "")
    todo = mine(family, str(clone), options, settings, run, tally)
    with tempfile.TemporaryDirectory() as folder:
        context = Context(settings=settings, sandboxes=backend, run_id=run, workdir=Path(folder))
        await forget(family, todo, context, backend)
        await process_batch(family, todo, context, str(clone), tally, Quiet())
    load(settings)
    query = """
        SELECT item, sum(seconds), arg_max(stage || ' ' || outcome || ' ' || reason, recorded_at) FROM events
        WHERE run_id = $run AND stage IN ('build', 'compose', 'validate') GROUP BY item
    """
    return [
        Row(str(clone), f"{item} {told.strip()}", seconds)
        for item, seconds, told in Reader(settings).sql(query, {"run": run}).rows
    ]


async def forget(family: SweFamily, todo: list[Mined], context: Context, backend: DockerBackend) -> None:
    """Remove the images of the changes' environments, which an earlier run may have left."""
    for mined in todo:
        built = await family.build(mined, context)
        if isinstance(built, Done):
            await asyncio.to_thread(backend.daemon.client.api.remove_image, built.value.environment.image)


def runs_of(settings: Settings, task: Task) -> list[str]:
    """The states of all runs that validation took: base, each of before and after, gold and nop."""
    query = """
        SELECT state, count(DISTINCT run) FROM test_outcomes
        WHERE task_id = $task AND run_id = $run GROUP BY state
    """
    counted = dict(Reader(settings).sql(query, {"task": task.task_id, "run": task.run_id}).rows)
    states = [state for state, count in sorted(counted.items()) for _ in range(count)]
    return [*states, "after", "before"]


async def naive(task: Task, settings: Settings, backend: DockerBackend, there: bool) -> tuple[int, float]:
    """How many runs, and how long they take, each in an environment of its own."""
    bundle = load_bundle(settings.bundles / task.task_id)
    recipe = json.loads(
        Reader(settings)
        .sql("SELECT recipe FROM environments WHERE environment_id = $id", {"id": task.environment_id})
        .rows[0][0]
    )
    base = await ensure_base(recipe["suite"], settings)
    text = (bundle.path / "environment" / "Dockerfile").read_text()
    if there:
        first, rest = re.split(r"^(?=(?:COPY|ADD) )", text, maxsplit=1, flags=re.M)
        base, text = (
            await toolchain_there(first, base, settings, backend),
            f"ARG BASE\nFROM ${{BASE}}\n{rest}",
        )
    states = runs_of(settings, task)
    started = time.monotonic()
    for number, state in enumerate(states):
        await once(bundle.path, text, base, f"{task.task_id}-{number}", state, settings, backend)
    return len(states), time.monotonic() - started


async def toolchain_there(dockerfile: str, base: str, settings: Settings, backend: DockerBackend) -> str:
    """The image of what comes before anything of the project."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text(dockerfile)
        tag = f"verifactory/naive:{hashlib.sha256(dockerfile.encode()).hexdigest()[:12]}"
        await backend.build(
            Path(folder), tag=tag, build_args={"BASE": base}, network=Network.ALLOWLIST,
            allowed_hosts=registries.hosts(), timeout=settings.build_seconds,
        )  # fmt: skip
    return tag


async def once(
    bundle: Path, text: str, base: str, name: str, state: Any, settings: Settings, backend: DockerBackend
) -> None:
    """Install everything, run the suite in one state, throw it away."""
    tag = f"verifactory/naive:{name}"
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder) / "context"
        shutil.copytree(bundle / "environment", context)
        head, _, rest = text.partition("\nFROM ${BASE}\n")  # a label of its own: no layer is found again
        (context / "Dockerfile").write_text(
            f"{head}\nFROM ${{BASE}}\nENV NAIVE={name}-{time.time_ns()}\n{rest}"
        )
        await backend.build(
            context, tag=tag, build_args={"BASE": base}, network=Network.ALLOWLIST,
            allowed_hosts=registries.hosts(), timeout=settings.build_seconds,
        )  # fmt: skip
        patch = load_bundle(bundle).gold_patch if state == "after" else b""
        await observe(backend, tag, bundle / "tests", state=state, patch=patch, limits=limits(settings))
        await asyncio.to_thread(backend.daemon.client.api.remove_image, tag)


async def main(asked: argparse.Namespace) -> dict[str, Any]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="naive-") as home:
        settings = Settings(home=Path(home), parallel=1, certify=False)
        backend = DockerBackend(settings)
        try:
            for clone in asked.repo:
                rows += await factory(clone, settings, backend, asked.limit)
            for task in recorded_tasks(settings, "true"):
                row = next(row for row in rows if row.outcome.startswith(task.candidate_id))
                if "validate ok" not in row.outcome:
                    continue
                row.repo = task.repo
                row.runs, row.naive = await naive(task, settings, backend, asked.toolchain_there)
        finally:
            await backend.close()
    valid = [row for row in rows if row.runs]
    ours = sum(row.factory for row in valid)
    theirs = sum(row.naive for row in valid)
    return {
        "tasks": len(valid),
        "factory_per_core_hour": round(3600 * len(valid) / ours, 1) if ours else None,
        "naive_per_core_hour": round(3600 * len(valid) / theirs, 1) if theirs else None,
        "ratio": round(theirs / ours, 2) if ours else None,
        "rows": [asdict(row) for row in rows],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repo", type=Path, nargs="+", required=True, help="local clones")
    parser.add_argument("--limit", type=int, default=1, help="changes of each")
    parser.add_argument("--toolchain-there", action="store_true", help="a naive pipeline with a good image")
    parser.add_argument("--json", action="store_true", help="one object")
    arguments = parser.parse_args()
    found = asyncio.run(main(arguments))
    if arguments.json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        table = Table("change", "ended", "factory s", "runs", "naive s")
        for row in found["rows"]:
            told = row["outcome"].partition(" ")
            table.add_row(
                row["repo"], told[2], f"{row['factory']:.0f}", str(row["runs"]), f"{row['naive']:.0f}"
            )
        Console().print(table)
        print({name: value for name, value in found.items() if name != "rows"})
