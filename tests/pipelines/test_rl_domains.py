"""What RL runs draw their prompts from: the warehouse's tasks, and the small family to learn on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from scripted_model import Raw, Use, by_turn, serving

from pipelines.rl.file_operations import (
    HELD_OUT,
    OPERATIONS,
    PAIRS,
    FileOperations,
    contents,
    held_out,
    wanted,
)
from pipelines.rl.tasks import WarehouseTasks
from training.forge.rl.domain import Unjudged, domain
from warehouse.errors import FactoryError
from warehouse.records import Task
from warehouse.settings import Settings


def test_domains_are_found_by_name() -> None:
    assert isinstance(domain("file-operations", {"only": "held-out"}), FileOperations)
    for name, options, said in (
        ("nothing", {}, "no domain 'nothing'"),
        ("file-operations", {"only": "some"}, "neither 'seen' nor 'held-out'"),
        ("file-operations", {"size": 3}, "does not take these options"),
        ("tasks", {"agent": "nobody"}, "no agent called 'nobody'"),
    ):
        with pytest.raises(FactoryError, match=said):
            domain(name, options)


def test_held_out_pairs_are_never_prompts_and_every_operation_is() -> None:
    apart = held_out(0)
    assert len(apart) == HELD_OUT
    seen, unseen = FileOperations().prompts(3), FileOperations(only="held-out").prompts(3)
    drawn = {tuple(next(seen).key.split()) for _ in range(3000)}
    assert drawn == set(PAIRS) - apart
    assert {tuple(next(unseen).key.split()) for _ in range(1000)} == apart
    assert {operation for operation, _ in drawn} == set(OPERATIONS)
    first, again = FileOperations().prompts(7), FileOperations().prompts(7)
    assert [next(first) for _ in range(50)] == [next(again) for _ in range(50)]


@pytest.fixture
async def files() -> AsyncIterator[FileOperations]:
    made = FileOperations()
    try:
        await made.open()
        yield made
    finally:
        await made.close()


@pytest.mark.docker
@pytest.mark.network
async def test_commands_are_carried_out_in_a_container(files: FileOperations) -> None:
    """Each operation's command does what the operation wants; another's does not, nor does none."""
    worker = files._worker
    assert worker is not None
    for operation, (command, _) in OPERATIONS.items():
        before = contents(operation)
        good, other, none = await asyncio.gather(
            worker.carried_out(f"{command} f03", before, again=True),
            worker.carried_out(f"{command} f04", before, again=False),
            worker.carried_out(f"{command} f03 ../../etc", before, again=False),
        )
        assert good == wanted(operation, "f03", before)
        assert other == wanted(operation, "f04", before) != good
        assert none == before
    assert worker.again == len(OPERATIONS)


@pytest.mark.docker
async def test_a_task_is_attempted_at_a_session_s_address(
    made: tuple[Settings, Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = made
    monkeypatch.setenv("VERIFACTORY_HOME", str(settings.home))
    solve = by_turn(Use("bash", {"command": "sed -i 's/a - b/a + b/' calc.py"}), Use("submit", {}))
    tasks = WarehouseTasks(where="true", turns=4)
    await tasks.open()
    try:
        assert next(tasks.prompts(0)).key == "t1"
        for script, score in ((solve, 1.0), (by_turn(Use("submit", {})), 0.0)):
            with serving(script, key=None) as endpoint:
                judged = await tasks.attempt("t1", endpoint.url, "a1")
            assert judged.score == score
            assert judged.evidence.startswith("submitted")
        with (
            serving(by_turn(Raw(404, "{}")), key=None) as endpoint,
            pytest.raises(Unjudged, match="no answer"),
        ):
            await tasks.attempt("t1", endpoint.url, "a2")
        with pytest.raises(Unjudged, match="no longer"):
            await tasks.attempt("t2", endpoint.url, "a3")
    finally:
        await tasks.close()
    assert not list((Path(settings.home) / "work").glob("*/objects.git"))
