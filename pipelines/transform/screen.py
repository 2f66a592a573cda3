"""Screening: mutants of one parent, run by the parent's own tests, in order, until enough are worth a task.

A mutant is kept when some tests of the parent fail on it and others still pass, and when no mutant before it
fails the same tests. Everything else has a reason. Mutants are run side by side but judged in their order, so
the choice is the same on every machine; those after the last that was wanted are not run at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from envs.reports import TestReport, TestStatus
from pipelines.family import Context
from pipelines.swe.compose import limits
from pipelines.swe.image import bundle_image
from pipelines.transform.coverage import Covered, covered
from pipelines.transform.mutant import Mutant, mutated_tree
from pipelines.transform.parent import Parent
from verifiers.tests.bundle import write_tests
from verifiers.tests.classify import Seen, seen
from verifiers.tests.grader import ObserveError, observe
from warehouse.records import content_id

MOST_FAILING = 0.5  # of the tests; what breaks more is found without looking
MOST_HANGING = 2  # tests that the time limit ends; each costs its whole limit in every later run
SCREEN_TEST_SECONDS = 10.0  # a hang must not cost the whole limit here, nor a loaded machine look like one

REASONS = {
    "not_covered": "no test calls the function",
    "survived": "no test fails",
    "breaks_collection": "tests can no longer be collected",
    "breaks_everything": "no test passes",
    "breaks_too_much": "more than half of the tests fail",
    "hangs": "tests hang",
    "not_decisive": "none of the tests that decide the parent's reward fails",
    "same_behaviour": "the same tests fail as of an earlier mutant",
    "enough_variants": "as many variants as wanted were found before",
}


@dataclass(frozen=True)
class Screened:
    """What became of a mutant; `reason` is empty for one that is kept."""

    mutant: Mutant
    reason: str = ""
    detail: str = ""
    failing: tuple[str, ...] = ()
    report: TestReport | None = None


@dataclass
class Screen:
    """The mutants of one parent and what is known of them so far."""

    parent: Parent
    mutants: Sequence[Mutant]
    wanted: int
    accepts: Callable[[tuple[str, ...]], str] = lambda failing: ""
    """Reason why a mutant with these failing tests does not do, or ''."""
    shared: bool = False
    """Many candidates wait for this screen, so it may run as many mutants at a time as they leave idle."""
    judged: list[Screened] = field(default_factory=list)
    calls: Covered | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def kept(self) -> list[Screened]:
        return [screened for screened in self.judged if not screened.reason]

    async def outcome(self, number: int, context: Context) -> Screened:
        """What became of mutant `number`. Raises SandboxError; what was judged by then stays."""
        async with self.lock:
            while len(self.judged) <= number:
                await self._wave(context)
        return self.judged[number]

    async def all_kept(self, context: Context) -> list[Screened]:
        """The mutants kept, as many as wanted or as there are."""
        async with self.lock:
            while len(self.judged) < len(self.mutants) and len(self.kept) < self.wanted:
                await self._wave(context)
        return self.kept

    async def _wave(self, context: Context) -> None:
        if self.calls is None:
            self.calls = await covered(self.parent, context)
        start = len(self.judged)
        if len(self.kept) >= self.wanted:
            self.judged += [
                Screened(m, "enough_variants", REASONS["enough_variants"]) for m in self.mutants[start:]
            ]
            return
        wave = self.mutants[start : start + (context.settings.parallel if self.shared else 1)]
        for screened in await asyncio.gather(*(self._run(mutant, context) for mutant in wave)):
            self.judged.append(self._judge(screened))

    async def _run(self, mutant: Mutant, context: Context) -> Screened:
        made = mutant.mutation
        if self.calls is not None and made is not None and not self.calls.may_run(made):
            return _refused(mutant, "not_covered")
        try:
            report = await run_mutant(self.parent, mutant, context)
        except ObserveError as error:
            return Screened(
                mutant, "hangs" if error.reason == "observe_timeout" else error.reason, error.detail
            )
        return screened(self.parent, mutant, report)

    def _judge(self, found: Screened) -> Screened:
        """With what is known of the mutants before it."""
        if found.reason:
            return found
        if len(self.kept) >= self.wanted:
            return _refused(found.mutant, "enough_variants")
        if reason := self.accepts(found.failing):
            return _refused(found.mutant, reason)
        earlier = next((k for k in self.kept if set(k.failing) == set(found.failing)), None)
        if earlier is not None:
            return Screened(found.mutant, "same_behaviour", f"fails the same tests as {earlier.mutant.label}")
        return found


async def run_mutant(parent: Parent, mutant: Mutant, context: Context) -> TestReport:
    """One run of the parent's suite, hidden tests included, on the mutant."""
    image = await bundle_image(parent.bundle, context.sandboxes, context.settings)
    patch = parent.objects.diff(parent.base_tree, mutated_tree(parent, mutant.files, parent.solved_tree))
    spec = parent.bundle.spec
    quick = spec.model_copy(update={"test_seconds": min(spec.test_seconds, SCREEN_TEST_SECONDS)})
    tests = context.workdir / "screening" / content_id(parent.task.task_id, mutant.id)
    await asyncio.to_thread(write_tests, tests, quick, parent.hidden())
    return await observe(
        context.sandboxes, image.tag, tests,
        state="after", patch=patch, limits=limits(context.settings), runtime=context.settings.runtime,
    )  # fmt: skip


def screened(parent: Parent, mutant: Mutant, report: TestReport) -> Screened:
    """What one run says of a mutant by itself. Pure."""
    results = report.by_id()
    states = {test: seen(test, report, results) for test in sorted(parent.steady)}
    failing = tuple(test for test, state in states.items() if state not in (Seen.PASSES, Seen.OTHER))
    passing = [test for test, state in states.items() if state is Seen.PASSES]
    hanging = [test for test in failing if test in results and results[test].status is TestStatus.TIMEOUT]
    if report.disagreements:
        return Screened(mutant, "report_contradicts_itself", report.disagreements[0])
    if not failing:
        return _refused(mutant, "survived")
    if not passing:
        return _refused(mutant, "breaks_everything")
    if any(states[test] in (Seen.UNCOLLECTABLE, Seen.ABSENT) for test in failing):
        return _refused(mutant, "breaks_collection")
    if len(hanging) > MOST_HANGING:
        return _refused(mutant, "hangs")
    if len(failing) > MOST_FAILING * len(states):
        return _refused(mutant, "breaks_too_much")
    return Screened(mutant, failing=failing, report=report)


def _refused(mutant: Mutant, reason: str) -> Screened:
    return Screened(mutant, reason, f"{mutant.label}: {REASONS[reason]}")
