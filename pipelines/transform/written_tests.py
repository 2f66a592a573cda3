"""SWE-Test conversion: the parent's statement stays, and the task is to write the test that goes with it.

The environment is the parent's own. The states that a submission's tests are run on come from the parent: its
base, its gold state, that state in other words, and mutants of what its gold patch changed, each of them
found by a test that decides the parent's reward. Upstream's own tests are the gold submission.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

from envs.languages import toolchain
from envs.reports import TestReport
from pipelines.family import Attempts, Context, Control, Done, Mined, Rejected
from pipelines.swe import evidence
from pipelines.swe.compose import limits
from pipelines.swe.image import bundle_image
from pipelines.swe.trees import Entry
from pipelines.transform import controls_of_tests, told
from pipelines.transform.converted import converted
from pipelines.transform.equivalent import equivalent
from pipelines.transform.kind import Wanted, mined
from pipelines.transform.mutant import Mutant, mutated_tree, partial_mutants, touched_mutants
from pipelines.transform.parent import Parent
from pipelines.transform.screen import Screen, Screened, run_mutant, screened
from verifiers import swe_test
from verifiers.integrity.cheats import CATALOGUE
from verifiers.problems import Problem
from verifiers.swe_test import State, WrittenTestsSpec
from verifiers.tests.bundle import load, write_tests
from verifiers.tests.classify import PASSING
from verifiers.tests.grader import ObserveError, observe
from verifiers.verdict import Submission
from warehouse.records import Task, content_id
from warehouse.settings import Settings

MUTANTS = 4
KILL_SHARE = 0.5
LEAST_SECONDS, MARGIN = 60.0, 5
GOLD_RUNS = 3

# Names of test files: pattern, and a name to ask the toolchain about, in a folder that is no test folder.
NAMES: tuple[tuple[str, str], ...] = (
    (r"test_.*\.py", "test_written.py"),
    (r".*_test\.py", "written_test.py"),
    (r".*_test\.go", "written_test.go"),
    (r".*\.(test|spec)\.[cm]?[jt]sx?", "written.test.js"),
    (r".*Tests?\.java", "WrittenTest.java"),
    (r".*_(test|spec)\.rb", "written_test.rb"),
    (r".*Test\.php", "WrittenTest.php"),
    (r".*\.t", "written.t"),
    (r".*\.bats", "written.bats"),
    (r".*_spec\.lua", "written_spec.lua"),
)

TEXT = """\
# {repo}

The source code of `{repo}` is in `/app`, a git repository with one commit. It is installed with its
dependencies; there is no network. The change that is described here is **not** made yet. Write tests for it:
they have to fail on the code as it is, and to pass once somebody has made the change.

## The change

{statement}
{names}
## How it is judged

Only the test files that you add or change in `/app` count, where the project keeps its tests; all else that
you change is undone. They are run on the code as it is, where at least one of them has to fail, and on right
implementations of the change, where none of them may fail. Then they are run on wrong implementations of it:
what passes on the right ones has to fail on at least {share} of the wrong ones. Test behaviour, therefore,
and not how the code is written.
"""

NO_CHEATS = "needs hidden tests, and here the submission's own tests are what is judged"


@dataclass(frozen=True)
class Wish:
    """A parent, and the mutants of what it changed."""

    parent: Parent
    screen: Screen


@dataclass(frozen=True)
class Ready:
    """What the task's states will be."""

    parent: Parent
    found: Mined
    mutants: tuple[Screened, ...]
    alternative: Mutant | None


@dataclass(frozen=True)
class Draft:
    """The task, before its bundle is rendered and its controls are run."""

    ready: Ready
    task_id: str
    instruction: str
    spec: WrittenTestsSpec
    patches: dict[str, bytes]
    gold_patch: bytes


class WrittenTests:
    """See `pipelines.transform.kind.Kind`."""

    name: ClassVar[str] = "swe_test"

    def mine(self, parents: Sequence[Parent], options: Wanted) -> Iterator[Mined]:
        for parent in parents:
            mutants = [
                *touched_mutants(parent, options.mutants, str(options.seed)),
                *partial_mutants(parent)[: options.mutants],
            ]
            decide = frozenset(parent.deciding)
            screen = Screen(
                parent,
                mutants,
                MUTANTS,
                lambda failing, decide=decide: "" if decide & set(failing) else "not_decisive",
            )
            yield mined(
                self, [parent], f"Tests for {parent.candidate.title}", Wish(parent, screen),
                key=[options.seed, options.mutants, [mutant.id for mutant in mutants]],
                detail={"mutants": len(mutants)},
                reason="no_deciding_test" if not decide else "" if mutants else "no_mutable_change",
            )  # fmt: skip

    async def build(self, found: Mined, value: Wish, context: Context) -> Done[Ready] | Rejected:
        """Screen the mutants, and try the other form of the gold state."""
        kept = await value.screen.all_kept(context)
        if not kept:
            reasons = sorted({judged.reason for judged in value.screen.judged})
            return Rejected("no_mutants", f"{len(value.screen.judged)} were tried: {', '.join(reasons)}")
        other = await alternative(value.parent, context)
        return Done(Ready(value.parent, found, tuple(kept), other))

    async def compose(self, built: Ready, context: Context) -> Done[Draft] | Rejected:
        parent = built.parent
        try:
            visible = await _gold_with_visible_tests(parent, context)
        except ObserveError as error:
            return Rejected(error.reason, error.detail)
        if visible.disagreements:
            return Rejected("report_contradicts_itself", visible.disagreements[0])
        draft = await asyncio.to_thread(_draft, built, visible)
        return Done(draft) if draft.gold_patch else Rejected("no_test_change", "upstream only deleted tests")

    async def validate(self, draft: Draft, context: Context) -> Done[Task] | Rejected:
        parent = draft.ready.parent
        return await converted(
            self, parent, draft.ready.found.candidate, context,
            task_id=draft.task_id, instruction=draft.instruction,
            spec=parent.bundle.spec.model_copy(
                update={
                    "hidden": (), "deleted": (), "inversions": (), "fail_to_pass": parent.task.fail_to_pass,
                    "pass_to_pass": (), "new": parent.task.new_tests,
                    "suite_seconds": draft.spec.grading_seconds,
                }
            ),
            gold_patch=draft.gold_patch, more=swe_test.files(draft.spec, draft.patches),
            verifier_spec=draft.spec.model_dump(mode="json", by_alias=True), gold_runs=GOLD_RUNS,
            told={"mutants": len(draft.ready.mutants), "alternative": draft.ready.alternative is not None},
        )  # fmt: skip

    def controls(self, bundle: Path) -> list[Control]:
        """Upstream's tests must earn the reward; none, and tests that tell nothing apart, must not."""
        loaded = load(bundle)
        return [
            Control("gold", Submission(patch=loaded.gold_patch), 1.0),
            Control("nop", Submission(), 0.0),
            *controls_of_tests.worthless(loaded),
        ]

    def partial(self, bundle: Path) -> Submission | None:
        return None  # one of several tests may be all that is needed

    def problems(self, bundle: Path, settings: Settings) -> tuple[Problem, ...]:
        return tuple(p for p in evidence.problems(bundle, settings) if p.code != "nothing_maintained")

    async def leaked(self, bundle: Path, context: Context) -> tuple[Problem, ...]:
        return await evidence.leaked(bundle, context)

    def attempts(self, bundle: Path) -> Attempts:
        return Attempts(
            controls_of_tests.cheats(load(bundle)), {cheat.name: NO_CHEATS for cheat in CATALOGUE}
        )


async def alternative(parent: Parent, context: Context) -> Mutant | None:
    """The gold state in other words, if its tests cannot tell; None when there is no such form."""
    files = {}
    for path in parent.touched():
        other = equivalent(path, parent.solved[path]) if path in parent.solved else None
        if other is not None and not parent.is_test(path):
            files[path] = other
    if not files:
        return None
    mutant = Mutant(content_id(sorted((p, d.hex()) for p, d in files.items())), "same_in_other_words", files)
    try:
        report = await run_mutant(parent, mutant, context)
    except ObserveError:
        return None
    return mutant if screened(parent, mutant, report).reason == "survived" else None


async def _gold_with_visible_tests(parent: Parent, context: Context) -> TestReport:
    """The tests of the base tree on the gold state: what a submission finds there."""
    image = await bundle_image(parent.bundle, context.sandboxes, context.settings)
    tests = context.workdir / "screening" / content_id(parent.task.task_id, "visible")
    await asyncio.to_thread(write_tests, tests, parent.bundle.spec, parent.hidden())
    return await observe(
        context.sandboxes, image.tag, tests,
        state="base", patch=parent.bundle.gold_patch, limits=limits(context.settings),
        runtime=context.settings.runtime,
    )  # fmt: skip


def _draft(ready: Ready, visible: TestReport) -> Draft:
    parent = ready.parent
    states = [State(name="base", role="base"), State(name="gold", role="gold", patch="gold.patch")]
    states.append(State(name="gold_again", role="gold", patch="gold.patch"))
    patches = {"gold.patch": parent.bundle.gold_patch}
    wrong = [(f"mutant_{number}", "mutant", found.mutant) for number, found in enumerate(ready.mutants, 1)]
    if ready.alternative is not None:
        wrong.append(("other_words", "gold", ready.alternative))
    for name, role, mutant in wrong:
        patches[f"{name}.patch"] = parent.objects.diff(
            parent.base_tree, mutated_tree(parent, mutant.files, parent.solved_tree)
        )
        states.append(State.model_validate({"name": name, "role": role, "patch": f"{name}.patch"}))
    quarantined = {line.partition(" ")[2] for line in parent.task.quarantined}
    failing = {result.id for result in visible.results if result.status not in PASSING}
    spec = WrittenTestsSpec(
        schema=1,
        states=tuple(states),
        kill_share=KILL_SHARE,
        state_seconds=min(parent.bundle.spec.suite_seconds, max(LEAST_SECONDS, MARGIN * visible.seconds)),
        test_files=tuple(sorted({*_test_files(parent), *parent.hidden()})),
        test_folders=test_folders(parent),
        test_names=tuple(
            pattern for pattern, name in NAMES if toolchain(parent.task.language).is_test(f"src/some/{name}")
        ),
        known=tuple(sorted(result.id for result in visible.results)),
        ignored=tuple(sorted(failing | quarantined)),
    )
    instruction = _instruction(parent)
    hidden = {path: Entry(int(mode, 8), data) for path, (mode, data) in parent.hidden().items()}
    gold_patch = parent.objects.diff(parent.base_tree, parent.objects.replace(parent.base_tree, hidden))
    identity = spec.model_dump(mode="json", exclude={"state_seconds"})
    digests = {name: content_id(patch.hex()) for name, patch in patches.items()}
    task_id = content_id("transform", instruction, identity, digests, parent.task.environment_id)
    return Draft(ready, task_id, instruction, spec, patches, gold_patch)


def _instruction(parent: Parent) -> str:
    names = told.names(parent.task.instruction)
    listed = f"\nIt will bring these names, which do not exist yet:\n\n{names}\n" if names else ""
    return TEXT.format(
        repo=parent.task.repo, statement=told.statement(parent.task.instruction), names=listed,
        share="half" if KILL_SHARE == 0.5 else f"{KILL_SHARE:.0%}",
    )  # fmt: skip


def _test_files(parent: Parent) -> list[str]:
    return [path for path in parent.objects.tree(parent.base_tree) if parent.is_test(path)]


def test_folders(parent: Parent) -> tuple[str, ...]:
    """Outermost folders in which whatever lies there is a test's."""
    found: set[str] = set()
    for path in parent.gold:
        folders = [str(p) for p in reversed(PurePosixPath(path).parents) if str(p) != "."]
        held = next((folder for folder in folders if parent.is_test(f"{folder}/any.thing")), None)
        if held:
            found.add(held)
    return tuple(sorted(found))
