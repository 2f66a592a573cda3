"""Variants per parent: validated upstream tasks of a home are transformed, and what is valid is counted.

    export VERIFACTORY_HOME=/tmp/home
    verifactory run swe --source releases --package cachetools --package parse --limit 2
    python benchmarks/transformations.py

Every kind is made with its defaults, and each variant passes the gates of its kind: executed before and
after, repeated runs, controls. Prints JSON: variants per parent and kind, what candidates were rejected for,
which kinds of mutation the valid ones are, seconds per variant, and how the controls ended. Running it again
goes on where it stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from pipelines.factory import mine, process_batch, run_id
from pipelines.family import Context
from pipelines.transform.family import KINDS, TransformFamily, TransformOptions
from pipelines.work_folder import work_folder
from warehouse.loader import load
from warehouse.query import Reader
from warehouse.settings import Settings


class Told:
    """Progress on stderr."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def mined(self, items: int) -> None:
        self._say(f"{items} candidates")

    def stage(self, item: str, stage: str, outcome: str) -> None:
        if outcome != "…":
            self._say(f"{item[:8]} {stage} {outcome}")

    def ended(self, item: str) -> None: ...

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self.started:8.1f} s  {text}", file=sys.stderr, flush=True)


async def transform(options: TransformOptions, settings: Settings) -> str:
    """Make what the options ask for; returns the run's id."""
    from envs.docker.backend import DockerBackend
    from pipelines.factory import Tally

    family = TransformFamily()
    (source,) = family.inputs(options)
    run = run_id(family.name, source, options.identity())
    tally, told = Tally(source, run), Told()
    todo = mine(family, source, options, settings, run, tally)
    told.mined(len(todo))
    backend = DockerBackend(settings)
    try:
        with work_folder(settings) as folder:
            context = Context(settings=settings, sandboxes=backend, run_id=run, workdir=folder)
            await process_batch(family, todo, context, source, tally, told)
    finally:
        await backend.close()
        load(settings)
    return run


def counted(settings: Settings, run: str) -> dict[str, Any]:
    """What the warehouse says of a run."""
    reader = Reader(settings)

    def rows(query: str) -> list[tuple[Any, ...]]:
        return reader.sql(query, {"run": run}).rows

    valid = (
        "o.status <> 'rejected' AND t.candidate_id IN "
        "(SELECT item FROM events WHERE run_id = $run AND stage = 'validate' AND outcome = 'ok')"
    )
    variants = rows(
        "SELECT t.parent, p.repo, p.kind, t.kind, count(*) FROM tasks t JOIN task_overview o USING (task_id) "
        f"JOIN tasks p ON p.task_id = t.parent WHERE {valid} GROUP BY ALL ORDER BY ALL"
    )
    parents: dict[str, dict[str, Any]] = {
        task: {"repo": repo, "kind": kind, "variants": {}, "total": 0}
        for task, repo, kind in rows(
            "SELECT DISTINCT t.task_id, t.repo, t.kind FROM tasks t, candidates c, events e "
            "WHERE e.run_id = $run AND e.item = c.candidate_id AND c.family = 'transform' "
            "AND list_contains(json_extract_string(c.detail, '$.parents[*]'), t.task_id)"
        )
    }
    for parent, _, _, kind, number in variants:
        parents[parent]["variants"][kind] = number
        parents[parent]["total"] += number
    total = sum(parent["total"] for parent in parents.values())
    reasons = rows(
        "SELECT json_extract_string(c.detail, '$.kind'), e.stage, e.outcome, e.reason, count(*) "
        "FROM last_attempts e JOIN candidates c ON c.candidate_id = e.item "
        "WHERE e.run_id = $run AND (e.outcome <> 'ok' OR e.stage = 'validate') GROUP BY ALL ORDER BY ALL"
    )
    mutations = rows(
        "SELECT json_extract_string(c.detail, '$.mutation'), count(*) FROM tasks t JOIN candidates c "
        f"USING (candidate_id) JOIN task_overview o USING (task_id) WHERE {valid} GROUP BY ALL ORDER BY ALL"
    )
    controls = rows(
        "SELECT v.control, count(*), count(*) FILTER (v.passed) FROM validations v "
        "JOIN tasks t USING (task_id) WHERE v.run_id = $run AND t.family = 'transform' GROUP BY 1 ORDER BY 1"
    )
    ((seconds,),) = rows(
        "SELECT coalesce(sum(seconds), 0) FROM events WHERE run_id = $run AND stage <> 'mine'"
    )
    return {
        "parents": len(parents),
        "variants": total,
        "variants_per_parent": round(total / len(parents), 2) if parents else None,
        "by_kind": dict(sum((Counter(p["variants"]) for p in parents.values()), Counter())),
        "per_parent": parents,
        "endings": [
            {"kind": kind, "stage": stage, "outcome": outcome, "reason": reason, "candidates": number}
            for kind, stage, outcome, reason, number in reasons
        ],
        "mutations": {kind: number for kind, number in mutations if kind},
        "controls": {name: {"runs": runs, "as_expected": passed} for name, runs, passed in controls},
        "stage_seconds_per_variant": round(seconds / total, 1) if total else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--where", help="predicate over task_overview that chooses the parents")
    parser.add_argument(
        "--kind", action="append", choices=sorted(KINDS), help="repeat for more; all by default"
    )
    parser.add_argument("--variants", type=int, default=5, help="planted bugs wanted per parent")
    parser.add_argument("--output", type=Path, help="write the JSON here, too")
    arguments = parser.parse_args()
    given = {key: value for key, value in vars(arguments).items() if key in ("where", "kind") and value}
    options = TransformOptions.model_validate({**given, "variants": arguments.variants})
    settings = Settings().model_copy(update={"certify": False})
    started = time.monotonic()
    run = asyncio.run(transform(options, settings))
    result = {
        "run": run,
        "machine": {"cores": os.cpu_count(), "platform": platform.machine()},
        "seconds": round(time.monotonic() - started, 1),
        **counted(settings, run),
    }
    text = json.dumps(result, indent=1, ensure_ascii=False)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
