"""Tasks of the workbook walk, graded by the authority: how many there are a minute, and whether each one
holds.

For every task: the reference must earn 1 and pass every check under changed inputs, the workbook as it was
must earn 0, and so must the reference without its last operation. Needs Docker.

    python benchmarks/workbook_walk.py [--tasks 500] [--workers 2] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console

from envs.docker.backend import DockerBackend
from pipelines.office.seeds import NAMES
from pipelines.office.walk import WalkTask, walk
from verifiers.spreadsheet.authority import Authority
from verifiers.spreadsheet.child import grade_job
from warehouse.settings import Settings


def seeds() -> Iterator[tuple[str, int]]:
    """Every domain in turn, by rising numbers."""
    for number in itertools.count():
        for domain in NAMES:
            yield domain, number


def tasks_of(seed: tuple[str, int]) -> list[WalkTask]:
    return list(walk(*seed))


def fault(task: WalkTask, reports: list[dict[str, Any]]) -> str:
    """What of a task does not hold; '' where all does."""
    reference, untouched, *partial = reports
    changed = [
        check for check in reference.get("checks", ()) if check["name"].startswith("with changed inputs")
    ]
    if reference.get("reward") != 1.0 or not changed:
        failed = [f"{c['name']}: {c['evidence']}" for c in reference.get("checks", ()) if not c["passed"]]
        return f"the reference earned {reference.get('reward')}: {reference.get('reason')} {failed[:2]}"
    if untouched.get("reward") != 0.0:
        return f"the untouched workbook earned {untouched.get('reward')}"
    if any(one.get("reward") != 0.0 for one in partial):
        return "a part of the work earned the whole reward"
    return ""


async def graded(authority: Authority, tasks: asyncio.Queue[WalkTask | None], found: dict[str, Any]) -> None:
    while (task := await tasks.get()) is not None:
        job = grade_job(task.spec, task.file)
        files = [task.reference, task.original] + ([task.partial] if task.partial else [])
        reports = await authority.ask_all([(job, data) for data in files])
        found["tasks"] += 1
        found["gradings"] += len(files)
        found["operations"].update(task.operations)
        found["levels"][task.level] += 1
        found["domains"][task.domain] += 1
        engines = [c["evidence"] for c in reports[0].get("checks", ()) if c["name"] == "engines"]
        found["engines_differ"] += any(": " in text.partition("values")[2] for text in engines)
        if wrong := fault(task, reports):
            found["faults"].append(f"{task.key} {task.operations}: {wrong}")
    tasks.put_nowait(None)


async def measure(count: int, workers: int) -> dict[str, Any]:
    settings = Settings(home=Path(tempfile.mkdtemp(prefix="workbook-walk-")))
    found: dict[str, Any] = {
        "tasks": 0, "gradings": 0, "operations": Counter(), "levels": Counter(), "domains": Counter(),
        "engines_differ": 0, "faults": [],
    }  # fmt: skip
    queue: asyncio.Queue[WalkTask | None] = asyncio.Queue(maxsize=40)
    async with DockerBackend(settings) as backend:
        authorities = [Authority(backend, settings) for _ in range(workers)]
        await asyncio.gather(*(one.start() for one in authorities))
        begin = time.monotonic()
        with ProcessPoolExecutor(max_workers=1) as pool:
            async with asyncio.TaskGroup() as group:
                for one in authorities:
                    group.create_task(graded(one, queue, found))
                made = 0
                for seed in seeds():
                    if made >= count:
                        break
                    tasks = await asyncio.get_running_loop().run_in_executor(pool, tasks_of, seed)
                    for task in tasks[: count - made]:
                        await queue.put(task)
                        made += 1
                await queue.put(None)
        found["seconds"] = round(time.monotonic() - begin, 1)
    return found


def show(found: dict[str, Any]) -> None:
    console = Console()
    rate = found["seconds"] / found["tasks"]
    console.print(
        f"{found['tasks']} tasks, {found['gradings']} gradings in {found['seconds']} s ({rate:.2f} s a task)."
    )
    console.print(
        f"{len(found['operations'])} operations, {len(found['domains'])} domains, {dict(found['levels'])}."
    )
    console.print(f"Engines differ somewhere in {found['engines_differ']} references; LibreOffice decided.")
    console.print(f"{len(found['faults'])} tasks do not hold.")
    for line in found["faults"]:
        console.print(line, markup=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2, help="Containers that grade.")
    parser.add_argument("--json", action="store_true", help="Print everything as JSON.")
    given = parser.parse_args()
    found = asyncio.run(measure(given.tasks, given.workers))
    if given.json:
        print(json.dumps(found, indent=1))
    else:
        show(found)


if __name__ == "__main__":
    main()
