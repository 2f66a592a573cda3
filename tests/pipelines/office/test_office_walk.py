"""Walks: the same every time, every operation reached, and every task true by the in-process grader."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from itertools import islice

import pytest
from pydantic import ValidationError

from pipelines.office.family import OfficeFamily, OfficeOptions
from pipelines.office.phrasing import PHRASES
from pipelines.office.seeds import NAMES, seed
from pipelines.office.walk import OPERATIONS, WalkTask, walk
from verifiers.spreadsheet.child import WarmChild, grade_job
from verifiers.spreadsheet.spec import Formula, Perturbation
from warehouse.errors import FactoryError
from warehouse.settings import Settings

DOMAINS = ("sales", "energy", "lending", "projects", "venture", "statements")


@pytest.fixture(scope="module")
def child() -> Iterator[WarmChild]:
    with WarmChild() as warm:
        yield warm


@pytest.fixture(scope="module", params=DOMAINS)
def task(request: pytest.FixtureRequest) -> WalkTask:
    return next(walk(request.param, 5))


def test_there_are_many_operations_and_businesses() -> None:
    names = [operation.name for operation in OPERATIONS]
    assert len(set(names)) == len(names) >= 25
    assert len(NAMES) >= 10


@pytest.mark.parametrize("domain", NAMES)
def test_a_seed_is_the_same_workbook_every_time(domain: str) -> None:
    first, second = seed(domain, 3), seed(domain, 3)
    assert first.save() == second.save()
    assert first.save() != seed(domain, 4).save()
    assert len(first.workbook().sheetnames) >= 1


def test_a_walk_is_the_same_every_time() -> None:
    first, second = (list(walk("clinic", 2)) for _ in range(2))
    assert first == second
    assert len(first) > 1
    assert [task.segment for task in first] == list(range(len(first)))


def test_a_state_reached_is_the_next_seed() -> None:
    first, second = islice(walk("sales", 1), 2)
    assert second.original == first.reference


def test_every_operation_can_be_told() -> None:
    """Each operation, done by itself where its workbook lets it, has phrases for all that it says."""
    told = set()
    for domain in NAMES:
        for number in range(3):
            state = seed(domain, number)
            for operation in OPERATIONS:
                fresh = operation.plan(seed(domain, number), random.Random(number))
                step = operation.plan(state, random.Random(number)) or fresh
                if step is not None:
                    for voice in PHRASES[step.operation]:
                        assert "{" not in voice.format_map(
                            {key: str(value) for key, value in step.say.items()}
                        )
                    told.add(operation.name)
    assert told == {operation.name for operation in OPERATIONS}


def test_the_instruction_says_where_everything_stands(task: WalkTask) -> None:
    assert f"/app/{task.file}" in task.instruction
    for check in task.spec.checks:
        if isinstance(check, Formula):
            assert check.sheet in task.instruction


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="graded in process on Linux only")
def test_a_task_holds(task: WalkTask, child: WarmChild) -> None:
    job = grade_job(task.spec, task.file)
    reference = child.ask(job, task.reference)
    assert reference["reward"] == 1.0, reference
    changed = [check for check in reference["checks"] if check["name"].startswith("with changed inputs")]
    assert len(changed) == sum(isinstance(check, Perturbation) for check in task.spec.checks) == 2
    assert child.ask(job, task.original)["reward"] == 0.0
    if task.partial is not None:
        assert child.ask(job, task.partial)["reward"] == 0.0


def test_options_are_read() -> None:
    family = OfficeFamily()
    options = OfficeOptions(domain=("lending", "venture"), seeds=1)
    found = list(family.mine("generated workbooks", options, Settings()))
    assert {mined.candidate.repo for mined in found} == {"office/lending", "office/venture"}
    assert all(mined.source.license == "CC0-1.0" for mined in found)
    with pytest.raises(FactoryError, match="no source"):
        list(family.mine("elsewhere", options, Settings()))
    with pytest.raises(ValidationError, match="choose of"):
        OfficeOptions(domain=("astrology",))
