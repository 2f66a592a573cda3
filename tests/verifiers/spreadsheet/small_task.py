"""A task on a workbook small enough to be read whole, and workbooks that answer it."""

from __future__ import annotations

import io
from typing import Any

from openpyxl import Workbook

from verifiers.spreadsheet.spec import Block, Cells, Edit, Formula, Perturbation, SpreadsheetSpec, Structure

FILE = "stock.xlsx"
ROWS = [("Bolt", 40, 0.5), ("Nut", 60, 0.25), ("Washer", 100, 0.1), ("Bracket", 8, 4.0)]
FORMULAS = {
    "B2": "=SUMPRODUCT(Stock!B2:B5,Stock!C2:C5)",
    "B3": "=B2*Stock!F1",
    "B4": "=B2>=Stock!F2",
}


def start() -> Workbook:
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.title = "Stock"
    for line in (("Item", "Count", "Price"), *ROWS):
        sheet.append(line)
    sheet["E1"], sheet["F1"], sheet["E2"], sheet["F2"] = "Rate", 0.2, "Limit", 70
    return book


def solved(**cells: Any) -> Workbook:
    book = start()
    sheet = book.create_sheet("Result")
    for row, text in enumerate(("Figure", "Value", "Insurance", "Large"), 1):
        sheet.cell(row, 1).value = text
    for address, content in {**FORMULAS, **cells}.items():
        sheet[address] = content
    return book


def saved(book: Workbook) -> bytes:
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def results(counts: list[float], rate: float, limit: float) -> tuple[tuple[Any, ...], ...]:
    whole = sum(count * price for count, (_, _, price) in zip(counts, ROWS, strict=True))
    return ((whole,), (whole * rate,), (whole >= limit,))


COUNTS = [float(count) for _, count, _ in ROWS]


def specification() -> SpreadsheetSpec:
    where = {"sheet": "Result", "range": "B2:B4"}
    return SpreadsheetSpec(
        answer=FILE,
        checks=(
            Structure(
                name="data",
                what="kept",
                sheet="Stock",
                range="A2:C5",
                expect=tuple(tuple(row) for row in ROWS),
            ),
            Cells(name="figures", expect=results(COUNTS, 0.2, 70), **where),
            Formula(name="live", references=("Stock!B2:B5",), forbid=(0.2,), **where),
            Perturbation(
                name="other inputs",
                edits=(
                    Edit(sheet="Stock", cell="B5", was=8, value=20),
                    Edit(sheet="Stock", cell="F1", was=0.2, value=0.3),
                    Edit(sheet="Stock", cell="F2", was=70, value=500),
                ),
                expect=(Block(values=results([*COUNTS[:3], 20], 0.3, 500), **where),),
            ),
        ),
    )
