"""Certifying and publishing tasks that are in the warehouse already: by hand, or on a schedule.

A task that was validated becomes `certified`, or `rejected` with the reason. A published one that no longer
holds is `retired` with the reason of its decay, and so leaves every export; one that holds gets a new
certificate and stays as it is. Infrastructure failures change nothing: the task is tried again next time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from envs.docker.backend import DockerBackend
from envs.sandbox import SandboxError
from pipelines.certify import Told, Turns, certify, status
from pipelines.family import Context, Done, Rejected, family
from pipelines.publish import last_certificates, publish
from pipelines.selection import recorded_tasks
from pipelines.swe.image import EnvironmentLost
from pipelines.work_folder import work_folder
from warehouse.errors import FactoryError
from warehouse.loader import load
from warehouse.outbox import Outbox
from warehouse.query import Reader
from warehouse.records import Certificate, Event, Record, Task, content_id, utcnow
from warehouse.settings import Settings

# What may be certified: from validation on, and what was refused for a reason that may be gone.
CERTIFIABLE = ("validated", "certified", "published", "rejected", "retired")
PUBLISHED = "published"


@dataclass(frozen=True)
class Ending:
    """What became of one task."""

    task: Task
    outcome: str
    """certified | published | refused | retired | failed (infrastructure)."""
    reason: str = ""
    detail: str = ""
    certificate: Certificate | None = None

    def row(self) -> dict[str, Any]:
        """The ending as flat values."""
        made = self.certificate
        costs = {} if made is None else {
            "cheats": made.cheats, "succeeded": made.succeeded, "inverted": made.inverted,
            "seconds": round(made.seconds, 1), "validation_seconds": round(made.validation_seconds, 1),
            "of_allowed": round(made.seconds / max(2 * made.validation_seconds, 90), 2),
        }  # fmt: skip
        return {
            "task_id": self.task.task_id, "repo": self.task.repo, "outcome": self.outcome,
            "reason": self.reason, "detail": self.detail, **costs,
        }  # fmt: skip


async def certify_tasks(
    settings: Settings, tasks: list[Task], *, told: Told = lambda *_: None, ended: Callable[[Ending], None]
) -> list[Ending]:
    """Certify every task in turn; each is recorded as it ends."""
    now = _status(settings, tasks)
    run_id = f"certify-{content_id([t.task_id for t in tasks], utcnow())[:8]}"
    known = validation_seconds(settings, tasks)
    turns, backend, endings = Turns(settings), DockerBackend(settings), []

    async def one(task: Task, context: Context) -> None:
        async with turns.tasks:
            started = time.monotonic()
            ending, records = await _certified(
                task,
                context,
                now[task.task_id] == PUBLISHED,
                known.get(task.task_id, 0.0),
                told,
                turns.gradings,
            )
            event = _event(ending, context.run_id, now[task.task_id], time.monotonic() - started)
            with Outbox(settings) as outbox:
                outbox.append([*records, event])
            endings.append(ending)
            ended(ending)

    try:
        with work_folder(settings) as folder:
            context = Context(settings=settings, sandboxes=backend, run_id=run_id, workdir=folder)
            async with asyncio.TaskGroup() as group:
                for task in tasks:
                    group.create_task(one(task, context))
    finally:
        await backend.close()
        await asyncio.to_thread(load, settings)
    return endings


async def _certified(
    task: Task, context: Context, published: bool, seconds: float, told: Told, gate: asyncio.Semaphore
) -> tuple[Ending, list[Record]]:
    """Certify one task; of a published one, what would refuse the certificate is decay."""
    try:
        result = await certify(
            family(task.family), task, context, validation_seconds=seconds, told=told, gate=gate
        )
    except EnvironmentLost as error:
        result = Rejected("environment_lost", str(error))
    except SandboxError as error:
        return Ending(task, "failed", "infrastructure", str(error)), []
    except FactoryError as error:
        result = Rejected("bundle_changed", str(error))
    records = [r for r in result.records if getattr(r, "event", "") != "status"]
    made = next((r for r in records if isinstance(r, Certificate)), None)
    if isinstance(result, Done):
        if not published:
            records.append(status(task, "certified", context.run_id))
        return Ending(task, "certified", certificate=made), records
    outcome = "retired" if published else "rejected"
    records.append(status(task, outcome, context.run_id, result.reason))
    told_as = "retired" if published else "refused"
    return Ending(task, told_as, result.reason, result.detail, made), records


def _event(ending: Ending, run_id: str, was: str, seconds: float) -> Event:
    outcomes = {"certified": "ok", "failed": "failed"}
    return Event(
        run_id=run_id, flow=ending.task.family, stage="revalidate" if was == PUBLISHED else "certify",
        item=ending.task.candidate_id, source=ending.task.repo,
        outcome=outcomes.get(ending.outcome, "rejected"), reason=ending.reason,
        detail=ending.detail[:2000], seconds=seconds,
    )  # fmt: skip


async def publish_tasks(settings: Settings, tasks: list[Task]) -> list[Ending]:
    """Publish every task that has a certificate which counts; the others are refused with the reason."""
    run_id = f"publish-{content_id([t.task_id for t in tasks], utcnow())[:8]}"
    certificates, now = last_certificates(settings, tasks), _status(settings, tasks)
    backend, endings = DockerBackend(settings), []
    try:
        for task in tasks:
            context = Context(settings=settings, sandboxes=backend, run_id=run_id, workdir=settings.home)
            record = certificates.get(task.task_id)
            try:
                result = await publish(task, record, context)
            except FactoryError as error:
                result = Rejected("bundle_changed", str(error))
            if isinstance(result, Rejected):
                endings.append(Ending(task, "refused", result.reason, result.detail, record))
                continue
            if now[task.task_id] != PUBLISHED:
                with Outbox(settings) as outbox:
                    outbox.append(result.records)
            endings.append(Ending(task, PUBLISHED, certificate=record))
    finally:
        await backend.close()
        await asyncio.to_thread(load, settings)
    return endings


def due(settings: Settings, *, limit: int, older_than_days: float, where: str = "true") -> list[Task]:
    """Published tasks whose certificate is the oldest, or of another catalogue than the last one made."""
    condition = f"""
        t.task_id IN (SELECT task_id FROM task_overview WHERE status = 'published' AND ({where}\n))
        AND t.task_id IN (
            SELECT task_id FROM task_overview LEFT JOIN certified USING (task_id)
            WHERE coalesce(stale, true) OR certified.recorded_at < now() - to_seconds($age)
            ORDER BY certified.recorded_at NULLS FIRST, task_id
        )
    """
    tasks = recorded_tasks(settings, condition, {"age": older_than_days * 86400})
    made = {task: record.recorded_at for task, record in last_certificates(settings, tasks).items()}
    tasks.sort(key=lambda task: (task.task_id in made, made.get(task.task_id), task.task_id))
    return tasks[:limit]


def validation_seconds(settings: Settings, tasks: list[Task]) -> dict[str, float]:
    """How long validating each task took when it last succeeded."""
    query = """
        SELECT t.task_id, arg_max(e.seconds, e.recorded_at) FROM tasks t
        JOIN events e ON e.item = t.candidate_id AND e.stage = 'validate' AND e.outcome = 'ok'
        WHERE t.task_id IN (SELECT unnest($tasks)) GROUP BY 1
    """
    return dict(Reader(settings).sql(query, {"tasks": [task.task_id for task in tasks]}).rows)


def _status(settings: Settings, tasks: list[Task]) -> dict[str, str]:
    """What each task is now. Raises FactoryError for those that never passed validation."""
    query = "SELECT task_id, status, bundle FROM task_overview WHERE task_id IN (SELECT unnest($tasks))"
    rows = Reader(settings).sql(query, {"tasks": [task.task_id for task in tasks]}).rows
    for task_id, now, bundle in rows:
        if now not in CERTIFIABLE or not bundle:
            raise FactoryError(f"Task {task_id} is {now} and has no bundle, so there is nothing to certify.")
    return {task_id: now for task_id, now, _ in rows}
