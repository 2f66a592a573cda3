"""Compose: three states are run once, tests get their roles, and the instruction is written.

A change that no test tells from its base ends here, before the dear part: repeated runs and controls.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from envs.reports import TestReport
from envs.sandbox import Limits
from pipelines.family import Context, Done, Rejected
from pipelines.swe import interface, kinds, statement
from pipelines.swe.audit import Audit, Audited, audit
from pipelines.swe.build import Built
from pipelines.swe.change import Refused
from pipelines.swe.statement import Statement
from pipelines.swe.suite import test_spec, write_suite
from pipelines.swe.trees import Entry, ObjectStore, Tree
from verifiers.tests.classify import Classification, classify
from verifiers.tests.grader import ObserveError, observe
from verifiers.tests.spec import TestSpec
from warehouse.records import content_id
from warehouse.settings import Settings

LEAST_TEST_SECONDS = 15.0
# A solution may be this much slower than upstream's slowest test.
MARGIN = 10


@dataclass(frozen=True)
class Draft:
    """A task before it is validated."""

    built: Built
    task_id: str
    instruction: str
    statement: Statement
    spec: TestSpec
    tests: Path
    classification: Classification
    base: TestReport
    before: TestReport
    after: TestReport
    audit: Audit = field(default_factory=Audit)
    interface: str = ""
    """The instruction's section about names, if there is one."""
    kind: str = ""
    """'' is the one that its tests say; another is graded by what `more` brings (see `routes`)."""
    more: Mapping[str, bytes] = field(default_factory=dict)
    """Files of its bundle besides those that every bundle has."""
    grading_seconds: float = 0.0
    """How long grading can take, where that is not the suite's own limit."""
    told: Mapping[str, object] = field(default_factory=dict)
    """What its bundle's metadata says of its kind."""


def limits(settings: Settings) -> Limits:
    return Limits(memory_mb=settings.memory_mb, cpus=settings.cpus, pids=settings.pids)


async def compose(built: Built, context: Context) -> Done[Draft] | Rejected:
    """Run base, before and after once each; classify; write the statement.

    A draft that no test tells from its base keeps its classification's reason, and is for `routes`.
    """
    change, parts, environment = built.change, built.split, built.environment
    store = ObjectStore.open(change.store)
    base, gold = store.tree(change.base_tree), store.tree(change.gold_tree)
    is_test = built.toolchain.is_test
    try:
        described = await asyncio.to_thread(statement.draft, change, base, gold, parts.gold_patch)
    except Refused as refused:
        return Rejected(refused.reason, refused.detail)
    names = await asyncio.to_thread(interface.needed, base, gold, built.touched, parts.hidden, is_test)
    text = statement.instruction(change, described, interface.section(names))
    spec = test_spec(
        parts, environment,
        toolchain=built.toolchain,
        base_paths=built.base_paths, touched=built.touched, settings=context.settings,
    )  # fmt: skip
    task_id = content_id("swe", text, *_identity(spec, parts.hidden), environment.environment_id)
    tests = context.workdir / "tests" / task_id
    try:
        after, spec = await solved(built, spec, tests, context)
        in_base, before = await unsolved(built, tests, context)
    except ObserveError as error:
        return Rejected(error.reason, error.detail)
    for state, report in (("base", in_base), ("before", before), ("after", after)):
        if report.disagreements:
            return Rejected("report_contradicts_itself", f"{state}: {report.disagreements[0]}")
    if not after.results:
        return Rejected("no_tests_run", f"the suite ended with '{after.outcome}': {after.log[-300:]}")
    classification = classify(in_base, before, after)
    routes = kinds.route(kinds.of(built.mined.candidate)) if classification.pass_to_pass else ()
    if classification.reason and not routes:
        return Rejected(
            classification.reason, f"{len(after.results)} tests ran, none tells the change from its base"
        )
    if classification.new and not classification.fail_to_pass and not interface.names_interface(text, names):
        return Rejected(
            "interface_not_named",
            f"tests use names the statement lacks: {', '.join(n.name for n in names[:5])}",
        )
    audited = await audit(_texts(built, described, interface.section(names), base), context.settings)
    if isinstance(audited, Rejected):
        return audited
    if audited[0] != described:
        described = audited[0]
        text = statement.instruction(change, described, interface.section(names))
        task_id = content_id("swe", text, *_identity(spec, parts.hidden), environment.environment_id)
    return Done(
        Draft(
            built, task_id, text, described, spec, tests, classification, in_base, before, after, audited[1],
            interface=interface.section(names),
        )
    )  # fmt: skip


def _texts(built: Built, described: Statement, section: str, base: Tree) -> Audited:
    """What the audit reads."""
    parts = built.split
    hidden = {path: entry.data for path, entry in parts.hidden.items()}
    return Audited(described, section, base, hidden, parts.test_patch, parts.gold_patch)


async def solved(built: Built, spec: TestSpec, tests: Path, context: Context) -> tuple[TestReport, TestSpec]:
    """The state after, first, because it says how long a test may take.

    The limit of one test becomes what the slowest needed, with a margin, so that old code that hangs costs
    seconds and not the whole default limit.
    """
    await asyncio.to_thread(write_suite, tests, spec, built.split)
    after = await observe(
        context.sandboxes, built.environment.image, tests,
        state="after", patch=built.split.gold_patch,
        limits=limits(context.settings), runtime=context.settings.runtime,
    )  # fmt: skip
    slowest = max((result.seconds for result in after.results), default=0.0)
    bound = min(spec.test_seconds, max(LEAST_TEST_SECONDS, math.ceil(MARGIN * slowest)))
    spec = spec.model_copy(update={"test_seconds": bound})
    await asyncio.to_thread(write_suite, tests, spec, built.split)
    return after, spec


async def unsolved(built: Built, tests: Path, context: Context) -> tuple[TestReport, TestReport]:
    """Base and before, natural order, each in a sandbox of its own."""
    image, bounds, runtime = built.environment.image, limits(context.settings), context.settings.runtime
    base = await observe(context.sandboxes, image, tests, state="base", limits=bounds, runtime=runtime)
    before = await observe(context.sandboxes, image, tests, state="before", limits=bounds, runtime=runtime)
    return base, before


def draft_id(draft: Draft, text: str, *graded: object) -> str:
    """The id of a draft that becomes one of another kind: with another instruction, and graded by more."""
    identity = _identity(draft.spec, draft.built.split.hidden)
    return content_id("swe", text, *identity, draft.built.environment.environment_id, *graded)


def _identity(spec: TestSpec, hidden: Mapping[str, Entry]) -> tuple[object, str]:
    """What the task id hashes of the verifier: not the limits, which depend on the machine."""
    files = sorted((path, entry.mode, entry.data.hex()) for path, entry in hidden.items())
    return spec.model_dump(
        mode="json", exclude={"test_seconds", "collect_seconds", "suite_seconds"}
    ), content_id(files)
