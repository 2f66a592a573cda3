"""Prefect flows: one flow run per shard, one task per batch; the outcome of every item is a warehouse row.

Prefect is the scheduler and never the ledger (its in-memory broker drops task-run records under load), so
flows take plain parameters, return plain numbers, and can be run again at any time. `configure_prefect` must
run before the first import of prefect anywhere, which is why the command line imports this module lazily.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar, cast

from pipelines.prefect_settings import configure_prefect

configure_prefect()

from prefect import flow, task  # noqa: E402
from prefect.artifacts import acreate_table_artifact  # noqa: E402
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.utilities.annotations import quote  # noqa: E402

from envs.docker.backend import DockerBackend  # noqa: E402
from envs.docker.cleanup import enforce_disk_budget, reclaim  # noqa: E402
from pipelines.certification import certify_tasks, due  # noqa: E402
from pipelines.factory import STAGES, Progress, Quiet, Tally, mine, process_batch, run_id  # noqa: E402
from pipelines.family import Context, Family, Mined, family  # noqa: E402
from pipelines.prefect_server import guard_ephemeral_server  # noqa: E402
from pipelines.rl.process import train  # noqa: E402
from pipelines.work_folder import work_folder  # noqa: E402
from warehouse.errors import FactoryError  # noqa: E402
from warehouse.loader import load  # noqa: E402
from warehouse.settings import Settings  # noqa: E402

guard_ephemeral_server()

BATCH = 10

T = TypeVar("T")


def _whole(value: T) -> T:
    """`value`, kept whole: Prefect would walk a task's arguments in search of futures, and copy on the way.

    The quote around it is taken off before the task is called, so the argument has the type of `value`.
    """
    return cast("T", quote(value))


@task(name="mine", persist_result=False, cache_policy=NO_CACHE)
def mine_task(
    chosen: Family, source: str, options: Any, settings: Settings, run: str, tally: Tally
) -> list[Mined]:
    return mine(chosen, source, options, settings, run, tally)


@task(name="batch", persist_result=False, cache_policy=NO_CACHE)
async def batch_task(
    chosen: Family, batch: list[Mined], context: Context, source: str, tally: Tally, progress: Progress
) -> None:
    await process_batch(chosen, batch, context, source, tally, progress)


@flow(name="shard", flow_run_name="{family_name} {source}", persist_result=False, validate_parameters=False)
async def shard_flow(
    family_name: str,
    source: str,
    options: Any,
    settings: Settings,
    progress: Progress | None = None,
    again: str = "",
) -> Tally:
    """Mine one source and take its candidates through the family's steps."""
    chosen = family(family_name)
    run = run_id(family_name, source, options.identity(), again)
    tally = Tally(source=source, run_id=run)
    told = progress or Quiet()
    todo = await asyncio.to_thread(lambda: mine_task(chosen, source, options, settings, run, _whole(tally)))
    told.mined(len(todo))
    # What was rejected at sight is told too, though no batch follows.
    await asyncio.to_thread(load, settings)
    async with AsyncExitStack() as stack:
        backend = DockerBackend(settings)
        stack.push_async_callback(backend.close)
        if todo:  # what is decided already needs no daemon
            await enforce_disk_budget(settings, backend.daemon)
        workdir = stack.enter_context(work_folder(settings))
        context = Context(settings=settings, sandboxes=backend, run_id=run, workdir=workdir)
        for start in range(0, len(todo), BATCH):
            batch = todo[start : start + BATCH]
            await batch_task(
                _whole(chosen), _whole(batch), _whole(context), source, _whole(tally), _whole(told)
            )
            await asyncio.to_thread(load, settings)
    await acreate_table_artifact(
        key="funnel", table=tally_rows(tally), description=f"Funnel of {family_name} {source} ({run})"
    )
    return tally


def tally_rows(tally: Tally) -> list[dict[str, Any]]:
    """The funnel of one shard as table rows."""
    order = ("mine", *STAGES)
    return [
        {
            "stage": stage,
            "ok": tally.stages[stage].get("ok", 0),
            "rejected": tally.stages[stage].get("rejected", 0),
            "failed": tally.stages[stage].get("failed", 0),
            "reasons": ", ".join(
                f"{key.split(': ', 1)[1]} × {count}"
                for key, count in sorted(tally.reasons.items(), key=lambda kv: -kv[1])
                if key.startswith(f"{stage}: ")
            ),
        }
        for stage in order
        if stage in tally.stages
    ]


@flow(name="run-family", persist_result=False)
async def run_family(family_name: str, options: dict[str, Any]) -> None:
    """The scheduled form of `verifactory run FAMILY`: `options` are what the family's Options model takes."""
    chosen = family(family_name)
    parsed = chosen.Options.model_validate(options)
    settings = Settings()
    faults: list[FactoryError] = []
    for source in await asyncio.to_thread(chosen.inputs, parsed):
        try:
            await shard_flow(family_name, source, parsed, settings)
        except FactoryError as error:  # one repository that is gone does not end a night's work
            faults.append(error)
    if faults:
        raise ExceptionGroup(f"{len(faults)} sources could not be mined", faults)


@flow(name="revalidate", persist_result=False)
async def revalidate(limit: int = 20, older_than_days: float = 30.0, where: str = "true") -> dict[str, int]:
    """Certify published tasks again, the oldest certificates first; returns how many ended how.

    What decayed is retired with the reason, and leaves exports.
    """
    settings = Settings()
    await asyncio.to_thread(load, settings)
    tasks = due(settings, limit=limit, older_than_days=older_than_days, where=where)
    endings = await certify_tasks(settings, tasks, ended=lambda _: None) if tasks else []
    rows = [ending.row() for ending in endings]
    await acreate_table_artifact(
        key="revalidation", table=rows, description=f"{len(rows)} published tasks, certified again"
    )
    return dict(Counter(ending.outcome for ending in endings))


@flow(name="train-rl", persist_result=False)
def train_rl(config: str) -> int:
    """Train by the RL configuration at this path, or go on; returns the rows that the warehouse took.

    Cancelling the flow run ends it after the step at hand; running it again goes on from there.
    """
    try:
        train(Path(config))
    finally:
        rows = load(Settings()).rows
    return rows


@flow(name="load-warehouse", persist_result=False)
def load_warehouse() -> int:
    """Load what lies in the outbox and refresh the snapshot; returns the number of rows."""
    return load(Settings()).rows


@flow(name="reclaim", persist_result=False)
async def reclaim_sandboxes() -> int:
    """Remove containers and networks of dead verifactory processes, and images over the disk budget."""
    removed = await reclaim()
    images = await enforce_disk_budget(Settings())
    return len(removed.containers) + len(removed.networks) + len(images)
