"""The factory floor: takes candidates of one source through a family's steps, and keeps the ledger.

Prefect schedules (see `pipelines.flows`); nothing here imports it. One *shard* is one source as the user
named it. Its run id is a hash of family and source, so the same command run again finds its own events and
goes on where it stopped:

- an item is *decided* once it has an `ok` event at its last stage or a `rejected` event anywhere; it is never
  touched again (the last stage is `publish`, or `validate` where the settings say not to certify);
- an item whose last event is `failed` (infrastructure) is tried again, as the next attempt;
- what an item produced until it was validated is flushed as one outbox unit, and what followed as another, so
  a kill leaves each wholly recorded or not at all; what was validated goes on from there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from envs.model import Usage, metered
from envs.sandbox import SandboxError
from pipelines.certify import Turns, certify
from pipelines.family import Context, Done, Family, Mined, Rejected
from pipelines.publish import publish
from pipelines.selection import recorded_tasks
from warehouse.errors import FactoryError
from warehouse.loader import load
from warehouse.outbox import Outbox
from warehouse.query import Reader
from warehouse.records import Event, Flake, Record, Task, content_id
from warehouse.settings import Settings

STAGES = ("build", "compose", "validate", "certify", "publish")
UNCERTIFIED = STAGES[:3]
VALIDATED = UNCERTIFIED[-1]
# A daemon hiccup should not cost a task, and a broken daemon should not cost an hour.
TRIES = 2


@runtime_checkable  # Prefect reads it off the flow's signature
class Progress(Protocol):
    """Who is told what a shard does, while it does it."""

    def mined(self, items: int) -> None:
        """Mining ended; `items` candidates will be taken through the stages."""
        ...

    def stage(self, item: str, stage: str, outcome: str) -> None:
        """A stage of an item ended with `outcome`, or begins ('…')."""
        ...

    def ended(self, item: str) -> None:
        """The item is decided, or out of tries."""
        ...


class Quiet:
    """The progress of a run that nobody watches: the warehouse has it."""

    def mined(self, items: int) -> None: ...

    def stage(self, item: str, stage: str, outcome: str) -> None: ...

    def ended(self, item: str) -> None: ...


def stages(settings: Settings) -> tuple[str, ...]:
    """The stages that an item goes through: the family's, then those that are the same for every family."""
    return STAGES if settings.certify else UNCERTIFIED


def run_id(family: str, source: str, options_key: object, again: str = "") -> str:
    """The id of a shard's run: the same source mined the same way is the same run."""
    short = "".join(c if c.isalnum() else "-" for c in source.rstrip("/").rsplit("/", 1)[-1])[:30].strip("-")
    return f"{family}-{short}-{content_id(family, source, options_key, again)[:8]}"


@dataclass(frozen=True)
class Ledger:
    """What a run has decided so far: per item its terminal outcome, or the number of attempts at it, and the
    task that it was validated as with the seconds that took.
    """

    decided: dict[str, str]
    attempts: dict[str, int]
    validated: dict[str, tuple[Task, float]]

    @classmethod
    def read(cls, settings: Settings, run: str) -> Ledger:
        """Load what lies in the outbox, then read the run's events."""
        load(settings)
        query = """
            SELECT item, stage, attempt, outcome, seconds FROM events
            WHERE run_id = $run ORDER BY item, attempt, recorded_at
        """
        seconds: dict[str, float] = {}
        decided: dict[str, str] = {}
        attempts: dict[str, int] = {}
        for item, stage, attempt, outcome, took in Reader(settings).sql(query, {"run": run}).rows:
            if stage != "mine":
                attempts[item] = max(attempts.get(item, 0), attempt)
            if stage == VALIDATED and outcome == "ok":
                seconds[item] = took
            if outcome == "rejected" or (stage == stages(settings)[-1] and outcome == "ok"):
                decided[item] = outcome
        open_items = [item for item in seconds if item not in decided]
        tasks = recorded_tasks(
            settings, "t.candidate_id IN (SELECT unnest($items)) AND t.run_id = $run",
            {"items": open_items, "run": run},
        )  # fmt: skip
        validated = {task.candidate_id: (task, seconds[task.candidate_id]) for task in tasks}
        return cls(decided, attempts, validated)


@dataclass
class Tally:
    """What a shard yielded, for the terminal and the Prefect artifact."""

    source: str
    run_id: str
    stages: dict[str, dict[str, int]] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    resumed: int = 0

    def add(self, stage: str, outcome: str, reason: str = "") -> None:
        per_stage = self.stages.setdefault(stage, {})
        per_stage[outcome] = per_stage.get(outcome, 0) + 1
        if reason:
            key = f"{stage}: {reason}"
            self.reasons[key] = self.reasons.get(key, 0) + 1


def mine(
    family: Family, source: str, options: Any, settings: Settings, run: str, tally: Tally
) -> list[Mined]:
    """Mine a source; record every candidate; return those accepted and not yet decided, newest first."""
    ledger = Ledger.read(settings, run)
    outbox = Outbox(settings)
    todo: list[Mined] = []
    try:
        for mined, seconds in _timed(_mined(family, source, options, settings)):
            candidate = mined.candidate
            accepted = candidate.verdict == "accepted"
            tally.add("mine", "ok" if accepted else "rejected", candidate.reason)
            if candidate.candidate_id in ledger.decided:
                tally.resumed += 1
                continue
            outbox.append(
                [
                    mined.source,
                    candidate,
                    Event(
                        run_id=run, flow=family.name, stage="mine", item=candidate.candidate_id,
                        source=source, outcome="ok" if accepted else "rejected", reason=candidate.reason,
                        seconds=seconds,
                    ),
                ]
            )  # fmt: skip
            if accepted:
                todo.append(mined)
    except FactoryError as error:
        # What was mined until then stays recorded, and so does why it ended.
        outbox.append([_source_event(family, source, run, ledger, error)])
        outbox.flush()
        load(settings)
        raise
    if source in ledger.attempts:
        outbox.append([_source_event(family, source, run, ledger, None)])
    outbox.flush()
    return todo


def _source_event(family: Family, source: str, run: str, ledger: Ledger, error: FactoryError | None) -> Event:
    """That a source as a whole could not be mined; or, after such events, that it could."""
    return Event(
        run_id=run, flow=family.name, stage="source", item=source, source=source,
        attempt=ledger.attempts.get(source, 0) + 1, outcome="failed" if error else "ok",
        reason=error.reason if error else "", detail=str(error or "")[:2000],
    )  # fmt: skip


def _timed(mined: Iterator[Mined]) -> Iterator[tuple[Mined, float]]:
    """Each candidate with the seconds that it took."""
    started = time.monotonic()
    for item in mined:
        yield item, time.monotonic() - started
        started = time.monotonic()


def _mined(family: Family, source: str, options: Any, settings: Settings) -> Iterator[Mined]:
    """The family's candidates, at most `options.limit` accepted ones."""
    accepted = 0
    for mined in family.mine(source, options, settings):
        yield mined
        accepted += mined.candidate.verdict == "accepted"
        if options.limit is not None and accepted >= options.limit:
            return


async def process_batch(
    family: Family, batch: list[Mined], context: Context, source: str, tally: Tally, progress: Progress
) -> None:
    """Take every item of a batch through all steps, `settings.parallel` at a time; flush each as it ends."""
    gate, turns = asyncio.Semaphore(context.settings.parallel), Turns(context.settings)
    ledger = Ledger.read(context.settings, context.run_id)

    async def one(mined: Mined) -> None:
        async with gate:
            item = mined.candidate.candidate_id
            await process(
                family, mined, context, source, tally, progress, turns,
                first_attempt=ledger.attempts.get(item, 0) + 1, validated=ledger.validated.get(item),
            )  # fmt: skip

    async with asyncio.TaskGroup() as group:
        for mined in batch:
            group.create_task(one(mined))


async def process(
    family: Family,
    mined: Mined,
    context: Context,
    source: str,
    tally: Tally,
    progress: Progress,
    turns: Turns,
    *,
    first_attempt: int = 1,
    validated: tuple[Task, float] | None = None,
) -> None:
    """Take one candidate through every stage, or through those after validation if that was recorded."""
    item = mined.candidate.candidate_id
    outbox = Outbox(context.settings)
    for attempt in range(first_attempt, first_attempt + TRIES):
        line = _Line(family, context, mined, turns)
        todo = stages(context.settings)
        if validated is not None:
            line.done[VALIDATED] = _Timed(Done(validated[0]), validated[1])
            todo = todo[todo.index(VALIDATED) + 1 :]
        for stage in todo:
            progress.stage(item, stage, "…")
            outcome, result = await line.step(stage)
            records, reason, detail = _told(result)
            outbox.append(
                [
                    *records,
                    Event(
                        run_id=context.run_id, flow=family.name, stage=stage, item=item, attempt=attempt,
                        source=source, outcome=outcome, reason=reason, detail=detail[:2000],
                        seconds=result.seconds, tokens=result.usage.tokens, cost_usd=result.usage.cost_usd,
                    ),
                ]
            )  # fmt: skip
            progress.stage(item, stage, outcome)
            if outcome != "ok":
                break
            if stage == VALIDATED:
                outbox.flush()
                validated = line.done[VALIDATED].value.value, result.seconds
        outbox.flush()
        if outcome != "failed" or attempt == first_attempt + TRIES - 1:
            tally_path(tally, stage, outcome, reason)
            progress.ended(item)
            return


@dataclass(frozen=True)
class _Timed:
    value: Any
    seconds: float
    usage: Usage = field(default_factory=Usage)


@dataclass
class _Line:
    """One item on its way through the stages, with what each of them gave."""

    family: Family
    context: Context
    mined: Mined
    turns: Turns
    done: dict[str, _Timed] = field(default_factory=dict)

    async def step(self, stage: str) -> tuple[str, _Timed]:
        """Run one stage. Infrastructure failures are an outcome, bugs and bad input are exceptions."""
        async with self.turns.tasks if stage == "certify" else nullcontext():
            return await self._step(stage)

    async def _step(self, stage: str) -> tuple[str, _Timed]:
        started = time.monotonic()
        with metered() as usage:
            try:
                result = await self._run(stage)
            except SandboxError as error:
                return "failed", _Timed(error, time.monotonic() - started, usage)
        self.done[stage] = _Timed(result, time.monotonic() - started, usage)
        return "ok" if isinstance(result, Done) else "rejected", self.done[stage]

    async def _run(self, stage: str) -> Done[Any] | Rejected:
        match stage:
            case "build":
                return await self.family.build(self.mined, self.context)
            case "certify":
                validated = self.done["validate"]
                flakes = [record for record in validated.value.records if isinstance(record, Flake)]
                return await certify(
                    self.family, self._value("validate"), self.context,
                    validation_seconds=validated.seconds, flakes=flakes, gate=self.turns.gradings,
                )  # fmt: skip
            case "publish":
                return await publish(self._value("validate"), self._value("certify"), self.context)
            case _:
                before = STAGES[STAGES.index(stage) - 1]
                return await getattr(self.family, stage)(self._value(before), self.context)

    def _value(self, stage: str) -> Any:
        return self.done[stage].value.value


def _told(timed: _Timed) -> tuple[tuple[Record, ...], str, str]:
    """(records, reason, detail) of a step's result."""
    match timed.value:
        case Done(records=records):
            return records, "", ""
        case Rejected(reason=reason, detail=detail, records=records):
            return records, reason, detail
        case error:
            return (), "infrastructure", str(error)


def tally_path(tally: Tally, stage: str, outcome: str, reason: str) -> None:
    """Count the stages an item passed and the one that ended it."""
    for passed in STAGES[: STAGES.index(stage)]:
        tally.add(passed, "ok")
    tally.add(stage, outcome, reason)
