"""Validate: repeated runs of both sides quarantine what wavers; the bundle's grader judges the controls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envs.reports import TestReport
from pipelines.family import Context, Control, Done, Rejected
from pipelines.swe import licenses
from pipelines.swe.compose import Draft, limits
from pipelines.swe.suite import hidden_files
from pipelines.swe.trees import ObjectStore
from pipelines.verify import control_outcome, must_be_graded
from verifiers.integrity.inversions import proved
from verifiers.tests.bundle import BundleDigest, load, render
from verifiers.tests.grader import ObserveError, observe
from verifiers.tests.spec import TestSpec
from verifiers.tests.stability import Run, Stability, State, assess, status_of
from verifiers.verdict import Submission, Verifier
from warehouse.records import (
    Flake,
    Record,
    Task,
    TaskEvent,
    TestOutcome,
    content_id,
)

DATE_SHIFT = "+400d"
# A test that failed only when shuffled is called order dependent after passing this many more natural runs.
CONFIRMATIONS = 2


@dataclass(frozen=True)
class Origin:
    """Which family a task is of, out of which other task it was made, and what its bundle says of that."""

    family: str = "swe"
    kind: str = ""
    """'' is the one that its tests say."""
    parent: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


UPSTREAM = Origin()


async def validate(
    draft: Draft, context: Context, verifier: Verifier, origin: Origin = UPSTREAM
) -> Done[Task] | Rejected:
    """Repeat, quarantine, render, run the controls."""
    try:
        runs = await repeated_runs(draft, context)
    except ObserveError as error:
        return Rejected(error.reason, error.detail)
    stability = assess(draft.classification, runs)
    evidence: list[Record] = [
        *outcomes(draft, stability, runs, context.run_id),
        *flakes(draft, stability, context.run_id),
        *draft.audit.events(draft.task_id, context.run_id),
    ]
    if reason := _nothing_left(draft, stability):
        task = task_record(draft, stability, context, origin, bundle="")
        told = ", ".join(stability.quarantine_lines()[:3])
        return _rejected(task, reason, told, evidence, context)
    spec = await _graded_spec(draft, stability, context)
    bundle = await asyncio.to_thread(render_bundle, draft, stability, context, spec, origin)
    task = task_record(draft, stability, context, origin, bundle=bundle.sha256)
    validations = [
        must_be_graded(
            await control_outcome(
                verifier,
                bundle.path,
                control,
                context.sandboxes,
                task_id=task.task_id,
                run_id=context.run_id,
                run=0,
            )
        )
        for control in controls(bundle.path)
    ]
    evidence += validations
    if failed := next((outcome for outcome in validations if not outcome.passed), None):
        told = f"{failed.control} scored {failed.reward}, expected {failed.expected} ({failed.verdict})"
        return _rejected(task, f"{failed.control}_control_failed", told, evidence, context)
    status = TaskEvent(task_id=task.task_id, event="status", value="validated", run_id=context.run_id)
    return Done(task, records=(task, status, *evidence))


def _nothing_left(draft: Draft, stability: Stability) -> str:
    """Why the tests that held are no verifier; '' where they are. Of a draft that is graded by more than
    tests, some must be left that are maintained.
    """
    if not draft.kind:
        return stability.stable.reason
    return "" if stability.stable.pass_to_pass else "no_stable_tests"


def controls(bundle: Path) -> list[Control]:
    """The gold patch must score 1, doing nothing must score 0."""
    return [
        Control("gold", Submission(patch=load(bundle).gold_patch), 1.0),
        Control("nop", Submission(), 0.0),
    ]


async def repeated_runs(draft: Draft, context: Context) -> list[Run]:
    """Both sides `runs_per_side` times (natural, reversed, then shuffled), after once at another date.

    When something failed only in a shuffled run, more natural runs tell order dependence from flakiness.
    """
    runs = [
        Run(state="before", conditions="", report=draft.before),
        Run(state="after", conditions="", report=draft.after),
    ]
    for number in range(1, context.settings.runs_per_side):
        seed = 0 if number == 1 else int(content_id(draft.task_id, number), 16) % 2**31
        runs += [await _run(draft, context, state, seed=seed) for state in ("before", "after")]
    runs.append(await _run(draft, context, "after", faketime=DATE_SHIFT))
    if "order_dependent" in assess(draft.classification, runs).quarantined.values():
        for _ in range(CONFIRMATIONS):
            runs += [await _run(draft, context, state) for state in ("before", "after")]
    return runs


async def _run(
    draft: Draft, context: Context, state: State, *, seed: int | None = None, faketime: str = ""
) -> Run:
    report = await observe(
        context.sandboxes, draft.built.environment.image, draft.tests,
        state=state, seed=seed, faketime=faketime,
        patch=draft.built.split.gold_patch if state == "after" else b"",
        limits=limits(context.settings), runtime=context.settings.runtime,
    )  # fmt: skip
    conditions = f"shuffled:{seed}" if seed is not None else f"date:{faketime}" if faketime else ""
    return Run(state=state, conditions=conditions, report=report)


async def _graded_spec(draft: Draft, stability: Stability, context: Context) -> TestSpec:
    """The spec with the roles that held and, where the supervisor cannot find them itself, the inversions
    that were seen to work.
    """
    stable = stability.stable
    roles = {"fail_to_pass": stable.fail_to_pass, "pass_to_pass": stable.pass_to_pass, "new": stable.new}
    spec = draft.spec.model_copy(update=roles)
    if draft.grading_seconds:
        spec = spec.model_copy(update={"suite_seconds": draft.grading_seconds})
    if spec.runner != "command":
        return spec

    async def on_gold(tests: Path) -> TestReport:
        return await observe(
            context.sandboxes, draft.built.environment.image, tests,
            state="after", patch=draft.built.split.gold_patch,
            limits=limits(context.settings), runtime=context.settings.runtime,
        )  # fmt: skip

    hidden = hidden_files(draft.built.split)
    found = await proved(spec, hidden, draft.built.environment.language, on_gold)
    return spec.model_copy(update={"inversions": found})


def render_bundle(
    draft: Draft, stability: Stability, context: Context, spec: TestSpec, origin: Origin = UPSTREAM
) -> BundleDigest:
    """The Harbor directory."""
    change, environment = draft.built.change, draft.built.environment
    return render(
        context.settings.bundles / draft.task_id,
        task_id=draft.task_id,
        kind=origin.kind or draft.kind or draft.classification.kind,
        repo=change.repo,
        instruction=draft.instruction,
        environment_dir=environment.context,
        hidden=hidden_files(draft.built.split),
        gold_patch=draft.built.split.gold_patch,
        spec=spec,
        licenses=license_files(draft),
        metadata={
            "source": change.kind,
            "base_ref": change.base_ref,
            "gold_ref": change.gold_ref,
            "source_date": change.source_date.isoformat(),
            "license": change.license,
            "attribution": change.attribution,
            "language": environment.language,
            "suite": environment.recipe.suite,
            "environment_id": environment.environment_id,
            "statement_source": draft.statement.source,
            **draft.audit.metadata(),
            "quarantined": len(stability.quarantined),
            **draft.told,
            **origin.metadata,
        },
        memory_mb=context.settings.memory_mb,
        cpus=context.settings.cpus,
        build_seconds=context.settings.build_seconds,
        more=draft.more,
    )


def task_record(
    draft: Draft, stability: Stability, context: Context, origin: Origin = UPSTREAM, *, bundle: str
) -> Task:
    change, parts, stable = draft.built.change, draft.built.split, stability.stable
    return Task(
        task_id=draft.task_id,
        candidate_id=draft.built.mined.candidate.candidate_id,
        environment_id=draft.built.environment.environment_id,
        family=origin.family,
        kind=origin.kind or draft.kind or draft.classification.kind,
        parent=origin.parent,
        repo=change.repo,
        language=draft.built.environment.language,
        license=change.license,
        attribution=change.attribution,
        source_date=change.source_date,
        instruction=draft.instruction,
        verifier=draft.spec.model_dump_json(by_alias=True, exclude={"hidden"}),
        gold_patch=_text(parts.gold_patch),
        test_patch=_text(parts.test_patch),
        fail_to_pass=stable.fail_to_pass,
        pass_to_pass=stable.pass_to_pass,
        new_tests=stable.new,
        quarantined=stability.quarantine_lines(),
        statement_check=draft.audit.check,
        bundle=bundle,
        run_id=context.run_id,
    )


def outcomes(draft: Draft, stability: Stability, runs: list[Run], run_id: str) -> Iterator[TestOutcome]:
    """Run by run, the tests that decide the reward or wavered; steady P2P tests are a list of the task."""
    roles = {
        **dict.fromkeys(stability.stable.fail_to_pass, "fail_to_pass"),
        **dict.fromkeys(stability.stable.new, "new"),
        **stability.quarantined,
    }
    counted: dict[str, int] = {}
    states = [("base", "", draft.base), *((run.state, run.conditions, run.report) for run in runs)]
    for state, conditions, report in states:
        number = counted[state] = counted.get(state, -1) + 1
        results = report.by_id()
        for test_id, role in roles.items():
            yield TestOutcome(
                task_id=draft.task_id,
                test_id=test_id,
                role=role,
                state=state,
                run_id=run_id,
                run=number,
                conditions=conditions,
                outcome=status_of(test_id, report),
                seconds=results[test_id].seconds if test_id in results else 0.0,
            )


def flakes(draft: Draft, stability: Stability, run_id: str) -> Iterator[Flake]:
    for flakiness in stability.flakiness:
        yield Flake(
            task_id=draft.task_id,
            state=flakiness.state,
            run_id=run_id,
            runs=flakiness.runs,
            wavered=flakiness.wavered,
            upper=flakiness.upper,
        )


def _rejected(task: Task, reason: str, detail: str, evidence: list[Record], context: Context) -> Rejected:
    status = TaskEvent(
        task_id=task.task_id, event="status", value="rejected", reason=reason, run_id=context.run_id
    )
    return Rejected(reason, detail, records=(task, status, *evidence))


def _text(patch: bytes) -> str:
    """A patch to read and query; the bundle holds its bytes, which may be of any encoding."""
    return patch.decode("utf-8", "replace")


def license_files(draft: Draft) -> dict[str, bytes]:
    """Licence and notice texts of the gold tree, for the bundle."""
    change = draft.built.change
    tree = ObjectStore.open(change.store).tree(change.gold_tree)
    return {path.replace("/", "__"): data for path, data in licenses.identify(tree).files.items()}
