"""Controls: known submissions run through a task's own grader.

They run when a task is validated and whenever it is checked again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from envs.docker.backend import DockerBackend
from envs.sandbox import SandboxBackend, SandboxError
from pipelines.bundles import verified_bundle
from pipelines.family import Control, family
from verifiers.tests.stability import wilson
from verifiers.verdict import VerdictKind, Verifier
from warehouse.errors import FactoryError
from warehouse.loader import load
from warehouse.outbox import Outbox
from warehouse.records import Flake, Record, Task, TaskEvent, Validation, content_id, to_json, utcnow
from warehouse.settings import Settings


async def control_outcome(
    verifier: Verifier,
    bundle: Path,
    control: Control,
    sandboxes: SandboxBackend,
    *,
    task_id: str,
    run_id: str,
    run: int,
) -> Validation:
    """Grade one control. An infrastructure verdict is a control that did not pass, and says so."""
    started = time.monotonic()
    verdict = await verifier.grade(bundle, control.submission, sandboxes, control.haste)
    return Validation(
        task_id=task_id,
        control=control.name,
        run_id=run_id,
        run=run,
        verdict=verdict.kind,
        reward=verdict.reward,
        expected=control.expected,
        passed=verdict.kind is VerdictKind.SCORED and verdict.reward == control.expected,
        checks=to_json(
            {
                "reason": verdict.reason,
                "checks": [check.model_dump() for check in verdict.checks],
                "inverted": verdict.inverted,
            }
        ),
        image_digest=verdict.image_digest,
        seconds=time.monotonic() - started,
    )


def must_be_graded(outcome: Validation) -> Validation:
    """`outcome`, unless nothing was graded: a failure of infrastructure says nothing and is tried again."""
    if outcome.verdict == VerdictKind.INFRASTRUCTURE:
        reason = json.loads(outcome.checks)["reason"]
        raise SandboxError(f"The control {outcome.control} could not be graded: {reason}")
    return outcome


async def verify_tasks(
    settings: Settings, tasks: list[Task], *, runs: int, told: Callable[[dict[str, Any]], None]
) -> list[dict[str, Any]]:
    """Run every control of every task `runs` times and record it; a failure is a status event of the task.

    Raises FactoryError for a bundle that is gone or is not the one that the task's record names: what its own
    manifest vouches for may have been rewritten together with the manifest.
    """
    for task in tasks:
        if not (bundle := settings.bundles / task.task_id).is_dir():
            raise FactoryError(
                f"The bundle of task {task.task_id} is not at {bundle}; run its source again to make it."
            )
        verified_bundle(settings, task)
    run_id = f"verify-{content_id([t.task_id for t in tasks], utcnow())[:8]}"
    gate = asyncio.Semaphore(settings.parallel)
    rows: list[dict[str, Any]] = []
    backend = DockerBackend(settings)

    async def one(task: Task) -> None:
        bundle = settings.bundles / task.task_id
        chosen = family(task.family)
        verifier, controls = chosen.verifier(settings), chosen.controls(bundle)
        outbox = Outbox(settings)
        outcomes: list[Validation] = []
        async with gate:
            for run in range(runs):
                for control in controls:
                    outcome = await control_outcome(
                        verifier, bundle, control, backend, task_id=task.task_id, run_id=run_id, run=run
                    )
                    outcomes.append(outcome)
                    row = outcome.model_dump(mode="json", exclude={"checks", "recorded_at"})
                    rows.append(row)
                    told(row)
        outbox.append([*outcomes, *findings(task, run_id, outcomes)])
        outbox.flush()

    try:
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(one(task))
    finally:
        await backend.close()
        load(settings)
    return rows


def findings(task: Task, run_id: str, outcomes: list[Validation]) -> Iterator[Record]:
    """What control runs say of a task: a failed one takes its status, gold's are pooled with earlier runs.

    Gold scores 1 only if every test that decides agrees with its role after the change; nop's 0 says too
    little of each test before it to count as a run that did not waver.
    """
    graded = [outcome for outcome in outcomes if outcome.verdict != VerdictKind.INFRASTRUCTURE]
    if not all(outcome.passed for outcome in graded):
        yield TaskEvent(
            task_id=task.task_id, event="status", value="rejected", reason="control_failed", run_id=run_id
        )
    if gold := [outcome for outcome in graded if outcome.control == "gold"]:
        runs, wavered = len(gold), sum(not outcome.passed for outcome in gold)
        upper = wilson(wavered, runs)[1]
        yield Flake(
            task_id=task.task_id, state="after", run_id=run_id, runs=runs, wavered=wavered, upper=upper
        )
