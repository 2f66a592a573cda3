"""Conversions made of real validated tasks, and how mutants of such a task are judged."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Sequence

import pytest
import upstream_tasks

from envs.reports import TestReport, TestResult, TestStatus
from pipelines.selection import recorded_tasks
from pipelines.transform import told
from pipelines.transform.code_review import BLANKET, apart, defects
from pipelines.transform.commit_merge import gap_between, pairs
from pipelines.transform.family import TransformFamily, TransformOptions
from pipelines.transform.mutant import Mutant, spread_mutants, touched_mutants
from pipelines.transform.parent import Parent, changed_lines, load_parents
from pipelines.transform.screen import Screen, Screened, screened
from verifiers import review, swe_test
from verifiers.tests.bundle import load
from warehouse.query import Reader
from warehouse.records import Task
from warehouse.settings import Settings

pytestmark = [pytest.mark.docker, pytest.mark.network]
LARGEST = "family = 'swe' AND source_date > '2024-03-06'"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, docker: object) -> Settings:
    """A home with three upstream tasks, of which the newest was converted."""
    folder = tmp_path_factory.mktemp("conversions")
    made = Settings(home=folder / "home", certify=False, test_seconds=4, suite_seconds=120, runs_per_side=2)
    upstream_tasks.place(folder, made)
    options = TransformOptions(where=LARGEST, kind=("swe_test", "code_review"), mutants=3)
    asyncio.run(upstream_tasks.run(TransformFamily(), options, made, folder / "work"))
    return made


@pytest.fixture(scope="module")
def parents(settings: Settings) -> list[Parent]:
    """Older first."""
    tasks = recorded_tasks(settings, "t.family = 'swe'")
    return load_parents(settings, sorted(tasks, key=lambda task: task.source_date))


def _made(settings: Settings, kind: str) -> Task:
    (task,) = recorded_tasks(settings, "t.family = 'transform' AND t.kind = $kind", {"kind": kind})
    return task


def _controls(settings: Settings, task: Task) -> dict[str, set[tuple[str, float, bool]]]:
    rows = Reader(settings).sql(
        "SELECT control, verdict, reward, passed FROM validations WHERE task_id = $task",
        {"task": task.task_id},
    )
    found: dict[str, set[tuple[str, float, bool]]] = {}
    for control, verdict, reward, passed in rows.rows:
        found.setdefault(control, set()).add((verdict, reward, passed))
    return found


class TestConversions:
    def test_a_task_of_writing_tests(self, settings: Settings, parents: list[Parent]) -> None:
        task, parent = _made(settings, "swe_test"), parents[-1]
        assert task.parent == parent.task.task_id
        assert _controls(settings, task) == {
            "gold": {("scored", 1.0, True)},
            "nop": {("scored", 0.0, True)},
            "passes_everywhere": {("scored", 0.0, True)},
            "fails_everywhere": {("scored", 0.0, True)},
        }
        spec = swe_test.read(settings.bundles / task.task_id)
        roles = [state.role for state in spec.states]
        assert roles.count("base") == 1
        assert roles.count("gold") == 3  # twice as it is, once in other words
        assert roles.count("mutant") >= 1
        assert spec.test_folders == ("tests",)
        assert "tests/test_stats.py" in task.gold_patch
        assert "def median" not in task.gold_patch
        assert told.statement(parent.task.instruction) in task.instruction
        assert "`median(values)`" in task.instruction
        assert "middle - 1" not in task.instruction

    def test_a_review(self, settings: Settings, parents: list[Parent]) -> None:
        task, parent = _made(settings, "code_review"), parents[-1]
        assert task.parent == parent.task.task_id
        spec = review.read(settings.bundles / task.task_id)
        controls = _controls(settings, task)
        assert controls["gold"] == {("scored", 1.0, True)}
        assert controls["nop"] == {("scored", 0.0, True)}
        ((_, everything, passed),) = controls["everything_flagged"]
        assert passed
        assert everything <= BLANKET
        # Every planted place is a line of the change that is shown, and failed tests when it was planted.
        change = (settings.bundles / task.task_id / review.CHANGE).read_bytes()
        for defect in spec.defects:
            assert changed_lines(change)[defect.path] & set(range(defect.first, defect.last + 1))
            assert set(defect.tests) & parent.steady
        assert change.decode() in task.instruction

    def test_bundles_tell_their_lineage(self, settings: Settings, parents: list[Parent]) -> None:
        for kind in ("swe_test", "code_review"):
            bundle = settings.bundles / _made(settings, kind).task_id
            metadata = tomllib.loads((bundle / "task.toml").read_text())["metadata"]
            assert metadata["transformation"] == kind
            assert metadata["parents"] == [parents[-1].task.task_id]
            assert metadata["license"] == "MIT"
            assert load(bundle).gold_patch

    def test_problems_and_attempts_are_those_of_the_kind(self, settings: Settings) -> None:
        family = TransformFamily()
        written, reviewed = (
            settings.bundles / _made(settings, kind).task_id for kind in ("swe_test", "code_review")
        )
        assert {trial.name for trial in family.attempts(written).trials} == {"knows_the_base", "keeps_notes"}
        assert not family.attempts(reviewed).trials
        for bundle in (written, reviewed):
            errors = [p for p in family.problems(bundle, settings) if p.severity == "error"]
            assert not errors


class TestParents:
    def test_trees_are_those_of_the_bundle(self, parents: list[Parent]) -> None:
        newer = parents[-1]
        assert b"def median" in newer.solved["calc/stats.py"]
        assert "tests/test_stats.py" not in newer.solved
        assert "tests/test_stats.py" in newer.gold
        assert newer.objects.diff(newer.base_tree, newer.solved_tree) == newer.bundle.gold_patch

    def test_neighbours_are_found_by_their_trees(self, parents: list[Parent]) -> None:
        first, older, newer = parents
        ids = [(a.task.task_id, b.task.task_id) for a, b in pairs(parents)]
        assert ids == [(first.task.task_id, older.task.task_id), (older.task.task_id, newer.task.task_id)]
        assert gap_between(older, newer) == ""
        assert "files differ" in gap_between(newer, older)

    def test_mutants_of_a_change_lie_in_what_it_touched(self, parents: list[Parent]) -> None:
        mutants = touched_mutants(parents[-1], 50, "0")
        assert mutants
        assert {m.mutation.path for m in mutants if m.mutation} == {"calc/stats.py"}
        everywhere = spread_mutants(parents[-1], 100, "0")
        names = {m.mutation.function for m in everywhere if m.mutation}
        assert names == {"digits", "mean", "product", "median", "spread", "histogram", "longest_run"}


def _report(parent: Parent, failing: dict[str, TestStatus], missing: Sequence[str] = ()) -> TestReport:
    results = tuple(
        TestResult(id=test, status=failing.get(test, TestStatus.PASSED))
        for test in sorted(parent.steady)
        if test not in missing
    )
    return TestReport(results=results, exit_code=1, outcome="finished")


class TestScreening:
    """What one run says of a mutant, and what those before it say. Nothing is run here."""

    FAILED, TIMEOUT = TestStatus.FAILED, TestStatus.TIMEOUT

    def _reason(self, parent: Parent, report: TestReport) -> str:
        return screened(parent, Mutant("m", "off_by_one", {}), report).reason

    def test_a_mutant_is_kept_when_some_tests_fail_and_others_pass(self, parents: list[Parent]) -> None:
        parent = parents[-1]
        tests = sorted(parent.steady)
        kept = screened(parent, Mutant("m", "k", {}), _report(parent, {tests[0]: self.FAILED}))
        assert (kept.reason, kept.failing) == ("", (tests[0],))
        assert self._reason(parent, _report(parent, {})) == "survived"
        assert self._reason(parent, _report(parent, dict.fromkeys(tests, self.FAILED))) == "breaks_everything"
        most = dict.fromkeys(tests[:-1], self.FAILED)
        assert self._reason(parent, _report(parent, most)) == "breaks_too_much"
        assert self._reason(parent, _report(parent, {}, missing=tests[:1])) == "breaks_collection"
        assert self._reason(parent, _report(parent, dict.fromkeys(tests[:3], self.TIMEOUT))) == "hangs"

    def test_a_second_one_with_the_same_failures_is_not(self, parents: list[Parent]) -> None:
        screen = Screen(parents[-1], [], wanted=2)
        for number, failing in enumerate([("a",), ("a",), ("b",), ("c",)]):
            screen.judged.append(screen._judge(Screened(Mutant(str(number), "k", {}), failing=failing)))
        assert [found.reason for found in screen.judged] == ["", "same_behaviour", "", "enough_variants"]

    def test_planted_defects_lie_apart_and_are_counted_in_the_new_file(self, parents: list[Parent]) -> None:
        parent = parents[-1]
        kept = [Screened(mutant, failing=("t",)) for mutant in touched_mutants(parent, 50, "0")]
        chosen = apart(parent, kept)
        assert 2 <= len(chosen) < len(kept)
        made = [found.mutant.mutation for found in chosen]
        assert {d.first for d in defects(parent, chosen)} == {m.first for m in made if m is not None}


def test_an_instruction_is_taken_apart_again(parents: list[Parent]) -> None:
    text = parents[-1].task.instruction
    assert told.statement(text).startswith("Add statistics")
    assert "`median(values)`" in told.names(text)
    assert "judged" not in told.statement(text)
