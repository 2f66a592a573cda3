"""Certify: everything that is known to be tried against a reward is tried against this task's own grader.

Per task: rules read over its bundle, a search of its image for the answer, gold twice (with the same verdict,
check by check), nop and a partial solution, and every cheat of the catalogue that the bundle gives a hold.
What was found becomes one document (`verifiers.integrity.certificate`), stored and laid into the bundle. One
cheat that is paid, a gold that is not, or an answer lying about, and the certificate is refused.

The order is from cheap to dear; what depends on the environment alone is tried once per environment image.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envs.sandbox import SandboxError
from pipelines.bundles import verified_bundle
from pipelines.family import Attempts, Context, Control, Done, Family, Rejected
from pipelines.verify import control_outcome
from verifiers.integrity import certificate
from verifiers.integrity.trials import Trial, catalogue_digest
from verifiers.problems import Problem, Severity
from verifiers.tests.lint import LEAKS
from verifiers.verdict import VerdictKind
from warehouse.query import Reader
from warehouse.records import Certificate, Flake, Record, Task, TaskEvent, Validation, to_json, utcnow
from warehouse.settings import Settings

GOLD_RUNS = 2
FIRST_RUN = 1  # validation's own control run, under the same run id, is 0
BOUNDS = ("state", "runs", "wavered", "upper")
TRIES = 2  # of a grading that fails for infrastructure

Told = Callable[[str, str, str], None]
"""Told of each grading as it ends: task id, control, verdict."""


@dataclass
class Findings:
    """What was found out about one task, as it is found."""

    task: Task
    problems: list[Problem] = field(default_factory=list)
    outcomes: list[Validation] = field(default_factory=list)
    inherited: dict[str, str] = field(default_factory=dict)
    """Trials of scope `environment` tried on another task of the same image: name → that task."""
    attempts: Attempts = field(default_factory=lambda: Attempts((), {}))
    flakiness: list[dict[str, Any]] = field(default_factory=list)

    def of(self, control: str) -> list[Validation]:
        return [outcome for outcome in self.outcomes if outcome.control == control]

    @property
    def paid(self) -> list[Validation]:
        return [o for o in self.outcomes if o.control.startswith("cheat:") and o.reward]

    def refusal(self) -> tuple[str, str]:
        """(reason code, detail) of why there is no certificate; empty when there is one."""
        if errors := [p for p in self.problems if p.severity is Severity.ERROR]:
            return errors[0].code, f"{errors[0].where}: {errors[0].message}"
        for name in ("gold", "nop"):
            if failed := next((o for o in self.of(name) if not o.passed), None):
                told = f"{name} scored {failed.reward}, expected {failed.expected} ({failed.verdict})"
                return f"{name}_control_failed", told
        if not self.identical():
            return "not_deterministic", "two gradings of the gold solution differ in their checks"
        if self.paid:
            return "exploitable", f"paid: {', '.join(o.control.removeprefix('cheat:') for o in self.paid)}"
        return "", ""

    def identical(self) -> bool:
        """Whether every grading of gold saw the same of every check."""
        return len({to_json(_checks(outcome)) for outcome in self.of("gold")}) <= 1


class Turns:
    """Whose certificate is being made. A grading mostly waits, for containers and for what hangs; so several
    of one task's go side by side, and few tasks do: each is done sooner, and all of them no later.
    """

    def __init__(self, settings: Settings) -> None:
        self.tasks = asyncio.Semaphore(max(1, settings.parallel // 2))
        self.gradings = asyncio.Semaphore(2 * settings.parallel)


async def certify(
    family: Family,
    task: Task,
    context: Context,
    *,
    validation_seconds: float,
    flakes: Sequence[Flake] = (),
    told: Told = lambda *_: None,
    gate: asyncio.Semaphore | None = None,
) -> Done[Certificate] | Rejected:
    """Try everything on a task. With `gate`, gradings run side by side as far as it lets them. `flakes` are
    what validation has just found, before the warehouse knows it.

    Raises FactoryError for a bundle that is gone or not the recorded one, SandboxError for infrastructure.
    """
    started = time.monotonic()
    bundle = verified_bundle(context.settings, task).path
    found = Findings(task, list(await asyncio.to_thread(family.problems, bundle, context.settings)))
    found.flakiness = [*map(_flakiness, flakes)] or recorded_flakiness(context.settings, task.task_id)
    if not found.refusal()[0]:
        found.problems += await family.leaked(bundle, context)
    if not found.refusal()[0]:
        grading = _Grading(family, bundle, context, found, told, gate or asyncio.Semaphore(1))
        await grading.controls()
        if not found.refusal()[0]:
            await grading.trials()
    record = _record(found, context, time.monotonic() - started, validation_seconds)
    reason, detail = found.refusal()
    records: tuple[Record, ...] = (*found.outcomes, record)
    if reason:
        return Rejected(reason, detail, records=(*records, status(task, "rejected", context.run_id, reason)))
    lay(bundle, json.loads(record.document))
    return Done(record, records=(*records, status(task, "certified", context.run_id)))


def status(task: Task, value: str, run_id: str, reason: str = "") -> TaskEvent:
    """The event that gives a task its status."""
    return TaskEvent(task_id=task.task_id, event="status", value=value, reason=reason, run_id=run_id)


def lay(bundle: Path, document: dict[str, Any]) -> None:
    """Put the certificate into the bundle, whole or not at all."""
    part = bundle / f".{certificate.FILE}.part"
    part.write_bytes(certificate.to_bytes(document))
    part.replace(bundle / certificate.FILE)


@dataclass(frozen=True)
class _Grading:
    """The gradings of one task; what they show is added to `found`."""

    family: Family
    bundle: Path
    context: Context
    found: Findings
    told: Told
    gate: asyncio.Semaphore

    async def controls(self) -> None:
        known = [(c, run) for c in self.family.controls(self.bundle) for run in range(_runs(c))]
        if (part := self.family.partial(self.bundle)) is not None:
            known.append((Control("partial", part, 0.0), 0))
        await self.all(known)
        for outcome in self.found.of("partial"):
            if outcome.reward == 1.0:
                self.found.problems.append(PARTIAL_PAID)
        if not any(_inverted(outcome) for outcome in self.found.of("gold")):
            self.found.problems.append(NOTHING_INVERTED)

    async def trials(self) -> None:
        self.found.attempts = attempts = await asyncio.to_thread(self.family.attempts, self.bundle)
        image = self.found.outcomes[0].image_digest
        known = environment_trials(self.context.settings, image, self.found.task.task_id)
        of_environment = {t.name for t in attempts.trials if t.scope == "environment"}
        self.found.inherited = {name: task for name, task in known.items() if name in of_environment}
        left = [t for t in attempts.trials if t.name not in self.found.inherited]
        await self.all([(Control(f"cheat:{t.name}", t.submission, 0.0, t.haste), 0) for t in left])

    async def all(self, controls: list[tuple[Control, int]]) -> None:
        """Grade them, in this order as far as the gate makes them wait."""
        try:
            async with asyncio.TaskGroup() as group:
                for control, run in controls:
                    group.create_task(self.grade(control, FIRST_RUN + run))
        except ExceptionGroup as group:  # one is enough to end the task's certification
            raise group.exceptions[0] from group

    async def grade(self, control: Control, run: int) -> None:
        """One grading. Infrastructure is tried again, then raised: a certificate rests on what did run."""
        async with self.gate:
            for attempt in range(TRIES):
                outcome = await control_outcome(
                    self.family.verifier(self.context.settings), self.bundle, control, self.context.sandboxes,
                    task_id=self.found.task.task_id, run_id=self.context.run_id, run=run,
                )  # fmt: skip
                if outcome.verdict != VerdictKind.INFRASTRUCTURE:
                    break
                if attempt == TRIES - 1:
                    raise SandboxError(f"{control.name} could not be graded: {_reason(outcome)}")
        if control.name.startswith("cheat:") or control.name == "partial":
            outcome = outcome.model_copy(update={"passed": not outcome.reward})
        self.found.outcomes.append(outcome)
        self.told(outcome.task_id, control.name, outcome.verdict)


def _runs(control: Control) -> int:
    return GOLD_RUNS if control.name == "gold" else 1


PARTIAL_PAID = Problem(
    code="partial_paid", where="tests", severity=Severity.WARNING,
    message="a solution without its largest file earns the whole reward: no test notices what is missing",
)  # fmt: skip
NOTHING_INVERTED = Problem(
    code="nothing_inverted", where="tests", severity=Severity.WARNING,
    message="no deciding test can run with an assertion inverted: forgery of every report at once may win",
)  # fmt: skip


def environment_trials(settings: Settings, image: str, but: str) -> dict[str, str]:
    """Trials of scope `environment` that another task of the same image has withstood: name → task."""
    query = """
        SELECT v.control, min(v.task_id) FROM validations v JOIN certificates c USING (task_id, run_id)
        WHERE v.image_digest = $image AND v.task_id <> $but AND c.catalogue = $catalogue
            AND c.image_digest = $image AND c.outcome = 'certified' AND starts_with(v.control, 'cheat:')
        GROUP BY v.control HAVING bool_and(v.passed)
    """
    params = {"image": image, "but": but, "catalogue": catalogue_digest()}
    return {name.removeprefix("cheat:"): task for name, task in Reader(settings).sql(query, params).rows}


def _checks(outcome: Validation) -> list[tuple[str, bool]]:
    return [(check["name"], check["passed"]) for check in json.loads(outcome.checks)["checks"]]


def _reason(outcome: Validation) -> str:
    return str(json.loads(outcome.checks)["reason"])


def _inverted(outcome: Validation) -> int:
    return int(json.loads(outcome.checks)["inverted"])


def _record(found: Findings, context: Context, seconds: float, validation_seconds: float) -> Certificate:
    """The row, and in it the document."""
    task, (reason, detail) = found.task, found.refusal()
    image = next((outcome.image_digest for outcome in found.outcomes), "")
    tried = [trial for trial in found.attempts.trials if _tried(trial, found)]
    inverted = max((_inverted(outcome) for outcome in found.of("gold")), default=0)
    document = certificate.sealed(
        {
            "task_id": task.task_id, "family": task.family, "kind": task.kind, "repo": task.repo,
            "language": task.language, "license": task.license, "bundle": task.bundle,
            "outcome": "refused" if reason else "certified", "reason": reason, "detail": detail,
            "environment": {"id": task.environment_id, "image_digest": image},
            "controls": [_told(o) for o in found.outcomes if not o.control.startswith("cheat:")],
            "determinism": {"gold_runs": len(found.of("gold")), "identical": found.identical()},
            "flakiness": found.flakiness,
            "cheats": _cheats(found, tried),
            "inverted_tests": inverted,
            "leaks": _leaks(found),
            "problems": [problem.model_dump(mode="json") for problem in found.problems],
            "seconds": round(seconds, 1), "validation_seconds": round(validation_seconds, 1),
            "program": importlib.metadata.version("verifactory"),
            "run_id": context.run_id, "issued_at": utcnow().isoformat(),
        }
    )  # fmt: skip
    return Certificate(
        certificate_id=document["sha256"], task_id=task.task_id, run_id=context.run_id,
        outcome=document["outcome"], reason=reason, bundle=task.bundle, environment_id=task.environment_id,
        image_digest=image, catalogue=catalogue_digest(),
        cheats=sum(len(trial.cheats) for trial in tried), succeeded=len(found.paid), inverted=inverted,
        seconds=seconds, validation_seconds=validation_seconds, document=to_json(document),
    )  # fmt: skip


def _tried(trial: Trial, found: Findings) -> bool:
    return trial.name in found.inherited or bool(found.of(f"cheat:{trial.name}"))


def _cheats(found: Findings, tried: list[Trial]) -> dict[str, Any]:
    """Every trial with its verdict, and every cheat that was not tried with the reason."""
    trials = []
    for trial in tried:
        told: dict[str, Any] = {"trial": trial.name, "cheats": list(trial.cheats), "scope": trial.scope}
        if trial.name in found.inherited:
            told |= {"verdict": "withstood", "tried_on": found.inherited[trial.name]}
        else:
            told |= _told(found.of(f"cheat:{trial.name}")[0], "verdict", "reward", "reason", "seconds")
        trials.append(told)
    return {
        "catalogue": catalogue_digest(),
        "tried": sum(len(trial.cheats) for trial in tried),
        "gradings": len(tried) - len(found.inherited),
        "paid": len(found.paid),
        "trials": trials,
        "inapplicable": dict(sorted(found.attempts.inapplicable.items())),
    }


def _told(outcome: Validation, *only: str) -> dict[str, Any]:
    told = {
        "control": outcome.control, "run": outcome.run, "verdict": outcome.verdict, "reward": outcome.reward,
        "expected": outcome.expected, "passed": outcome.passed, "reason": _reason(outcome)[:300],
        "seconds": round(outcome.seconds, 2),
    }  # fmt: skip
    return {key: told[key] for key in only or told}


def _leaks(found: Findings) -> list[dict[str, Any]]:
    """Each leak check, and whether it found anything."""
    told = {problem.code: problem for problem in found.problems}
    names = (*LEAKS, "grader_files", "docker_socket", "future_history", "answer_in_image")
    return [
        {"check": name, "passed": name not in told, "detail": told[name].message if name in told else ""}
        for name in names
    ]


def recorded_flakiness(settings: Settings, task_id: str) -> list[dict[str, Any]]:
    """The pooled bounds that the warehouse has for the task."""
    query = f"SELECT {', '.join(BOUNDS)} FROM flaky WHERE task_id = $task ORDER BY state"
    rows = Reader(settings).sql(query, {"task": task_id}).rows
    return [dict(zip(BOUNDS, row, strict=True)) for row in rows]


def _flakiness(flake: Flake) -> dict[str, Any]:
    return {name: getattr(flake, name) for name in BOUNDS}
