"""A run that was cut off while a task was certified goes on at the certificate, not at the build."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from scripted_family import GOLD, Images, ScriptedFamily, ScriptedVerifier, made_task

from pipelines.factory import Quiet, Tally, mine, process_batch
from pipelines.family import Context, Done, Mined
from warehouse.loader import load
from warehouse.query import Reader
from warehouse.records import Candidate, Source, Task, TaskEvent, utcnow
from warehouse.settings import Settings


class Options(BaseModel):
    limit: int | None = None


@dataclass
class OneTask(ScriptedFamily):
    """One candidate, whose steps are counted."""

    task: Task | None = None
    calls: list[str] = field(default_factory=list)

    def mine(self, source: str, options: Any, settings: Settings) -> Iterator[Mined]:
        origin = Source(source_id="s1", kind="git", url="calc", revision="a", license="MIT", attribution="A")
        candidate = Candidate(
            candidate_id="c-t1", source_id="s1", family="swe", repo="calc", base_ref="a", gold_ref="b",
            title="Mend it", source_date=utcnow(), verdict="accepted",
        )  # fmt: skip
        yield Mined(origin, candidate, "change")

    async def build(self, mined: Mined, context: Context) -> Done[str]:
        self.calls.append("build")
        return Done("built")

    async def compose(self, built: str, context: Context) -> Done[str]:
        return Done("draft")

    async def validate(self, draft: str, context: Context) -> Done[Task]:
        assert self.task is not None
        event = TaskEvent(task_id=self.task.task_id, event="status", value="validated", run_id=context.run_id)
        return Done(self.task, records=(self.task.model_copy(update={"run_id": context.run_id}), event))


def run(family: OneTask, settings: Settings) -> Tally:
    tally = Tally("calc", "r9")
    todo = mine(family, "calc", Options(), settings, "r9", tally)
    context = Context(settings=settings, sandboxes=Images(), run_id="r9", workdir=settings.home)
    asyncio.run(process_batch(family, todo, context, "calc", tally, Quiet()))
    load(settings)
    return tally


def test_a_validated_task_is_not_built_again(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", parallel=1)
    elsewhere = Settings(home=tmp_path / "elsewhere")
    task = made_task(elsewhere, tmp_path)
    (settings.home / "bundles").mkdir(parents=True)
    (elsewhere.bundles / "t1").rename(settings.bundles / "t1")
    family = OneTask(ScriptedVerifier({GOLD}, broken={b"cheat 1"}), task=task)

    assert run(family, settings).stages["certify"] == {"failed": 1}
    assert family.calls == ["build"]  # also not for the second try of the same run
    state = "SELECT status FROM task_overview"
    assert Reader(settings).sql(state).rows == [("validated",)]

    family.graded.broken.clear()
    tally = run(family, settings)
    assert (tally.stages["publish"], family.calls) == ({"ok": 1}, ["build"])
    assert Reader(settings).sql(state).rows == [("published",)]
    stages = "SELECT stage, attempt, outcome FROM events WHERE stage <> 'mine' ORDER BY recorded_at"
    assert [row for row in Reader(settings).sql(stages).rows if row[0] in ("certify", "publish")] == [
        ("certify", 1, "failed"), ("certify", 2, "failed"), ("certify", 3, "ok"), ("publish", 3, "ok"),
    ]  # fmt: skip
    assert run(family, settings).resumed == 1
