"""Commit merging: two changes of which one starts where the other ended become one bigger task.

That they follow each other is seen on their trees, not believed of their names. The merged base is the older
one's, the merged gold the newer one's; packages are those of the newer one. Both statements are told, and
both changes must still show: a merge of which only one half is tested is no bigger task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from envs.languages import toolchain
from pipelines.family import Context, Done, Mined, Rejected
from pipelines.swe import statement
from pipelines.swe.build import Built
from pipelines.swe.change import Change, Refused
from pipelines.swe.compose import Draft, limits
from pipelines.swe.filters import kind_of
from pipelines.swe.split import split
from pipelines.swe.statement import Statement
from pipelines.swe.suite import write_suite
from pipelines.swe.trees import Entry, ObjectStore
from pipelines.swe.validate import Origin
from pipelines.transform import told
from pipelines.transform.bug_injection import derived_spec, identity, unfit
from pipelines.transform.environment import DoesNotBuild, derived
from pipelines.transform.kind import FAMILY, HiddenTests, Wanted, lineage, mined
from pipelines.transform.parent import Parent
from verifiers.tests.classify import Classification, Role, classify
from verifiers.tests.grader import ObserveError, observe
from warehouse.records import Task, content_id

BOTH = """\
Two changes belong together here; make both.

### First

{older}

### Then

{newer}"""


@dataclass(frozen=True)
class Pair:
    """Two parents, the older one first."""

    older: Parent
    newer: Parent


@dataclass(frozen=True)
class Merged:
    """A pair in its environment."""

    pair: Pair
    built: Built


class CommitMerge(HiddenTests):
    """See `pipelines.transform.kind.Kind`."""

    name: ClassVar[str] = "commit_merge"

    def mine(self, parents: Sequence[Parent], options: Wanted) -> Iterator[Mined]:
        for older, newer in pairs(parents):
            yield mined(
                self, [older, newer], f"{older.candidate.title} and {newer.candidate.title}, merged",
                Pair(older, newer), key="pair", detail={},
            )  # fmt: skip

    async def build(self, found: Mined, value: Pair, context: Context) -> Done[Merged] | Rejected:
        older, newer = value.older, value.newer
        if gap := await asyncio.to_thread(gap_between, older, newer):
            return Rejected("trees_do_not_follow", gap)
        try:
            base_tree = await asyncio.to_thread(copied, older, older.base_tree, newer.objects)
            parts = await asyncio.to_thread(split, newer.objects, base_tree, newer.gold_tree, newer.is_test)
            environment = await derived(newer, base_tree, context)
        except Refused as refused:
            return Rejected(refused.reason, refused.detail)
        except DoesNotBuild as error:
            return Rejected("base_does_not_build", str(error))
        touched = frozenset(
            path
            for _, old, new in newer.objects.deltas(base_tree, parts.solved_tree)
            for path in (old, new)
            if path
        )
        change = _change(value, base_tree)
        built = Built(
            mined=found, change=change, split=parts, environment=environment.built,
            toolchain=toolchain(newer.task.language), base_paths=frozenset(newer.objects.tree(base_tree)),
            touched=touched,
        )  # fmt: skip
        return Done(Merged(value, built), records=(environment.record,))

    async def compose(self, built: Merged, context: Context) -> Done[tuple[Merged, Draft]] | Rejected:
        pair, made = built.pair, built.built
        spec = derived_spec(pair.newer, made.base_paths, made.touched, made.split.hidden)
        spec = spec.model_copy(update={"deleted": made.split.deleted_tests})
        tests = context.workdir / "tests" / content_id(made.environment.environment_id, "merged")
        await asyncio.to_thread(write_suite, tests, spec, made.split)
        image, bounds, runtime = made.environment.image, limits(context.settings), context.settings.runtime
        try:
            after = await observe(
                context.sandboxes, image, tests,
                state="after", patch=made.split.gold_patch, limits=bounds, runtime=runtime,
            )  # fmt: skip
            base = await observe(
                context.sandboxes, image, tests, state="base", limits=bounds, runtime=runtime
            )
            before = await observe(
                context.sandboxes, image, tests, state="before", limits=bounds, runtime=runtime
            )
        except ObserveError as error:
            return Rejected(error.reason, error.detail)
        if refused := unfit(base, before, after):
            return refused
        classification = _steady(classify(base, before, after), pair)
        decide = {*classification.fail_to_pass, *classification.new}
        for parent in (pair.older, pair.newer):
            if not decide & set(parent.deciding):
                return Rejected(
                    "half_untested", f"no test that decided {parent.task.task_id} decides the merge"
                )
        described = Statement(
            BOTH.format(older=_statement(pair.older), newer=_statement(pair.newer)), "parents"
        )
        text = statement.instruction(made.change, described, _interface(pair))
        task_id = content_id("transform", text, *identity(spec, made), made.environment.environment_id)
        draft = Draft(made, task_id, text, described, spec, tests, classification, base, before, after)
        return Done((built, draft))

    async def validate(self, draft: tuple[Merged, Draft], context: Context) -> Done[Task] | Rejected:
        merged, made = draft
        parents = [merged.pair.older, merged.pair.newer]
        origin = Origin(
            family=FAMILY,
            kind=self.name,
            parent=merged.pair.older.task.task_id,
            metadata=lineage(self, parents, {}),
        )
        return await self.validated(made, context, origin)


def pairs(parents: Sequence[Parent]) -> Iterator[tuple[Parent, Parent]]:
    """Parents of one repository of which the second starts at the revision where the first ended."""
    ended = {(p.task.repo, p.source.kind, p.candidate.gold_ref): p for p in parents}
    for newer in parents:
        older = ended.get((newer.task.repo, newer.source.kind, newer.candidate.base_ref))
        if older is not None and older is not newer:
            yield older, newer


def gap_between(older: Parent, newer: Parent) -> str:
    """What lies between the older one's gold tree and the newer one's base tree; '' when they are one."""
    gold = dict(older.objects.walk(older.gold_tree))
    base = dict(newer.objects.walk(newer.base_tree))
    differing = sorted(
        path
        for path in gold.keys() | base.keys()
        if gold.get(path) != base.get(path) and kind_of(path, newer.is_test) != "generated"
    )
    return f"{len(differing)} files differ: {', '.join(differing[:3])}" if differing else ""


def copied(parent: Parent, tree: str, store: ObjectStore) -> str:
    """A tree of one store in another."""
    view = parent.objects.tree(tree)
    return store.write_tree({path: Entry(view.blob(path).mode, view[path]) for path in view})


def _steady(found: Classification, pair: Pair) -> Classification:
    """Without the tests that wavered for one of the parents: they would again."""
    wavers = {line.partition(" ")[2] for p in (pair.older, pair.newer) for line in p.task.quarantined}
    kept = {
        role.value: tuple(test for test in getattr(found, role.value) if test not in wavers) for role in Role
    }
    return Classification(**kept, reason=found.reason)


def _change(pair: Pair, base_tree: str) -> Change:
    older, newer = pair.older, pair.newer
    return Change(
        store=newer.store,
        base_tree=base_tree,
        gold_tree=newer.gold_tree,
        repo=newer.task.repo,
        base_ref=older.candidate.base_ref,
        gold_ref=newer.candidate.gold_ref,
        source_date=newer.task.source_date,
        kind=newer.source.kind,
        license=newer.task.license,
        attribution=newer.task.attribution,
    )


def _statement(parent: Parent) -> str:
    """A parent's statement, its headings below ours."""
    lines = told.statement(parent.task.instruction).split("\n")
    return "\n".join(f"###{line}" if line.startswith("#") else line for line in lines)


def _interface(pair: Pair) -> str:
    listed = [names for p in (pair.older, pair.newer) if (names := told.names(p.task.instruction))]
    if not listed:
        return ""
    return "## Interface\n\nThe tests use these names, which do not exist yet:\n\n" + "\n".join(listed)
