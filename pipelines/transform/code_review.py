"""Code-review conversion: the parent's change with defects planted in it, to be found by reading.

Each defect is a mutation of what the change touched, and each was seen to make tests fail: it is a defect,
and not a matter of taste. What else may be wrong with upstream's change is not known, so a true finding about
it counts as a false one; the parent's tests passed on it, which is all that speaks against that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipelines.family import Attempts, Context, Control, Done, Mined, Rejected
from pipelines.swe import evidence
from pipelines.swe.filters import kind_of
from pipelines.transform import told
from pipelines.transform.converted import converted
from pipelines.transform.kind import Wanted, mined
from pipelines.transform.mutant import Mutant, combined, mutated_tree, spread_mutants, touched_mutants
from pipelines.transform.mutation import Mutation
from pipelines.transform.parent import Parent, changed_lines
from pipelines.transform.screen import Screen, Screened, run_mutant, screened
from verifiers import review
from verifiers.integrity.cheats import CATALOGUE
from verifiers.integrity.patch import patch, text
from verifiers.problems import Problem
from verifiers.review import ANSWER, Defect, ReviewSpec
from verifiers.tests.bundle import load
from verifiers.tests.grader import ObserveError
from verifiers.verdict import Submission
from warehouse.records import Task, content_id
from warehouse.settings import Settings

DEFECTS = 3
TRIED = 12
BLANKET = 0.4  # the most that flagging everything may earn
MOST_CHARACTERS = 60_000
GOLD_RUNS = 2
APART = 2 * review.WINDOW + 1
GRADING_SECONDS = 120.0

TEXT = """\
# {repo}

Review a change to `{repo}`. The code before the change is in `/app`, a git repository with one commit; there
is no network. Somebody wrote the change below to do this:

{statement}

The change does more than that: mistakes were made in writing it. Find them. Report what makes the program
behave wrongly, not what you would write in another way.

## The answer

Write `/app/{answer}`:

```json
{{"findings": [{{"file": "path/in/the/project", "line": 1, "claim": "what is wrong there"}}]}}
```

`line` counts in the file as it is after the change.

## How it is judged

Each finding that is at most {window} lines from a mistake counts as right, one finding for one mistake. The
more of the findings are right and the more of the mistakes are found, the better: {formula}.

## The change

```diff
{diff}
```
"""
FORMULA = "the score is the harmonic mean of the two shares"


@dataclass(frozen=True)
class Wish:
    """A parent, and mutants that could be planted in its change."""

    parent: Parent
    screen: Screen


@dataclass(frozen=True)
class Planted:
    """Defects in their place: the change to review, and where it is wrong."""

    parent: Parent
    found: Mined
    spec: ReviewSpec
    change: bytes


@dataclass(frozen=True)
class Draft:
    """The task, before its bundle is rendered and its controls are run."""

    planted: Planted
    task_id: str
    instruction: str


class CodeReview:
    """See `pipelines.transform.kind.Kind`."""

    name: ClassVar[str] = "code_review"

    def mine(self, parents: Sequence[Parent], options: Wanted) -> Iterator[Mined]:
        for parent in parents:
            touched = set(parent.touched())
            near = touched_mutants(parent, TRIED, f"review {options.seed}")
            known = {mutant.id for mutant in near}
            far = [
                mutant
                for mutant in spread_mutants(parent, 10 * TRIED, f"review {options.seed}")
                if set(mutant.files) <= touched and mutant.id not in known
            ]
            mutants = [*near, *far][:TRIED]
            yield mined(
                self, [parent], f"Review of {parent.candidate.title}",
                Wish(parent, Screen(parent, mutants, DEFECTS + 1)),
                key=[options.seed, [mutant.id for mutant in mutants]], detail={"mutants": len(mutants)},
                reason="" if mutants else "no_mutable_change",
            )  # fmt: skip

    async def build(self, found: Mined, value: Wish, context: Context) -> Done[Planted] | Rejected:
        """Choose mutants that can stand in one change, and see that they still are defects together."""
        parent = value.parent
        kept = await value.screen.all_kept(context)
        chosen = apart(parent, kept)[:DEFECTS]
        if not chosen:
            reasons = sorted({judged.reason for judged in value.screen.judged if judged.reason})
            return Rejected("no_defects", f"{len(value.screen.judged)} were tried: {', '.join(reasons)}")
        files, change = planted(parent, chosen)
        while chosen and worth_of_blanket(change, len(chosen)) > BLANKET:
            chosen = chosen[:-1]  # fewer mistakes among as many lines
            files, change = planted(parent, chosen)
        if not chosen:
            return Rejected("change_too_small", "flagging every line of it would be rewarded")
        if len(change) > MOST_CHARACTERS:
            return Rejected("too_large", f"the change has {len(change)} bytes")
        together = Mutant(content_id([c.mutant.id for c in chosen]), "planted", files)
        try:
            report = await run_mutant(parent, together, context)
        except ObserveError as error:
            return Rejected(error.reason, error.detail)
        seen = screened(parent, together, report)
        if seen.reason not in ("", "breaks_too_much"):
            return Rejected(seen.reason, f"planted together: {seen.detail}")
        return Done(Planted(parent, found, ReviewSpec(schema=1, defects=defects(parent, chosen)), change))

    async def compose(self, built: Planted, context: Context) -> Done[Draft] | Rejected:
        parent = built.parent
        try:
            shown = built.change.decode("utf-8")
        except UnicodeDecodeError:
            return Rejected("not_text", "the change is not UTF-8")
        instruction = TEXT.format(
            repo=parent.task.repo, statement=told.statement(parent.task.instruction), answer=ANSWER,
            window=built.spec.window, formula=FORMULA, diff=shown.rstrip("\n").replace("```", "'''"),
        )  # fmt: skip
        task_id = content_id(
            "transform", instruction, built.spec.model_dump(mode="json"), parent.task.environment_id
        )
        return Done(Draft(built, task_id, instruction))

    async def validate(self, draft: Draft, context: Context) -> Done[Task] | Rejected:
        planted = draft.planted
        tests = tuple(sorted({test for defect in planted.spec.defects for test in defect.tests}))
        return await converted(
            self, planted.parent, planted.found.candidate, context,
            task_id=draft.task_id, instruction=draft.instruction,
            spec=planted.parent.bundle.spec.model_copy(
                update={
                    "hidden": (), "deleted": (), "inversions": (), "pass_to_pass": (), "new": (),
                    "fail_to_pass": tests,
                    "suite_seconds": GRADING_SECONDS,
                }
            ),
            gold_patch=submission(gold_findings(planted.spec)).patch,
            more=review.files(planted.spec, planted.change),
            verifier_spec=planted.spec.model_dump(mode="json", by_alias=True), gold_runs=GOLD_RUNS,
            told={"defects": len(planted.spec.defects), "consistency": "none"},
        )  # fmt: skip

    def controls(self, bundle: Path) -> list[Control]:
        """The planted places earn the reward, silence nothing, and suspecting every line next to nothing."""
        spec = review.read(bundle)
        change = (bundle / review.CHANGE).read_bytes()
        everything = review.blanket(changed_lines(change), spec.window)
        worth = worth_of_blanket(change, len(spec.defects))
        return [
            Control("gold", Submission(patch=load(bundle).gold_patch), 1.0),
            Control("nop", Submission(), 0.0),
            Control("everything_flagged", submission(everything), worth),
        ]

    def partial(self, bundle: Path) -> Submission | None:
        found = gold_findings(review.read(bundle))
        return submission(found[:-1]) if len(found) > 1 else None

    def problems(self, bundle: Path, settings: Settings) -> tuple[Problem, ...]:
        return tuple(p for p in evidence.problems(bundle, settings) if p.code != "nothing_maintained")

    async def leaked(self, bundle: Path, context: Context) -> tuple[Problem, ...]:
        return await evidence.leaked(bundle, context)

    def attempts(self, bundle: Path) -> Attempts:
        why = "attacks a run of tests, and nothing of the project is run here"
        return Attempts((), {cheat.name: why for cheat in CATALOGUE})


def apart(parent: Parent, kept: Sequence[Screened]) -> list[Screened]:
    """Of the mutants kept, those that lie so far apart that a finding can mean but one of them, and that show
    in the change: what a mutation takes back of the gold patch is no line of it.
    """
    chosen: list[Screened] = []
    for found in kept:
        made = _mutation(found)
        lines = changed_lines(
            visible_change(parent, mutated_tree(parent, found.mutant.files, parent.solved_tree))
        )
        shows = lines.get(made.path, set()) & set(range(made.first, made.last + 1))
        if shows and all(
            other.path != made.path or made.first > other.last + APART or other.first > made.last + APART
            for other in map(_mutation, chosen)
        ):
            chosen.append(found)
    return chosen


def planted(parent: Parent, chosen: Sequence[Screened]) -> tuple[dict[str, bytes], bytes]:
    """The mutated files, and the change as it is shown."""
    files = combined(parent, [found.mutant for found in chosen])
    return files, visible_change(parent, mutated_tree(parent, files, parent.solved_tree))


def worth_of_blanket(change: bytes, mistakes: int) -> float:
    """What flagging every line earns: each mistake is found, at the price of all other findings."""
    findings = len(review.blanket(changed_lines(change), review.WINDOW))
    return round(2 * mistakes / (findings + mistakes), 6)


def defects(parent: Parent, chosen: Sequence[Screened]) -> tuple[Defect, ...]:
    """Where the mutations stand once all of them are in their files."""
    found: list[Defect] = []
    shift: dict[str, int] = {}
    for screened_mutant in sorted(chosen, key=lambda c: (_mutation(c).path, _mutation(c).start)):
        made = _mutation(screened_mutant)
        first = made.first + shift.get(made.path, 0)
        removed = parent.solved[made.path][made.start : made.end].count(b"\n")
        added = made.text.count(b"\n")
        found.append(
            Defect(
                path=made.path, first=first, last=first + added, kind=made.kind, tests=screened_mutant.failing
            )
        )
        shift[made.path] = shift.get(made.path, 0) + added - removed
    return tuple(found)


def visible_change(parent: Parent, tree: str) -> bytes:
    """The diff that a reviewer is shown: source files only."""
    base = dict(parent.objects.walk(parent.base_tree))
    changed = dict(parent.objects.walk(tree))
    differing = {path for path in base.keys() | changed.keys() if base.get(path) != changed.get(path)}
    left_out = {path: base.get(path) for path in differing if kind_of(path, parent.is_test) != "source"}
    return parent.objects.diff(parent.base_tree, parent.objects.replace(tree, left_out))


def gold_findings(spec: ReviewSpec) -> list[tuple[str, int, str]]:
    return [(defect.path, defect.first, f"planted: {defect.kind}") for defect in spec.defects]


def submission(findings: list[tuple[str, int, str]]) -> Submission:
    """A patch that adds the answer."""
    return Submission(patch=patch({}, {ANSWER: text(review.answer(findings).decode())}))


def _mutation(found: Screened) -> Mutation:
    assert found.mutant.mutation is not None
    return found.mutant.mutation
