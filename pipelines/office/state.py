"""A workbook as its maker knows it: tables, inputs and what is calculated from them, in Python.

The state is the ground truth. A walk changes it operation by operation; every calculated block carries the
Python that computes it from the data, so the right answers under other inputs are those of a changed copy
(`changed`), and no spreadsheet engine has a part in them. Rendering writes the same state as a workbook.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from openpyxl import Workbook
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter, quote_sheetname

Write = Callable[[Workbook], None]
Rows = list[list[Any]]

NUMBER, TEXT, DATE, ID = "number", "text", "date", "id"
FORMATS = {NUMBER: "#,##0.00", TEXT: "General", DATE: "yyyy-mm-dd", ID: "General"}
HEAD = PatternFill("solid", fgColor="DCE6F1")
CREATED = dt.datetime(2025, 1, 1)


class Ambiguous(Exception):
    """These data have no single right answer (a tie, an empty group); others have to be drawn."""


@dataclass
class Column:
    """A column of a table. A live one holds formulas."""

    name: str
    kind: str
    format: str = ""
    unit: str = ""
    live: bool = False

    @property
    def number_format(self) -> str:
        return self.format or FORMATS[self.kind]


@dataclass
class Table:
    """Rows under a header on one sheet. `rows` are values, of live columns the calculated ones."""

    sheet: str
    top: int
    columns: list[Column]
    rows: Rows
    left: int = 1
    noun: str = "rows"
    totals: bool = False
    """Whether a row of totals stands below."""

    def copy(self) -> Table:
        """Another table with the same values, which may be changed."""
        rows = [list(row) for row in self.rows]
        return replace(self, columns=[replace(column) for column in self.columns], rows=rows)

    @property
    def first(self) -> int:
        return self.top + 1

    @property
    def last(self) -> int:
        return self.top + len(self.rows)

    def place(self, name: str) -> int:
        return next(n for n, column in enumerate(self.columns) if column.name == name)

    def column(self, name: str) -> Column:
        return self.columns[self.place(name)]

    def letter(self, name: str) -> str:
        return get_column_letter(self.left + self.place(name))

    @property
    def free(self) -> str:
        """The letter of the first column to the right."""
        return get_column_letter(self.left + len(self.columns))

    def values(self, name: str) -> list[Any]:
        place = self.place(name)
        return [row[place] for row in self.rows]

    def cells(self, name: str) -> str:
        """`C5:C60`."""
        return f"{self.letter(name)}{self.first}:{self.letter(name)}{self.last}"

    def fixed(self, name: str, *, here: bool = False) -> str:
        """`'Orders'!$C$5:$C$60`, or without the sheet from `here`."""
        letter = self.letter(name)
        area = f"${letter}${self.first}:${letter}${self.last}"
        return area if here else f"{quote_sheetname(self.sheet)}!{area}"

    def reference(self, name: str) -> str:
        return f"{quote_sheetname(self.sheet)}!{self.cells(name)}"

    @property
    def area(self) -> str:
        """With the header: `A4:G60`."""
        last = get_column_letter(self.left + len(self.columns) - 1)
        return f"{get_column_letter(self.left)}{self.top}:{last}{self.last}"

    def named(self, kind: str, *, live: bool | None = None) -> list[str]:
        """Names of columns of a kind."""
        return [c.name for c in self.columns if c.kind == kind and (live is None or c.live == live)]


@dataclass
class Input:
    """One labelled cell that somebody types an assumption into."""

    name: str
    label: str
    sheet: str
    cell: str
    value: Any
    format: str = "General"
    low: float = 0.0
    high: float = 0.0
    """Between which a changed value may lie; equal where it must not change."""

    @property
    def fixed(self) -> str:
        letters = self.cell.rstrip("0123456789")
        return f"{quote_sheetname(self.sheet)}!${letters}${self.cell[len(letters) :]}"


@dataclass
class Derived:
    """A block of formulas: where it stands, and the Python that says what it must show."""

    key: str
    sheet: str
    range: str
    compute: Callable[[State], Rows]
    column: tuple[str, str] | None = None
    """(table, column) that the block is, so that later operations read it from the table."""
    highlight: bool = False
    absolute: float = 1e-6
    asked: bool = True
    """Not asked is what the workbook brings along."""


@dataclass
class State:
    """Everything about one workbook."""

    domain: str
    title: str
    file: str
    tables: dict[str, Table] = field(default_factory=dict)
    inputs: dict[str, Input] = field(default_factory=dict)
    derived: list[Derived] = field(default_factory=list)
    sheets: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    """Operations that were applied, by a key that says to what."""
    writes: list[Write] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """What a generator tells operations of its domain."""

    def clone(self) -> State:
        """A copy whose data may change; functions are shared."""
        return State(
            self.domain, self.title, self.file, {key: table.copy() for key, table in self.tables.items()},
            {key: replace(one) for key, one in self.inputs.items()},
            list(self.derived), list(self.sheets), list(self.done), list(self.writes), dict(self.facts),
        )  # fmt: skip

    def recompute(self) -> dict[str, Rows]:
        """Every derived block by its key, in the order they were made; columns are filled in on the way.

        Raises Ambiguous.
        """
        found: dict[str, Rows] = {}
        for block in self.derived:
            values = found[block.key] = block.compute(self)
            if block.column is not None:
                table = self.tables[block.column[0]]
                place = table.place(block.column[1])
                for row, (value,) in zip(table.rows, values, strict=True):
                    row[place] = value
        return found

    def new_sheet(self, wish: str) -> str:
        """A sheet name that is free; the caller's write makes the sheet."""
        name, number = wish, 2
        while name in self.sheets:
            name, number = f"{wish} {number}", number + 1
        return name

    def workbook(self) -> Workbook:
        """The workbook as openpyxl has it."""
        book = Workbook()
        book.remove(book.worksheets[0])
        for write in self.writes:
            write(book)
        book.properties.creator = "verifactory"
        book.properties.created = book.properties.modified = CREATED
        return book

    def save(self) -> bytes:
        """The workbook as a file, the same bytes for the same state."""
        return saved(self.workbook())


def saved(book: Workbook) -> bytes:
    """A workbook's bytes, with no time of saving in them."""
    import zipfile

    raw = io.BytesIO()
    book.save(raw)
    steady = io.BytesIO()
    with zipfile.ZipFile(raw) as source, zipfile.ZipFile(steady, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename == "docProps/core.xml":
                data = _without_time(data)
            made = zipfile.ZipInfo(entry.filename, (2025, 1, 1, 0, 0, 0))
            made.compress_type, made.external_attr = zipfile.ZIP_DEFLATED, 0o600 << 16
            target.writestr(made, data)
    return steady.getvalue()


def _without_time(core: bytes) -> bytes:
    import re

    return re.sub(rb"(<dcterms:modified[^>]*>)[^<]*", rb"\g<1>2025-01-01T00:00:00Z", core)


def write_table(table: Table, title: str, note: str = "") -> Write:
    """The sheet of a table: title, note, header, rows; calculated columns and totals come by other writes."""
    columns, rows = list(table.columns), [list(row) for row in table.rows]

    def write(book: Workbook) -> None:
        sheet = book.create_sheet(table.sheet)
        if table.top > 1:
            sheet.cell(1, table.left, title).font = Font(bold=True, size=14)
        if note and table.top > 2:
            sheet.cell(2, table.left, note).font = Font(italic=True, color="666666")
        for place, column in enumerate(columns):
            letter = table.left + place
            head = sheet.cell(table.top, letter, column.name + (f" ({column.unit})" if column.unit else ""))
            head.font, head.fill, head.alignment = Font(bold=True), HEAD, Alignment(wrap_text=True)
            sheet.column_dimensions[get_column_letter(letter)].width = max(12, len(column.name) + 4)
            for line, row in enumerate(rows, table.first):
                cell = sheet.cell(line, letter)
                cell.value, cell.number_format = row[place], column.number_format

    return write


def write_inputs(sheet: str, title: str, inputs: Sequence[Input]) -> Write:
    """A sheet of labelled assumptions, labels left of values."""

    def write(book: Workbook) -> None:
        made = book.create_sheet(sheet)
        made["A1"] = title
        made["A1"].font = Font(bold=True, size=14)
        made.column_dimensions["A"].width, made.column_dimensions["B"].width = 38, 16
        for one in inputs:
            column, row = one.cell.rstrip("0123456789"), int(one.cell.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
            assert column == "B"
            made.cell(row, 1, one.label)
            cell = made.cell(row, 2)
            cell.value, cell.number_format = one.value, one.format
            cell.font = Font(color="0000FF")

    return write


def write_cells(sheet: str, cells: dict[str, Any], formats: dict[str, str] | None = None) -> Write:
    """Contents by address, on a sheet that is there or made."""

    def write(book: Workbook) -> None:
        made = book[sheet] if sheet in book.sheetnames else book.create_sheet(sheet)
        for address, content in cells.items():
            made[address] = content
            if formats and address in formats:
                made[address].number_format = formats[address]

    return write
