"""Bug injection: a mutant of a parent's gold state becomes a task whose gold patch takes the mutation back.

The base tree is the mutated gold tree without the tests that fail on it; those are the hidden tests. What a
test is for follows from two states only, before and after: upstream's suite exists as a whole, so what passes
in both is maintained, also where its file is hidden.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from envs.languages import toolchain
from envs.reports import TestReport
from pipelines.family import Context, Done, Mined, Rejected
from pipelines.swe import statement
from pipelines.swe.build import Built
from pipelines.swe.compose import Draft, limits
from pipelines.swe.split import SplitChange
from pipelines.swe.suite import write_suite
from pipelines.swe.trees import Entry
from pipelines.swe.validate import Origin
from pipelines.transform.cut import NotLocated, without_tests
from pipelines.transform.environment import DoesNotBuild, derived
from pipelines.transform.kind import FAMILY, HiddenTests, Wanted, lineage, mined
from pipelines.transform.mutant import mutated_tree, spread_mutants
from pipelines.transform.mutation import Mutation
from pipelines.transform.parent import Parent
from pipelines.transform.screen import Screen, Screened
from pipelines.transform.symptoms import statement as symptoms
from verifiers.tests.classify import Seen, classify, seen
from verifiers.tests.grader import ObserveError, observe
from verifiers.tests.spec import TestSpec, infrastructure
from warehouse.records import Task, content_id


@dataclass(frozen=True)
class Injection:
    """One mutant of a parent: number `number` of its screen."""

    parent: Parent
    screen: Screen
    number: int


@dataclass(frozen=True)
class Injected:
    """A mutant in its environment."""

    parent: Parent
    screened: Screened
    built: Built


class BugInjection(HiddenTests):
    """See `pipelines.transform.kind.Kind`."""

    name: ClassVar[str] = "bug_injection"

    def mine(self, parents: Sequence[Parent], options: Wanted) -> Iterator[Mined]:
        """One candidate for each mutant that may be run; which are kept, running says."""
        for parent in parents:
            mutants = spread_mutants(parent, options.mutants, str(options.seed))
            screen = Screen(parent, mutants, options.variants, shared=True)
            if not mutants:
                yield mined(
                    self, [parent], f"No bug for {parent.candidate.title}", None,
                    key=options.seed, detail={}, reason="no_mutable_source",
                )  # fmt: skip
            for number, mutant in enumerate(mutants):
                yield mined(
                    self, [parent], f"{mutant.label}, of {parent.candidate.title}",
                    Injection(parent, screen, number),
                    key=[options.seed, options.mutants, options.variants, number, mutant.id],
                    detail=told(mutant.mutation),
                )  # fmt: skip

    async def build(self, found: Mined, value: Injection, context: Context) -> Done[Injected] | Rejected:
        return await build(found, value, context)

    async def compose(self, built: Injected, context: Context) -> Done[tuple[Injected, Draft]] | Rejected:
        draft = await compose(built, context)
        return Done((built, draft.value), draft.records) if isinstance(draft, Done) else draft

    async def validate(self, draft: tuple[Injected, Draft], context: Context) -> Done[Task] | Rejected:
        injected, made = draft
        origin = Origin(
            family=FAMILY,
            kind=self.name,
            parent=injected.parent.task.task_id,
            metadata=lineage(self, [injected.parent], told(injected.screened.mutant.mutation)),
        )
        return await self.validated(made, context, origin)


def told(made: Mutation | None) -> dict[str, str]:
    """What is recorded of a mutation; no agent sees it."""
    if made is None:
        return {}
    return {"mutation": made.kind, "mutated_path": made.path, "mutated_function": made.function}


async def build(mined: Mined, item: Injection, context: Context) -> Done[Injected] | Rejected:
    """Screen the mutant; if it is kept, make its trees and its environment."""
    parent = item.parent
    found = await item.screen.outcome(item.number, context)
    if found.reason:
        return Rejected(found.reason, found.detail)
    try:
        trees = await asyncio.to_thread(_trees, parent, found)
        environment = await derived(parent, trees.base, context)
    except NotLocated as error:
        return Rejected("tests_not_located", str(error))
    except DoesNotBuild as error:
        return Rejected("mutant_does_not_build", str(error))
    base = parent.objects.tree(trees.base)
    touched = frozenset(found.mutant.files)
    split = SplitChange(
        solved_tree=trees.solved,
        gold_patch=parent.objects.diff(trees.base, trees.solved),
        test_patch=parent.objects.diff(trees.base, trees.tested),
        hidden=trees.hidden,
        deleted_tests=(),
    )
    built = Built(
        mined=mined,
        change=parent.change(trees.base, parent.gold_tree),
        split=split,
        environment=environment.built,
        toolchain=toolchain(parent.task.language),
        base_paths=frozenset(base),
        touched=touched,
    )
    return Done(Injected(parent, found, built), records=(environment.record,))


async def compose(injected: Injected, context: Context) -> Done[Draft] | Rejected:
    """Run the three states, tell roles from two of them, and the symptoms from one."""
    parent, built = injected.parent, injected.built
    spec = derived_spec(parent, built.base_paths, built.touched, built.split.hidden)
    key = content_id(built.environment.environment_id, injected.screened.mutant.id)
    tests = context.workdir / "tests" / key
    await asyncio.to_thread(write_suite, tests, spec, built.split)
    image, bounds, runtime = built.environment.image, limits(context.settings), context.settings.runtime
    try:
        after = await observe(
            context.sandboxes, image, tests,
            state="after", patch=built.split.gold_patch, limits=bounds, runtime=runtime,
        )  # fmt: skip
        before = await observe(
            context.sandboxes, image, tests, state="before", limits=bounds, runtime=runtime
        )
        base = await observe(context.sandboxes, image, tests, state="base", limits=bounds, runtime=runtime)
    except ObserveError as error:
        return Rejected(error.reason, error.detail)
    if refused := unfit(base, before, after):
        return refused
    classification = classify(before, before, after)
    failing = [test for test in classification.fail_to_pass if test in parent.steady]
    if not failing:
        return Rejected("no_fail_to_pass", "no steady test tells the mutant from its original")
    classification = classification.model_copy(
        update={
            "fail_to_pass": tuple(failing),
            "pass_to_pass": tuple(test for test in classification.pass_to_pass if test in parent.steady),
            "new": (),
        }
    )
    in_base = base.by_id()
    if shown := [test for test in failing if seen(test, base, in_base) is Seen.FAILS]:
        return Rejected("failing_test_visible", f"{shown[0]} fails in the base tree")
    described = symptoms(before, failing, _code(injected), built.touched)
    text = statement.instruction(built.change, described, "")
    task_id = content_id("transform", text, *identity(spec, built), built.environment.environment_id)
    return Done(Draft(built, task_id, text, described, spec, tests, classification, base, before, after))


def derived_spec(
    parent: Parent, base_paths: frozenset[str], touched: frozenset[str], hidden: Mapping[str, Entry]
) -> TestSpec:
    """The parent's spec for another tree: the same runner, other files kept from submissions."""
    language = toolchain(parent.task.language)
    protected, unprotected = infrastructure(base_paths, touched, language.steering)
    tests = sorted(path for path in base_paths if language.is_test(path) and path not in touched)
    return parent.bundle.spec.model_copy(
        update={
            "args": language.arguments((*base_paths, *hidden)),
            "hidden": (),
            "deleted": (),
            "protected": tuple(dict.fromkeys((*protected, *tests))),
            "unprotected": unprotected,
            "fail_to_pass": (),
            "pass_to_pass": (),
            "new": (),
            "inversions": (),
        }
    )


@dataclass(frozen=True)
class _Trees:
    base: str
    solved: str
    tested: str
    hidden: dict[str, Entry]


def _trees(parent: Parent, found: Screened) -> _Trees:
    """base: the mutant without its failing tests; solved: base unmutated; tested: base with those tests."""
    gold = parent.gold
    files = {path: gold[path] for path in gold if parent.is_test(path) and not gold.is_link(path)}
    cut = without_tests(files, found.failing, parent.bundle.spec.runner)
    entries = {
        path: None if data is None else Entry(gold.blob(path).mode, data) for path, data in cut.items()
    }
    hidden = {path: gold.entry(path) for path in cut}
    solved = parent.objects.replace(parent.gold_tree, entries)
    base = mutated_tree(parent, found.mutant.files, solved)
    return _Trees(base, solved, parent.objects.replace(base, hidden), hidden)


def unfit(base: TestReport, before: TestReport, after: TestReport) -> Rejected | None:
    for state, report in (("base", base), ("before", before), ("after", after)):
        if report.disagreements:
            return Rejected("report_contradicts_itself", f"{state}: {report.disagreements[0]}")
    if not after.results:
        return Rejected("no_tests_run", f"the suite ended with '{after.outcome}': {after.log[-300:]}")
    return None


def _code(injected: Injected) -> tuple[str, ...]:
    """Lines of the defect and of its mending."""
    added = statement.added_code(injected.built.split.gold_patch)
    reverse = injected.parent.objects.diff(injected.built.split.solved_tree, injected.built.change.base_tree)
    return (*added, *statement.added_code(reverse))


def identity(spec: TestSpec, built: Built) -> tuple[object, str]:
    """As `pipelines.swe.compose`: what the task id hashes of the verifier."""
    files = sorted((path, entry.mode, entry.data.hex()) for path, entry in built.split.hidden.items())
    limits_of = {"test_seconds", "collect_seconds", "suite_seconds"}
    return spec.model_dump(mode="json", exclude=limits_of), content_id(files)
