"""What an operation leaves: the workbook changed, its ground truth with it, and what to ask and to check.

An operation is a function of a state and a random source. It either changes the state and returns a `Step`,
or returns None because the workbook gives it nothing to do. What it writes is the reference; what it asks
says where the result has to stand, and any formula that follows the inputs is right.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from openpyxl import Workbook
from openpyxl.styles import Font

from pipelines.office.state import HEAD, Column, Derived, Rows, State, Table
from verifiers.spreadsheet.spec import Check, Formula


@dataclass(frozen=True)
class Step:
    """One operation as it was done."""

    operation: str
    say: Mapping[str, Any]
    """What the operation's phrases name."""
    checks: tuple[Check, ...] = ()
    """Of structure and of formulas; those of values follow from the blocks."""
    blocks: tuple[str, ...] = ()
    """Keys of the derived blocks that are asked for."""
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Sheet → address → text that has to stand there."""
    moves: tuple[str, ...] = ()
    """Tables whose typed data are changed on purpose."""


Plan = Callable[[State, random.Random], Step | None]


@dataclass(frozen=True)
class Operation:
    """An atomic operation on workbooks."""

    name: str
    level: int
    """1 to 3: how much has to be known."""
    plan: Plan


def live_column(
    state: State,
    operation: str,
    table_key: str,
    name: str,
    kind: str,
    formula: Callable[[int], str],
    compute: Callable[[State], list[Any]],
    *,
    reads: tuple[str, ...],
    form: str = "",
    forbid: tuple[float, ...] = (),
    absolute: float = 1e-6,
    say: Mapping[str, Any] | None = None,
) -> Step:
    """Fill a new column to the right of a table with one formula a row; `compute` gives its values."""
    table = state.tables[table_key]
    letter, key = table.free, f"{operation} {name}"
    first, last, top, sheet = table.first, table.last, table.top, table.sheet
    column = Column(name, kind, form, live=True)
    table.columns.append(column)
    for row in table.rows:
        row.append(None)
    where = f"{letter}{first}:{letter}{last}"

    def write(book: Workbook) -> None:
        made = book[sheet]
        made[f"{letter}{top}"] = name
        made[f"{letter}{top}"].font, made[f"{letter}{top}"].fill = Font(bold=True), HEAD
        for row in range(first, last + 1):
            made[f"{letter}{row}"] = formula(row)
            made[f"{letter}{row}"].number_format = column.number_format

    state.writes.append(write)
    state.derived.append(
        Derived(
            key,
            sheet,
            where,
            lambda s: [[value] for value in compute(s)],
            column=(table_key, name),
            absolute=absolute,
        )
    )
    return Step(
        operation,
        {
            "sheet": sheet,
            "column": name,
            "letter": letter,
            "range": where,
            "first": first,
            "last": last,
            "head": f"{letter}{top}",
            "noun": table.noun,
            **(say or {}),
        },
        (Formula(name=f"{key} is calculated", sheet=sheet, range=where, references=reads, forbid=forbid),),
        (key,),
        {sheet: {f"{letter}{top}": name}},
    )


def live_block(
    state: State,
    operation: str,
    key: str,
    sheet: str,
    where: str,
    cells: Mapping[str, Any],
    compute: Callable[[State], Rows],
    *,
    reads: tuple[str, ...],
    labels: Mapping[str, str] | None = None,
    formats: Mapping[str, str] | None = None,
    forbid: tuple[float, ...] = (),
    absolute: float = 1e-6,
    say: Mapping[str, Any] | None = None,
) -> Step:
    """Fill `where` of a sheet, new or there, with formulas by address, under `labels` that are typed."""
    if sheet not in state.sheets:
        state.sheets.append(sheet)
    known = dict(labels or {})

    def write(book: Workbook) -> None:
        made = book[sheet] if sheet in book.sheetnames else book.create_sheet(sheet)
        for address, text in known.items():
            made[address] = text
            made[address].font = Font(bold=True)
        for address, text in cells.items():
            made[address] = text
            if formats and address in formats:
                made[address].number_format = formats[address]
        for letter in "ABCDEFG":
            made.column_dimensions[letter].width = made.column_dimensions[letter].width or 16

    state.writes.append(write)
    state.derived.append(Derived(key, sheet, where, compute, absolute=absolute))
    return Step(
        operation,
        {"sheet": sheet, "range": where, **(say or {})},
        (Formula(name=f"{key} is calculated", sheet=sheet, range=where, references=reads, forbid=forbid),),
        (key,),
        {sheet: known},
    )


def shown(table: Table, name: str) -> str:
    """A column as its header reads."""
    column = table.column(name)
    return f"{column.name} ({column.unit})" if column.unit else column.name
