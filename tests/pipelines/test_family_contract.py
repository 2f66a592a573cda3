"""The contract of DESIGN: every installed family passes this suite.

A family brings a `Case` in `CASES`: options over a small source of our own, what each candidate must end as,
and a submission that cannot be graded. The suite runs the factory floor itself, with real sandboxes.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import upstream_tasks
from calc_repo import EXPECTED, QUARANTINED, make
from pydantic import ValidationError

from envs.docker.backend import DockerBackend
from pipelines.certification import certify_tasks, publish_tasks
from pipelines.factory import UNCERTIFIED, Quiet, Tally, mine, process_batch, run_id
from pipelines.family import Context, families, family
from pipelines.verify import verify_tasks
from verifiers.verdict import Submission, VerdictKind
from warehouse.errors import FactoryError
from warehouse.loader import load
from warehouse.query import Reader
from warehouse.records import Task
from warehouse.settings import Settings


@dataclass(frozen=True)
class Case:
    """One family's small source."""

    options: Callable[[Path], dict[str, Any]]
    bad_options: Callable[[Path], dict[str, Any]]
    expected: dict[str, tuple[str, str, str]]
    """Words of a candidate's title → (deciding stage, outcome, reason)."""
    quarantined: set[tuple[str, ...]]
    """What tasks of the case must have set aside."""
    malformed: Submission
    settings: dict[str, Any]
    prepare: Callable[[Path, Settings], None] = lambda folder, settings: None
    """What must be in the home before: another family's tasks."""


CASES = {
    "office": Case(
        options=lambda folder: {"domain": ("lending",), "seeds": 1, "limit": 1},
        bad_options=lambda folder: {"domain": ("statements",), "level": ("easy",), "seeds": 1},
        expected={"loan_schedule, loan_totals": ("validate", "ok", "")},
        quarantined={()},
        malformed=Submission(
            patch=b"diff --git a/term_loan.xlsx b/term_loan.xlsx\nGIT binary patch\nnonsense\n"
        ),
        settings={"suite_seconds": 300},
    ),
    "swe": Case(
        options=lambda folder: {"source": "git", "repo": (make(folder / "calc"),)},
        bad_options=lambda folder: {"source": "git", "repo": (folder / "nothing-here",)},
        expected=EXPECTED,
        quarantined={QUARANTINED},
        malformed=Submission(
            patch=b"diff --git a/calc/x.py b/calc/x.py\n--- a/calc/x.py\n+++ b/calc/x.py\n@@ nonsense\n"
        ),
        settings={"test_seconds": 4, "suite_seconds": 120, "runs_per_side": 3},
    ),
    "transform": Case(
        options=lambda folder: {
            "where": "family = 'swe' AND source_date < '2024-03-06'",
            "kind": ("bug_injection", "commit_merge"),
            "variants": 1,
            "mutants": 2,
            "seed": 3,
        },
        bad_options=lambda folder: {"where": "no_such_column = 1"},
        prepare=upstream_tasks.place,
        expected={
            "(mean), of Add product": ("validate", "ok", ""),
            "(product), of Add product": ("build", "rejected", "enough_variants"),
            "(mean), of Digits": ("validate", "ok", ""),
            "(digits), of Digits": ("build", "rejected", "enough_variants"),
            "merged": ("validate", "ok", ""),
        },
        quarantined={()},  # what wavered for a parent is not asked again
        malformed=Submission(
            patch=b"diff --git a/calc/x.py b/calc/x.py\n--- a/calc/x.py\n+++ b/calc/x.py\n@@ nonsense\n"
        ),
        settings={"test_seconds": 4, "suite_seconds": 120, "runs_per_side": 2},
    ),
}  # fmt: skip


MADE = "family = $family ORDER BY source_date, kind, task_id"


def test_every_installed_family_has_a_case() -> None:
    assert set(CASES) == set(families())


@dataclass(frozen=True)
class Made:
    """A case after its run."""

    name: str
    case: Case
    settings: Settings
    options: Any
    source: str
    run: str
    tasks: list[Task]
    folder: Path


@pytest.fixture(scope="module", params=sorted(CASES))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, docker: object) -> Made:
    """Every candidate of the case, taken through every step."""
    name = request.param
    case, folder = CASES[name], tmp_path_factory.mktemp(name)
    settings = Settings(home=folder / "home", certify=False, **case.settings)
    case.prepare(folder, settings)
    chosen = family(name)
    options = chosen.Options.model_validate(case.options(folder))
    (source,) = chosen.inputs(options)
    run = run_id(name, source, options.identity())
    asyncio.run(_run(name, source, options, settings, run, folder))
    reader = Reader(settings)
    columns = ", ".join(Task.model_fields)
    result = reader.sql(f"SELECT {columns} FROM tasks WHERE {MADE}", {"family": name})
    tasks = [Task.model_validate(dict(zip(result.columns, row, strict=True))) for row in result.rows]
    return Made(name, case, settings, options, source, run, tasks, folder)


async def _run(name: str, source: str, options: Any, settings: Settings, run: str, folder: Path) -> Tally:
    chosen = family(name)
    tally = Tally(source, run)
    todo = mine(chosen, source, options, settings, run, tally)
    backend = DockerBackend(settings)
    try:
        context = Context(settings=settings, sandboxes=backend, run_id=run, workdir=folder / "work")
        await process_batch(chosen, todo, context, source, tally, Quiet())
    finally:
        await backend.close()
    load(settings)
    return tally


def _counts(settings: Settings) -> dict[str, int]:
    reader = Reader(settings)
    tables = (
        "sources",
        "candidates",
        "environments",
        "tasks",
        "task_events",
        "test_outcomes",
        "validations",
        "events",
    )
    return {table: reader.sql(f"SELECT count(*) FROM {table}").rows[0][0] for table in tables}


@pytest.mark.docker
@pytest.mark.network
class TestContract:
    def test_options_refuse_unknown_keys(self, made: Made) -> None:
        with pytest.raises(ValidationError, match="extra"):
            family(made.name).Options.model_validate({**made.options.model_dump(), "no_such_option": 1})

    def test_bad_input_is_one_sentence(self, made: Made, tmp_path: Path) -> None:
        chosen = family(made.name)
        options = chosen.Options.model_validate(made.case.bad_options(tmp_path))
        (source,) = chosen.inputs(options)
        with pytest.raises(FactoryError) as caught:
            list(chosen.mine(source, options, made.settings))
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith(".")

    def test_mining_is_pure_and_complete(self, made: Made) -> None:
        chosen = family(made.name)
        first, second = (list(chosen.mine(made.source, made.options, made.settings)) for _ in range(2))
        assert [m.candidate.candidate_id for m in first] == [m.candidate.candidate_id for m in second]
        assert first
        for mined in first:
            assert mined.source.source_id == mined.candidate.source_id
            assert mined.source.kind
            if mined.candidate.verdict == "accepted":
                assert mined.source.license
                assert mined.source.attribution
                assert mined.change is not None
            else:
                assert mined.candidate.reason

    def test_every_candidate_ends_as_expected(self, made: Made) -> None:
        rows = Reader(made.settings).sql(
            "SELECT c.title, e.stage, e.outcome, e.reason, e.detail FROM events e "
            "JOIN candidates c ON c.candidate_id = e.item WHERE e.stage <> 'mine' AND c.family = $family "
            "ORDER BY e.recorded_at",
            {"family": made.name},
        )
        last = {row[0]: row[1:] for row in rows.rows}
        assert len(last) == len(made.case.expected)
        for words, ending in made.case.expected.items():
            (told,) = [value for title, value in last.items() if words in title]
            assert told[:3] == ending, (words, told)

    def test_what_wavers_is_quarantined_with_its_reason(self, made: Made) -> None:
        assert {task.quarantined for task in made.tasks} == made.case.quarantined
        for task in made.tasks:
            assert not set(task.pass_to_pass) & {line.split(" ", 1)[1] for line in task.quarantined}

    def test_every_stage_of_every_item_is_an_event(self, made: Made) -> None:
        rows = Reader(made.settings).sql(
            "SELECT item, list(stage ORDER BY recorded_at), list(outcome ORDER BY recorded_at) "
            "FROM events GROUP BY item"
        )
        for _, stages, outcomes in rows.rows:
            assert stages[0] == "mine"
            assert tuple(stages[1:]) == UNCERTIFIED[: len(stages) - 1]
            assert all(outcome == "ok" for outcome in outcomes[:-1])

    def test_gold_scores_one_and_nop_zero_every_time(self, made: Made) -> None:
        assert made.tasks
        steady = "SELECT sum(runs), sum(wavered) FROM flaky WHERE state = 'after'"
        ((runs, wavered),) = Reader(made.settings).sql(steady).rows
        rows = asyncio.run(verify_tasks(made.settings, made.tasks[:2], runs=2, told=lambda _: None))
        assert {(row["control"], row["reward"], row["verdict"]) for row in rows} == {
            ("gold", 1.0, "scored"),
            ("nop", 0.0, "scored"),
        }
        assert len(rows) == 2 * 2 * len(made.tasks[:2])
        pooled = Reader(made.settings).sql(steady).rows
        assert [tuple(row) for row in pooled] == [(runs + 2 * len(made.tasks[:2]), wavered)]

    def test_a_task_withstands_every_cheat_and_goes_out(self, made: Made) -> None:
        """Certified against its own grader, and published; its certificate holds what was seen."""
        (ending,) = asyncio.run(certify_tasks(made.settings, made.tasks[:1], ended=lambda _: None))
        assert (ending.outcome, ending.reason) == ("certified", ""), ending.detail
        assert ending.certificate is not None
        assert ending.certificate.cheats > 0
        assert ending.certificate.succeeded == 0
        exploits = Reader(made.settings).sql("SELECT sum(gradings), sum(succeeded) FROM exploits").rows
        assert exploits[0][0] > 0
        assert exploits[0][1] == 0
        (published,) = asyncio.run(publish_tasks(made.settings, made.tasks[:1]))
        assert (published.outcome, published.reason) == ("published", "")

    def test_a_malformed_submission_scores_zero_and_is_called_so(self, made: Made) -> None:
        async def grade() -> None:
            backend = DockerBackend(made.settings)
            try:
                verifier = family(made.name).verifier(made.settings)
                bundle = made.settings.bundles / made.tasks[0].task_id
                for _ in range(2):
                    verdict = await verifier.grade(bundle, made.case.malformed, backend)
                    assert (verdict.kind, verdict.reward) == (VerdictKind.MALFORMED, 0.0)
            finally:
                await backend.close()

        asyncio.run(grade())

    def test_an_edited_bundle_is_refused(self, made: Made, tmp_path: Path) -> None:
        bundle = tmp_path / "bundle"
        shutil.copytree(made.settings.bundles / made.tasks[0].task_id, bundle)
        with (bundle / "instruction.md").open("a") as file:
            file.write("The answer is 42.\n")
        with pytest.raises(FactoryError, match="changed"):
            family(made.name).controls(bundle)

    def test_running_again_adds_nothing(self, made: Made, tmp_path: Path) -> None:
        before = _counts(made.settings)
        tally = asyncio.run(_run(made.name, made.source, made.options, made.settings, made.run, tmp_path))
        assert tally.resumed == len(made.case.expected)
        assert _counts(made.settings) == before

    def test_a_lost_ledger_gives_the_same_tasks(self, made: Made, tmp_path: Path) -> None:
        """Done from nothing again, in another home, the same source gives the same candidates and ids."""
        settings = Settings(home=tmp_path / "home", certify=False, **made.case.settings)
        made.case.prepare(made.folder, settings)
        asyncio.run(_run(made.name, made.source, made.options, settings, made.run, tmp_path))
        ids = Reader(settings).sql(f"SELECT task_id FROM tasks WHERE {MADE}", {"family": made.name}).rows
        assert [row[0] for row in ids] == [task.task_id for task in made.tasks]
