"""The workbook walk: operations are applied to a seed workbook one after the other, and tasks are cut from
the way.

A task starts at some state of the walk and asks for the next few operations. Its answer is the state they
lead to; its question is told from what was done. The state reached is the next task's seed. Every task has
answers under changed inputs, computed by the same ground truth, that each block asked for has to follow.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.office import columns, comparisons, dates_texts, finance, layout, statements, summaries
from pipelines.office.phrasing import instruction
from pipelines.office.seeds import MAIN, seed
from pipelines.office.state import NUMBER, Ambiguous, Column, Derived, Rows, State, Table
from pipelines.office.step import Operation, Step
from verifiers.spreadsheet.spec import (
    Block,
    Cells,
    Check,
    Edit,
    Highlight,
    Perturbation,
    SpreadsheetSpec,
    Structure,
)

OPERATIONS: tuple[Operation, ...] = (
    *columns.OPERATIONS,
    *dates_texts.OPERATIONS,
    *summaries.OPERATIONS,
    *comparisons.OPERATIONS,
    *layout.OPERATIONS,
    *finance.OPERATIONS,
    *statements.OPERATIONS,
)
LEVELS = ("easy", "medium", "hard")
SEGMENTS = 4
CHANGES = 2
TRIES = 60
EARLY = 0.3
FIXED_COLUMNS = ("From", "Year")
"""Numbers that must keep their order."""


@dataclass(frozen=True)
class WalkTask:
    """One task: a workbook, what to do with it, and what must come of it."""

    domain: str
    seed: int
    segment: int
    title: str
    file: str
    operations: tuple[str, ...]
    level: str
    instruction: str
    original: bytes
    reference: bytes
    partial: bytes | None
    """The reference without its last operation; None where it is the only one."""
    spec: SpreadsheetSpec

    @property
    def key(self) -> str:
        return f"{self.domain}/{self.seed}/{self.segment}"


def walk(domain: str, number: int, workdir: str = "/app") -> Iterator[WalkTask]:
    """The tasks of one seed workbook, each on the workbook that the one before leads to."""
    rng = random.Random(f"walk {domain} {number}")
    state = seed(domain, number)
    for segment in range(SEGMENTS):
        found = _segment(state, rng, domain, number, segment, workdir)
        if found is None:
            return
        task, state = found
        yield task


def _segment(
    state: State, rng: random.Random, domain: str, number: int, segment: int, workdir: str
) -> tuple[WalkTask, State] | None:
    """The next task and the state that it leads to; None where nothing is left to do."""
    for _ in range(TRIES):
        level = rng.randrange(len(LEVELS))
        after = state.clone()
        try:
            steps, before_last = _steps(after, rng, level)
            if not any(step.blocks for step in steps):
                continue
            spec = specification(after, steps, rng)
        except Ambiguous:
            continue
        path = f"{workdir}/{after.file}"
        told = instruction(after, steps, path, voice=rng.randrange(2), hints=level == 0, rng=rng)
        task = WalkTask(
            domain,
            number,
            segment,
            after.title,
            after.file,
            tuple(step.operation for step in steps),
            LEVELS[level],
            told,
            state.save(),
            after.save(),
            before_last.save() if before_last is not None else None,
            spec,
        )
        return task, after
    return None


def _steps(state: State, rng: random.Random, level: int) -> tuple[list[Step], State | None]:
    """Operations on `state`, in place, and the state before the last; more of them the higher the level."""
    wanted = rng.randint(1 + level, 2 + level)
    steps: list[Step] = []
    before: State | None = None
    for operation in _order(rng):
        if len(steps) == wanted:
            break
        if operation.level > level + 1 or (
            len(steps) == wanted - 1 and not any(s.blocks for s in steps) and operation in layout.OPERATIONS
        ):
            continue
        kept = state.clone()
        try:
            step = operation.plan(state, rng)
            state.recompute()
        except Ambiguous:
            raise Ambiguous(f"{operation.name} has no single answer here") from None
        if step is None:
            continue
        before = kept if steps else None
        steps.append(step)
    return steps, before


def _order(rng: random.Random) -> list[Operation]:
    """Any order, in which what others build on often comes early."""
    early = [name for name in ("sort", "product") if rng.random() < EARLY]
    return sorted(rng.sample(OPERATIONS, len(OPERATIONS)), key=lambda one: one.name not in early)


def specification(state: State, steps: Sequence[Step], rng: random.Random) -> SpreadsheetSpec:
    """What the workbook after `steps` must be. Raises Ambiguous where changed inputs leave no single
    answer.
    """
    asked = {key for step in steps for key in step.blocks}
    blocks = [block for block in state.derived if block.key in asked]
    values = state.recompute()
    checks: list[Check] = []
    for step in steps:
        checks += step.checks
        checks += _labels(step)
    checks += _kept(state)
    checks += [_base(state, block, values[block.key]) for block in blocks]
    checks += _perturbations(state, blocks, values, rng)
    return SpreadsheetSpec(answer=state.file, checks=tuple(_distinct(checks)))


def _distinct(checks: list[Check]) -> Iterator[Check]:
    """The checks with names that differ."""
    seen: dict[str, int] = {}
    for check in checks:
        seen[check.name] = seen.get(check.name, 0) + 1
        again = seen[check.name]
        yield check if again == 1 else check.model_copy(update={"name": f"{check.name} ({again})"})


def _labels(step: Step) -> Iterator[Cells]:
    """Texts around a block, a column of them at a time."""
    for sheet, texts in step.labels.items():
        runs: list[list[tuple[str, int, str]]] = []
        for address, text in sorted(texts.items(), key=lambda item: _split(item[0])):
            letter, row = _split(address)
            if runs and runs[-1][-1][:2] == (letter, row - 1):
                runs[-1].append((letter, row, text))
            else:
                runs.append([(letter, row, text)])
        for run in runs:
            where = f"{run[0][0]}{run[0][1]}:{run[-1][0]}{run[-1][1]}"
            yield Cells(
                name=f"text in {sheet} {where}", sheet=sheet, range=where, expect=tuple((t,) for *_, t in run)
            )


def _split(address: str) -> tuple[str, int]:
    letters = address.rstrip("0123456789")
    return letters, int(address[len(letters) :])


def _kept(state: State) -> Iterator[Structure]:
    """Typed data and assumptions are as they were, or as the reference left them."""
    for table in state.tables.values():
        count = sum(not column.live for column in table.columns)
        last = table.letter(table.columns[count - 1].name)
        where = f"{table.letter(table.columns[0].name)}{table.first}:{last}{table.last}"
        yield Structure(
            name=f"data of {table.sheet}",
            what="kept",
            sheet=table.sheet,
            range=where,
            expect=tuple(tuple(_cell(value) for value in row[:count]) for row in table.rows),
        )
    for one in state.inputs.values():
        yield Structure(
            name=f"input {one.label}",
            what="kept",
            sheet=one.sheet,
            range=one.cell,
            expect=((_cell(one.value),),),
        )


def _cell(value: Any) -> Any:
    if isinstance(value, dt.date):
        return {"date": value.isoformat()}
    return value


def _rows(rows: Rows) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(_cell(value) for value in row) for row in rows)


def _base(state: State, block: Derived, rows: Rows) -> Check:
    name = f"{block.key} in {block.sheet}"
    if block.highlight:
        lit = tuple(tuple(bool(value) for value in row) for row in rows)
        return Highlight(name=name, sheet=block.sheet, range=block.range, expect=lit)
    filtered = state.facts.get("filtered") and block.column is not None
    return Cells(
        name=name,
        sheet=block.sheet,
        range=block.range,
        expect=_rows(rows),
        abs=block.absolute,
        visible=not filtered,
    )


def _perturbations(
    state: State, blocks: list[Derived], values: dict[str, Rows], rng: random.Random
) -> list[Perturbation]:
    """Changes of inputs under which, together, every block changes. Raises Ambiguous where none are found."""
    found: list[Perturbation] = []
    still = {block.key for block in blocks}
    absolute = max(block.absolute for block in blocks)
    for _ in range(TRIES):
        other = state.clone()
        edits = _edits(other, rng)
        try:
            changed = other.recompute()
        except (Ambiguous, ZeroDivisionError, OverflowError):
            continue
        moved = {block.key for block in blocks if _differ(changed[block.key], values[block.key])}
        if not edits or not moved or (len(found) == CHANGES - 1 and still - moved):
            continue
        still -= moved
        expect = tuple(
            Block(sheet=b.sheet, range=b.range, values=_rows(changed[b.key]), highlight=b.highlight)
            for b in blocks
        )
        name = f"with changed inputs {len(found) + 1}"
        found.append(Perturbation(name=name, edits=tuple(edits), expect=expect, abs=absolute))
        if len(found) == CHANGES:
            return found
    raise Ambiguous("no changes of inputs move every block")


def _differ(one: Rows, other: Rows) -> bool:
    pairs = zip((v for row in one for v in row), (v for row in other for v in row), strict=True)
    return any(
        abs(a - b) > 1e-4 * max(1.0, abs(b))
        if isinstance(a, float) and isinstance(b, (int, float))
        else a != b
        for a, b in pairs
    )


def _edits(state: State, rng: random.Random) -> list[Edit]:
    """Change some inputs of `state` in place; what was changed."""
    edits: dict[tuple[str, str], Edit] = {}
    for one in state.inputs.values():
        if one.high > one.low and rng.random() < 0.6:
            value = rng.uniform(one.low, one.high)
            value = int(value) if isinstance(one.value, int) else round(value, 4 if one.high <= 1 else 2)
            edits[one.sheet, one.cell] = Edit(sheet=one.sheet, cell=one.cell, was=one.value, value=value)
            one.value = value
    for table in state.tables.values():
        typed = [column for column in table.columns if not column.live and column.name not in FIXED_COLUMNS]
        for _ in range(rng.randint(2, 6)):
            column, row = rng.choice(typed), rng.randrange(len(table.rows))
            place = table.place(column.name)
            was = table.rows[row][place]
            value = _other(state, table, column, was, rng)
            cell = f"{table.letter(column.name)}{table.first + row}"
            if value == was or value is None or (table.sheet, cell) in edits:
                continue
            table.rows[row][place] = value
            edits[table.sheet, cell] = Edit(sheet=table.sheet, cell=cell, was=_cell(was), value=_cell(value))
    return list(edits.values())


def _other(state: State, table: Table, column: Column, was: Any, rng: random.Random) -> Any:
    """Another value that could as well have stood there; None where there is none."""
    if was is None:
        return None
    if column.kind == NUMBER:
        value = was * rng.uniform(0.4, 1.9)
        return max(1, round(value)) if isinstance(was, int) else round(value, 2 if abs(was) > 1 else 4)
    return rng.choice(table.values(column.name)) if table is state.tables.get(MAIN) else None
