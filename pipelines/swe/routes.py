"""Where a change goes on that no test tells from its base: by its tags, to the validation of its own kind.

A performance change is measured: base and gold, in turns, in one container. A refactoring is asked for
structural targets that its base misses and its gold meets. Either becomes a draft whose bundle carries what
grades it; all maintained tests still have to hold. What neither shows stays rejected, with the reason.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pipelines.family import Context, Done, Rejected
from pipelines.swe import kinds, statement, structure, workload
from pipelines.swe.compose import Draft, draft_id, limits
from pipelines.swe.kinds import Tag
from pipelines.swe.trees import ObjectStore
from verifiers import performance, refactor
from verifiers.performance import Measured, PerformanceSpec
from verifiers.performance.inside.significance import CLEAR
from verifiers.refactor import RefactorSpec

NO_TEST_TELLS = "no_fail_to_pass"
# A measured run may take this much longer than it did when it was chosen: the machine may be busier then.
PATIENCE = 60.0


async def routed(draft: Draft, context: Context) -> Done[Draft] | Rejected:
    """The draft as one of its own kind, or why it is none; one that its tests decide stays what it is."""
    if not draft.classification.reason:
        return Done(draft)
    tags = kinds.route(kinds.of(draft.built.mined.candidate))
    told = f"{len(draft.after.results)} tests ran, none tells the change from its base"
    if not tags:
        return Rejected(NO_TEST_TELLS, told)
    refused: list[Rejected] = []
    for tag in tags:
        outcome = await ROUTES[tag.kind](draft, tag, context)
        if isinstance(outcome, Done):
            return outcome
        refused.append(outcome)
    tried = zip(tags, refused, strict=True)
    why = "; ".join(f"{tag.kind} by {tag.rule}: {why.reason}, {why.detail}" for tag, why in tried)
    return Rejected(refused[0].reason, f"{told}. {why}"[:2000])


async def _performance(draft: Draft, tag: Tag, context: Context) -> Done[Draft] | Rejected:
    found = workload.choose(draft.spec, draft.classification.pass_to_pass, draft.before, draft.after)
    if found is None:
        return Rejected("no_measurable_workload", "no maintained test takes long enough to be measured")
    spec = PerformanceSpec(
        schema=1, tests=found.tests, args=found.args, suite_seconds=draft.spec.suite_seconds,
        run_seconds=PATIENCE + 10 * found.seconds,
    )  # fmt: skip
    measured = await _measured(draft, spec, context)
    findings = {name: measured.finding(spec, name) for name in ("cpu", "wall")} if measured.blocks else {}
    measure = next((name for name, seen in findings.items() if seen["verdict"] == "earned"), "")
    if not measure:
        return not_faster(spec, measured)
    spec = spec.model_copy(update={"measure": measure})
    text = _instruction(draft, _section(draft, found, measure))
    return Done(
        _of_kind(
            draft, tag, text,
            more=performance.files(spec, draft.built.split.gold_patch),
            seconds=spec.grading_seconds, graded=(spec.tests, spec.args, measure),
            told={"gain": round(findings[measure]["gold"], 4), "noise": round(findings[measure]["noise"], 4)},
        )
    )  # fmt: skip


def not_faster(spec: PerformanceSpec, measured: Measured) -> Rejected:
    """`unstable` where the noise could hide a gain that would count, `not_faster` where it could not."""
    if measured.unstable or not measured.blocks:
        return Rejected("unstable", measured.unstable)
    seen = measured.finding(spec, "cpu")
    told = f"gold saves {seen['gold']:.1%} of CPU time (p {seen['gold_p']:.3f}), noise {seen['noise']:.1%}"
    return Rejected("unstable" if CLEAR * seen["noise"] > spec.least_gain else "not_faster", told)


async def _measured(draft: Draft, spec: PerformanceSpec, context: Context) -> Measured:
    """Base and gold, before there is a bundle."""
    folder = context.workdir / "tests" / f"{draft.task_id}-measured"
    await asyncio.to_thread(_lay_out, draft, spec, folder)
    return await performance.measure(
        context.sandboxes, draft.built.environment.image, folder, spec,
        limits=limits(context.settings), runtime=context.settings.runtime,
    )  # fmt: skip


def _lay_out(draft: Draft, spec: PerformanceSpec, folder: Path) -> None:
    shutil.copytree(draft.tests, folder, dirs_exist_ok=True)
    for name, data in performance.files(spec, draft.built.split.gold_patch).items():
        (folder / Path(name).relative_to("tests")).write_bytes(data)


def _section(draft: Draft, found: workload.Workload, measure: str) -> str:
    """What the solver is told of the measurement; of its tests, those that the base has."""
    counted = "CPU time of the whole test process" if measure == "cpu" else "time that passes"
    told = (
        "## Performance\n\nWhat the code does stays as it is, and all tests must keep passing. What counts "
        f"is the {counted}, before and after your change, on one machine. The reference solution is measured "
        "beside it: yours must save at least half of what it saves."
    )
    known = draft.base.by_id()
    if visible := [f"- `{name}`" for name in found.tests if name in known][:10]:
        told += "\n\nIt is measured with these tests, among others:\n\n" + "\n".join(visible)
    return told


async def _refactor(draft: Draft, tag: Tag, context: Context) -> Done[Draft] | Rejected:
    change, built = draft.built.change, draft.built
    store = ObjectStore.open(change.store)
    found = await asyncio.to_thread(
        structure.sides,
        store.tree(change.base_tree), store.tree(built.split.solved_tree), built.touched,
        built.toolchain.is_test,
    )  # fmt: skip
    targets = await asyncio.to_thread(structure.targets, found)
    if not targets:
        return Rejected("no_structural_target", "nothing that is measured got better")
    suffixes = tuple(sorted({Path(path).suffix for path in found.touched} - {""}))
    spec = RefactorSpec(
        schema=1, targets=targets, suffixes=suffixes, suite_seconds=draft.spec.suite_seconds,
        unreadable=tuple(found.base.unreadable()),
    )  # fmt: skip
    return Done(
        _of_kind(
            draft, tag, _instruction(draft, spec.section()),
            more=refactor.files(spec), seconds=spec.grading_seconds, graded=targets,
            told={"targets": len(targets)},
        )
    )  # fmt: skip


ROUTES: Mapping[str, Callable[[Draft, Tag, Context], Awaitable[Done[Draft] | Rejected]]] = {
    "performance": _performance,
    "refactor": _refactor,
}
assert tuple(ROUTES) == kinds.ROUTED


def _instruction(draft: Draft, section: str) -> str:
    """The statement with what this kind is judged by."""
    return statement.instruction(
        draft.built.change, draft.statement, "\n\n".join(filter(None, [draft.interface, section]))
    )


def _of_kind(
    draft: Draft, tag: Tag, text: str, *, more: Mapping[str, bytes], seconds: float,
    graded: tuple[object, ...], told: Mapping[str, object],
) -> Draft:  # fmt: skip
    """The draft with what its bundle carries besides. The suite's own limit goes with `more`."""
    return replace(
        draft, task_id=draft_id(draft, text, tag.kind, graded), instruction=text, kind=tag.kind, more=more,
        grading_seconds=seconds, told={"kind_rule": tag.rule, **told},
    )  # fmt: skip
