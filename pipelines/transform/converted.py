"""From a draft of a converted task to a validated one: render, run every control, record.

Conversions have no hidden tests whose repeated runs could be looked at, so what repeats is the gold control.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from pipelines.family import Context, Done, Rejected
from pipelines.swe import licenses
from pipelines.transform.kind import FAMILY, Kind, lineage
from pipelines.transform.parent import Parent
from pipelines.transform.verifier import TransformVerifier
from pipelines.verify import control_outcome, must_be_graded
from verifiers.tests.bundle import BundleDigest, render
from verifiers.tests.spec import TestSpec
from verifiers.tests.stability import wilson
from warehouse.records import Candidate, Flake, Record, Task, TaskEvent, Validation, to_json


async def converted(
    kind: Kind,
    parent: Parent,
    candidate: Candidate,
    context: Context,
    *,
    task_id: str,
    instruction: str,
    spec: TestSpec,
    gold_patch: bytes,
    more: Mapping[str, bytes],
    verifier_spec: Mapping[str, Any],
    gold_runs: int,
    told: Mapping[str, Any],
) -> Done[Task] | Rejected:
    """Render the bundle in the parent's environment and run its controls, gold several times."""
    bundle = await asyncio.to_thread(
        _render, kind, parent, context, task_id, instruction, spec, gold_patch, more, told
    )
    task = Task(
        task_id=task_id,
        candidate_id=candidate.candidate_id,
        environment_id=parent.task.environment_id,
        family=FAMILY,
        kind=kind.name,
        parent=parent.task.task_id,
        repo=parent.task.repo,
        language=parent.task.language,
        license=parent.task.license,
        attribution=parent.task.attribution,
        source_date=parent.task.source_date,
        instruction=instruction,
        verifier=to_json(verifier_spec),
        gold_patch=gold_patch.decode("utf-8", "replace"),
        test_patch="",
        fail_to_pass=spec.fail_to_pass,
        pass_to_pass=(),
        new_tests=spec.new,
        quarantined=(),
        statement_check="rules",
        bundle=bundle.sha256,
        run_id=context.run_id,
    )
    outcomes = await _controls(kind, bundle, task, context, gold_runs)
    records: list[Record] = [task, *outcomes, _steadiness(task, outcomes)]
    failed = next((outcome for outcome in outcomes if not outcome.passed), None)
    value, reason = ("rejected", f"{failed.control}_control_failed") if failed else ("validated", "")
    records.insert(
        1, TaskEvent(task_id=task_id, event="status", value=value, reason=reason, run_id=context.run_id)
    )
    if failed:
        said = f"{failed.control} scored {failed.reward}, expected {failed.expected} ({failed.verdict})"
        said += f": {failed.checks}"
        return Rejected(reason, said[:2000], records=tuple(records))
    return Done(task, records=tuple(records))


def _render(
    kind: Kind, parent: Parent, context: Context, task_id: str, instruction: str, spec: TestSpec,
    gold_patch: bytes, more: Mapping[str, bytes], told: Mapping[str, Any],
) -> BundleDigest:  # fmt: skip
    texts = licenses.identify(parent.gold).files
    return render(
        context.settings.bundles / task_id,
        task_id=task_id,
        kind=kind.name,
        repo=parent.task.repo,
        instruction=instruction,
        environment_dir=parent.bundle.environment,
        hidden={},
        gold_patch=gold_patch,
        spec=spec,
        licenses={path.replace("/", "__"): data for path, data in texts.items()},
        metadata={
            "source": parent.source.kind,
            "base_ref": parent.candidate.base_ref,
            "gold_ref": parent.candidate.gold_ref,
            "source_date": parent.task.source_date.isoformat(),
            "license": parent.task.license,
            "attribution": parent.task.attribution,
            "language": parent.task.language,
            "suite": json.loads(parent.environment.recipe)["suite"],
            "environment_id": parent.task.environment_id,
            "statement_check": "rules",
            **lineage(kind, [parent], told),
        },
        memory_mb=context.settings.memory_mb,
        cpus=context.settings.cpus,
        build_seconds=context.settings.build_seconds,
        more=more,
    )


async def _controls(
    kind: Kind, bundle: BundleDigest, task: Task, context: Context, gold_runs: int
) -> list[Validation]:
    """Every control, gold first and several times; the rest is not run when gold fails."""
    verifier = TransformVerifier(context.settings)
    found: list[Validation] = []
    for control in kind.controls(bundle.path):
        for run in range(gold_runs if control.name == "gold" else 1):
            outcome = await control_outcome(
                verifier, bundle.path, control, context.sandboxes,
                task_id=task.task_id, run_id=context.run_id, run=run,
            )  # fmt: skip
            found.append(must_be_graded(outcome))
            if not outcome.passed:
                return found
    return found


def _steadiness(task: Task, outcomes: list[Validation]) -> Flake:
    gold = [outcome for outcome in outcomes if outcome.control == "gold"]
    wavered = sum(not outcome.passed for outcome in gold)
    upper = wilson(wavered, len(gold))[1]
    return Flake(
        task_id=task.task_id, state="after", run_id=task.run_id, runs=len(gold), wavered=wavered, upper=upper
    )
