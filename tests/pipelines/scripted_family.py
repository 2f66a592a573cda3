"""A family whose verifier says what a test tells it to; everything around it is real."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pipelines.family import Attempts, Context, Control
from pipelines.swe import evidence
from verifiers.integrity.trials import Trial
from verifiers.problems import Problem
from verifiers.tests.bundle import load, render
from verifiers.tests.spec import TestSpec
from verifiers.verdict import Check, Submission, Verdict, VerdictKind
from warehouse.loader import load as load_warehouse
from warehouse.outbox import Outbox
from warehouse.records import Candidate, Event, Source, Task, TaskEvent, utcnow
from warehouse.settings import Settings

DIGEST = "sha256:" + "d" * 64
GOLD = b"diff --git a/calc.py b/calc.py\n--- a/calc.py\n+++ b/calc.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n"


@dataclass
class ScriptedVerifier:
    """Pays gold and what `pays` names; a control named in `broken` never gets graded."""

    pays: set[bytes]
    broken: set[bytes] = field(default_factory=set)
    digest: str = DIGEST
    inverted: int = 3

    async def grade(self, bundle: Path, submission: Submission, sandboxes: Any, haste: Any = None) -> Verdict:
        if submission.patch in self.broken:
            return Verdict(kind=VerdictKind.INFRASTRUCTURE, reward=None, reason="no daemon")
        paid = submission.patch in self.pays
        check = Check(name="tests", passed=paid, score=float(paid))
        return Verdict(
            kind=VerdictKind.SCORED, reward=float(paid), checks=(check,), image_digest=self.digest,
            inverted=self.inverted,
        )  # fmt: skip


@dataclass
class ScriptedFamily:
    """See `pipelines.family.Family`; only what certification asks of one."""

    name: ClassVar[str] = "swe"
    graded: ScriptedVerifier = field(default_factory=lambda: ScriptedVerifier({GOLD}))
    found: tuple[Problem, ...] = ()

    def verifier(self, settings: Settings) -> ScriptedVerifier:
        return self.graded

    def controls(self, bundle: Path) -> list[Control]:
        return [
            Control("gold", Submission(patch=load(bundle).gold_patch), 1.0),
            Control("nop", Submission(), 0.0),
        ]

    def partial(self, bundle: Path) -> Submission | None:
        return Submission(patch=b"partial")

    def problems(self, bundle: Path, settings: Settings) -> tuple[Problem, ...]:
        return evidence.problems(bundle, settings)

    async def leaked(self, bundle: Path, context: Context) -> tuple[Problem, ...]:
        return self.found

    def attempts(self, bundle: Path) -> Attempts:
        trials = [
            Trial("exit_zero", ("exit_zero",), Submission(patch=b"cheat 1"), "task", False),
            Trial(
                "history+network", ("history", "network"), Submission(patch=b"cheat 2"), "environment", False
            ),
        ]
        return Attempts(tuple(trials), {"late_plugin": "no pytest here"})


class Images:
    """A backend that knows which images there are, and starts nothing."""

    def __init__(self, digest: str = DIGEST) -> None:
        self.known = digest

    async def digest(self, tag: str) -> str:
        return self.known


def made_task(settings: Settings, folder: Path, name: str = "t1", **changes: Any) -> Task:
    """A validated task with its bundle, in the warehouse."""
    environment = folder / f"environment-{name}"
    environment.mkdir()
    (environment / "Dockerfile").write_text("ARG BASE=debian:bookworm-20260101\nFROM ${BASE}\n")
    (environment / "app.tar").write_bytes(b"\0" * 10240)  # an empty tar
    spec = TestSpec(runner="pytest", args=("tests",), fail_to_pass=("a",), pass_to_pass=("b",))
    told = f"The sum of two numbers is wrong by one whenever the first is negative ({name}).\n"
    values: dict[str, Any] = {"license": "MIT", **changes}
    bundle = render(
        settings.bundles / name, task_id=name, kind="bug_fix", repo="calc",
        instruction=values.pop("instruction", told), environment_dir=environment, hidden={}, gold_patch=GOLD,
        spec=spec, licenses={"LICENSE": b"MIT"}, metadata={"license": values["license"]},
    )  # fmt: skip
    task = Task(
        task_id=name, candidate_id=f"c-{name}", environment_id="e1", family="swe", kind="bug_fix",
        repo="calc", language="python", license="MIT", attribution="A. Author", source_date=utcnow(),
        run_id="r1", instruction=told, verifier="{}", gold_patch="", test_patch="",
        fail_to_pass=("a",), pass_to_pass=("b",), new_tests=(), quarantined=(),
        statement_check="rules", bundle=bundle.sha256,
    )  # fmt: skip
    with Outbox(settings) as outbox:
        outbox.append(
            [
                task,
                TaskEvent(task_id=name, event="status", value="validated", run_id="r1"),
                Event(
                    run_id="r1", flow="swe", stage="validate", item=task.candidate_id, source="calc",
                    outcome="ok", seconds=40.0,
                ),
            ]
        )  # fmt: skip
    load_warehouse(settings)
    return task


def record_source(settings: Settings, task: Task) -> None:
    """Where the task came from, which exports pass on."""
    source = Source(
        source_id="s1", kind="git", url="https://example.org/calc", revision="abc", license="MIT",
        attribution="A. Author",
    )  # fmt: skip
    candidate = Candidate(
        candidate_id=task.candidate_id, source_id="s1", family="swe", repo="calc", base_ref="a", gold_ref="b",
        title="Mend it", source_date=task.source_date, verdict="accepted",
    )  # fmt: skip
    with Outbox(settings) as outbox:
        outbox.append([source, candidate])
    load_warehouse(settings)
