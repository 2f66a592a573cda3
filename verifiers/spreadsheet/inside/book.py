"""A submitted workbook: its structure, read from the original, and a copy that is safe to recalculate.

The copy is what engines get: written by openpyxl, so it holds no macro, no link, no embedded object and,
above all, no cached value. Cells that an array formula fills are emptied in it, and new functions get the
names that files give them. What a check says of structure is read from the original.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
import warnings
import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from functions import ARRAYS_ANYWHERE, OUTSIDE
from intake import Admitted, Refused
from openpyxl import Workbook, load_workbook
from openpyxl.utils.cell import range_boundaries
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.worksheet.formula import ArrayFormula, DataTableFormula
from openpyxl.worksheet.worksheet import Worksheet
from references import MOST, Area, Names, Reading, completed, read

Place = tuple[str, int, int]
"""Sheet, row, column; rows and columns count from 1."""

DDE_CALL = re.compile(r"^=\s*[\w.]+\|", re.I)  # =program|'topic'!item
OTHER_BOOK = re.compile(r"\[[^\[\]]+\][^\[\]!]*!|'[^']*\[[^\[\]']+\][^']*'!")


@dataclass
class Book:
    """A workbook that was read."""

    name: str
    workbook: Workbook
    formulas: dict[Place, str] = field(default_factory=dict)
    """Every cell that a formula fills, with the text of that formula."""
    anchors: dict[Place, Place] = field(default_factory=dict)
    """Cells filled by an array formula that stands in another cell."""
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, name: str, admitted: Admitted) -> Book:
        """Parse an admitted file. Raises Refused."""
        if admitted.kind == "csv":
            return cls(name, _from_csv(admitted.data), notes=("values only, as .csv is",))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                workbook = load_workbook(io.BytesIO(admitted.data), keep_links=False)
        except MemoryError:
            raise Refused(f"{name} needs more memory to be read than a graded workbook may.") from None
        except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, TypeError, OSError) as error:
            raise Refused(f"{name} is corrupt: {type(error).__name__}: {str(error)[:120]}") from error
        except (AttributeError, IndexError, SyntaxError, RecursionError, AssertionError) as error:
            raise Refused(f"{name} is corrupt: {type(error).__name__}: {str(error)[:120]}") from error
        book = cls(name, workbook, notes=admitted.notes)
        for sheet in workbook.worksheets:
            book._gather(sheet)
        return book

    def _gather(self, sheet: Worksheet) -> None:
        for cell in list(sheet._cells.values()):
            place, content = (sheet.title, cell.row, cell.column), cell.value
            if isinstance(content, ArrayFormula):
                self._array(place, content)
            elif isinstance(content, DataTableFormula):
                self.formulas[place] = f"=TABLE({content.r1 or ''},{content.r2 or ''})"
            elif cell.data_type == "f":
                self._refuse_outside(place, str(content))
                self.formulas[place] = str(content)

    def _array(self, place: Place, content: ArrayFormula) -> None:
        text = str(content.text or "")
        text = text if text.startswith("=") else f"={text}"
        self._refuse_outside(place, text)
        try:
            left, top, right, bottom = range_boundaries(content.ref)
        except (ValueError, TypeError) as error:
            raise Refused(f"{self.name} is corrupt: an array formula fills {content.ref!r}.") from error
        filled = Area(place[0], top, left, bottom, right)
        if filled.size > MOST:
            raise Refused(f"{self.name} has an array formula over {filled.size} cells; at most {MOST}.")
        for other in filled.cells():
            self.formulas[other] = text
            if other != place:
                self.anchors[other] = place

    def _refuse_outside(self, place: Place, text: str) -> None:
        if DDE_CALL.match(text) or OTHER_BOOK.search(_without_texts(text)):
            where = Area(place[0], place[1], place[2], place[1], place[2])
            raise Refused(f"{self.name} reaches outside itself in {where}; a graded workbook stands alone.")
        if "(" in text and not OUTSIDE.isdisjoint(found := self.reading(place, text).functions):
            where = Area(place[0], place[1], place[2], place[1], place[2])
            called = ", ".join(sorted(found & OUTSIDE))
            raise Refused(f"{self.name} calls {called} in {where}; a graded workbook stands alone.")

    @cached_property
    def names(self) -> Names:
        defined: dict[tuple[str, str], str] = {
            ("", name.casefold()): str(found.attr_text or "")
            for name, found in self.workbook.defined_names.items()
        }
        tables = {}
        for sheet in self.workbook.worksheets:
            for name, found in sheet.defined_names.items():
                defined[(sheet.title.casefold(), name.casefold())] = str(found.attr_text or "")
            for table in sheet.tables.values():
                left, top, right, bottom = range_boundaries(table.ref)
                columns = tuple(column.name for column in table.tableColumns)
                head = 1 if table.headerRowCount is None else table.headerRowCount
                where = Area(sheet.title, top, left, bottom, right)
                tables[table.displayName.casefold()] = (where, columns, head, table.totalsRowCount or 0)
        return Names(defined, tables)

    def sheet(self, name: str) -> Worksheet | None:
        """The worksheet of that name, whatever its case and outer blanks."""
        wanted = name.strip().casefold()
        return next((s for s in self.workbook.worksheets if s.title.strip().casefold() == wanted), None)

    def literal(self, place: Place) -> Any:
        """What was typed into a cell; None where nothing was, or a formula."""
        if place in self.formulas:
            return None
        found = self.workbook[place[0]]._cells.get((place[1], place[2]))
        return None if found is None else found.value

    def reading(self, place: Place, text: str) -> Reading:
        """What one formula reads by itself."""
        found = Reading()
        read(text, place[0], place[1], self.names, found)
        return found

    def precedents(self, places: list[Place]) -> Reading:
        """What cells read, directly and through other formulas."""
        whole, seen, todo = Reading(), set[Place](), list(places)
        by_sheet: dict[str, list[Place]] = {}
        for place in self.formulas:
            by_sheet.setdefault(place[0].casefold(), []).append(place)
        followed: set[Area] = set()
        while todo and len(seen) < MOST:
            place = todo.pop()
            if place in seen or place not in self.formulas:
                continue
            seen.add(place)
            one = self.reading(place, self.formulas[place])
            whole.functions |= one.functions
            whole.unknown |= one.unknown
            whole.dynamic |= one.dynamic
            whole.constants += one.constants
            for found in one.areas:
                if found in followed:
                    continue
                followed.add(found)
                whole.areas.append(found)
                if found.size <= 4:
                    todo += [(_title(self, found.sheet), r, c) for _, r, c in found.cells()]
                else:
                    todo += [
                        p for p in by_sheet.get(found.sheet.casefold(), ())
                        if found.top <= p[1] <= found.bottom and found.left <= p[2] <= found.right
                    ]  # fmt: skip
        return whole

    def copy(self) -> bytes:
        """The workbook as engines get it. The book is used up by this: it no longer shows its structure."""
        for sheet in self.workbook.worksheets:
            sheet._charts = []
            sheet._images = []
            for place in [p for p in self.anchors if p[0] == sheet.title]:
                sheet._cells.pop((place[1], place[2]), None)
            for cell in list(sheet._cells.values()):
                if cell.value is None:  # styled and empty, which some engine takes for a zero
                    del sheet._cells[cell.row, cell.column]
                    continue
                cell.comment = cell.hyperlink = None
                if cell.data_type in ("f", "b"):  # or LibreOffice would show truth values as numbers
                    cell.number_format = "General"
                if isinstance(cell.value, ArrayFormula):
                    text = str(cell.value.text or "")
                    cell.value.text = completed(text if text.startswith("=") else f"={text}")
                elif cell.data_type == "f" and isinstance(cell.value, str):
                    place = (sheet.title, cell.row, cell.column)
                    alone = ARRAYS_ANYWHERE.isdisjoint(self.reading(place, cell.value).functions)
                    text = completed(cell.value)
                    cell.value = text if alone else ArrayFormula(cell.coordinate, text)
        for sheet in list(self.workbook.chartsheets):
            self.workbook.remove(sheet)
        self.workbook.calculation.iterate = False
        self.workbook.calculation.fullCalcOnLoad = True
        written = io.BytesIO()
        try:
            self.workbook.save(written)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Refused(f"{self.name} is corrupt: {type(error).__name__}: {str(error)[:120]}") from error
        return written.getvalue()


def _title(book: Book, sheet: str) -> str:
    found = book.sheet(sheet)
    return found.title if found is not None else sheet


def _without_texts(formula: str) -> str:
    return re.sub(r'"[^"]*"', '""', formula)


def _from_csv(data: bytes) -> Workbook:
    """One sheet of values. A cell that begins with `=` stays text: nothing in such a file is calculated."""
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    delimiter = max(",;\t", key=lambda sign: text[:10_000].count(sign))
    workbook = Workbook()
    sheet = workbook.active
    assert isinstance(sheet, Worksheet)
    sheet.title = "Sheet1"
    try:
        for row, cells in enumerate(csv.reader(io.StringIO(text), delimiter=delimiter), 1):
            for column, content in enumerate(cells, 1):
                if content.strip():
                    cell = sheet.cell(row, column)
                    cell.value = _literal(content.strip())
                    if isinstance(cell.value, str):
                        cell.data_type = "s"
    except (csv.Error, ValueError) as error:
        raise Refused(f"the .csv file cannot be read: {str(error)[:120]}") from error
    return workbook


def _literal(text: str) -> Any:
    if re.fullmatch(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", text):
        return float(text)
    if re.fullmatch(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?)?", text):
        try:
            return dt.datetime.fromisoformat(text)
        except ValueError:
            return text
    return {"TRUE": True, "FALSE": False}.get(text.upper(), text)
