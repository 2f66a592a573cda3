"""Checks of structure, read from the workbook as it was handed in: one function a kind, '' where it holds.

Each accepts every way of building the same thing that is known: a list validation by its words or by the
range that holds them, a chart wherever it stands, a frozen row with or without frozen columns asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from book import Book
from openpyxl.styles.numbers import is_date_format
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet
from references import Area, area
from values import typed

LITERALS = re.compile(r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]')
TRUTH = ('"TRUE";"TRUE";"FALSE"',)  # as LibreOffice writes what shows truth values
SHOWS = re.compile(r"[0#?@]|general|[ymdhs]", re.I)


def check_structure(book: Book, check: Mapping[str, Any]) -> str:
    """What is wrong; '' where nothing is."""
    name = check.get("sheet", "")
    sheet = book.sheet(name) if name else None
    if name and sheet is None:
        return f"there is no sheet {name!r}"
    return KINDS[check["what"]](book, sheet, check)


def hidden(book: Book, where: Area) -> str:
    """Why a person would not see what stands in `where`; '' where it is to be seen."""
    sheet = book.sheet(where.sheet)
    if sheet is None:
        return f"there is no sheet {where.sheet!r}"
    if sheet.sheet_state != "visible":
        return f"the sheet {sheet.title!r} is hidden"
    unseen = _hidden_columns(sheet)
    for _, row, column in where.cells():
        place = f"{get_column_letter(column)}{row}"
        dimension = sheet.row_dimensions.get(row)
        if (dimension is not None and dimension.hidden) or column in unseen:
            return f"{place} is in a hidden row or column"
        cell = sheet._cells.get((row, column))
        if cell is None:
            continue
        form = cell.number_format or "General"
        if form not in TRUTH and not SHOWS.search(LITERALS.sub("", form.split(";")[0])):
            return f"{place} has a number format that does not show its value"
        if cell.font.color is not None and _colour(cell.font.color, "000000") == _background(cell):
            return f"{place} is written in the colour of its background"
    return ""


def _hidden_columns(sheet: Worksheet) -> set[int]:
    found: set[int] = set()
    for dimension in sheet.column_dimensions.values():
        if dimension.hidden:
            dimension.reindex()
            found.update(range(dimension.min or 0, (dimension.max or 0) + 1))
    return found


def _colour(colour: Any, otherwise: str) -> str:
    if colour is None or colour.tint:
        return otherwise if colour is None else "tinted"
    if colour.type == "rgb":
        return str(colour.rgb)[-6:].upper()
    if colour.type == "theme":
        return {0: "FFFFFF", 1: "000000"}.get(colour.theme, f"theme {colour.theme}")
    return {8: "000000", 9: "FFFFFF", 64: "000000", 65: "FFFFFF"}.get(colour.indexed, otherwise)


def _background(cell: Any) -> str:
    return _colour(cell.fill.fgColor, "FFFFFF") if cell.fill.fill_type == "solid" else "FFFFFF"


def _sheets(book: Book, sheet: Worksheet | None, check: Mapping[str, Any]) -> str:
    missing = [name for name in check["names"] if book.sheet(name) is None]
    return f"there is no sheet {missing[0]!r}" if missing else ""


def _frozen(book: Book, sheet: Worksheet | None, check: Mapping[str, Any]) -> str:
    assert sheet is not None
    pane = sheet.sheet_view.pane
    frozen = pane is not None and pane.state in ("frozen", "frozenSplit")
    rows, columns = (int(pane.ySplit or 0), int(pane.xSplit or 0)) if frozen else (0, 0)
    wanted = (check.get("rows", 0), check.get("columns", 0))
    if (rows, columns) == wanted:
        return ""
    return f"{rows} rows and {columns} columns are frozen, expected {wanted[0]} and {wanted[1]}"


FORMATS: Mapping[str, Callable[[str], bool]] = {
    "percent": lambda text: "%" in text,
    "date": is_date_format,
    "thousands": lambda text: bool(re.search(r"[#0],[#0]", text)),
}


def _like(wanted: str, shown: str) -> bool:
    if wanted.startswith("decimals:"):
        return len(re.sub(r"[^0.?]", "", shown).partition(".")[2]) == int(wanted.partition(":")[2])
    return FORMATS[wanted](shown)


def _number_format(book: Book, sheet: Worksheet | None, check: Mapping[str, Any]) -> str:
    assert sheet is not None
    where = area(check["range"], sheet.title)
    assert where is not None
    for _, row, column in where.cells():
        shown = LITERALS.sub("", sheet.cell(row, column).number_format.split(";")[0])
        if not _like(check["like"], shown):
            return f"{get_column_letter(column)}{row} has the number format {shown!r}, not {check['like']}"
    return ""


def _validation(book: Book, sheet: Worksheet | None, check: Mapping[str, Any]) -> str:
    assert sheet is not None
    where = area(check["range"], sheet.title)
    assert where is not None
    left = {(row, column) for _, row, column in where.cells()}
    rules: Any = sheet.data_validations.dataValidation
    for rule in rules:
        if rule.type == check["type"] and _rule_fits(book, sheet, rule, check):
            blocks: Any = rule.sqref.ranges
            for block in blocks:
                left -= {
                    (r, c) for r, c in left
                    if block.min_row <= r <= block.max_row and block.min_col <= c <= block.max_col
                }  # fmt: skip
    if left:
        row, column = min(left)
        return f"{get_column_letter(column)}{row} has no such validation"
    return ""


def _rule_fits(book: Book, sheet: Worksheet, rule: Any, check: Mapping[str, Any]) -> bool:
    if check["type"] == "list":
        return _listed(book, sheet, str(rule.formula1 or "")) == sorted(map(str, check["values"]))
    between = rule.operator in (None, "between")
    try:
        low, high = float(rule.formula1), float(rule.formula2)
    except (TypeError, ValueError):
        return False
    return between and (low, high) == (check.get("low", 0), check.get("high", 0))


def _listed(book: Book, sheet: Worksheet, source: str) -> list[str]:
    if source.startswith('"'):
        return sorted(word.strip() for word in source.strip('"').split(","))
    found = book.reading((sheet.title, 1, 1), "=" + source.removeprefix("=")).areas
    if len(found) != 1 or found[0].size > 1000:
        return []
    other = book.sheet(found[0].sheet)
    if other is None:
        return []
    cells = (other.cell(row, column).value for _, row, column in found[0].cells())
    return sorted(str(content) for content in cells if content not in (None, ""))


def _chart(book: Book, sheet: Worksheet | None, check: Mapping[str, Any]) -> str:
    charts = [c for s in (*book.workbook.worksheets, *book.workbook.chartsheets) for c in s._charts]
    if not charts:
        return "there is no chart"
    wanted = area(check["values"], "")
    seen = []
    for chart in charts:
        kind = type(chart).__name__.removesuffix("3D").removesuffix("Chart").casefold()
        seen.append(kind)
        if check.get("type", "any") not in ("any", kind):
            continue
        for series in chart.series:
            if _series(series) is not None and wanted is not None and _same(_series(series), wanted):
                return ""
    return f"no {check.get('type', '')} chart shows {check['values']}; there are: {', '.join(seen)}"


def _series(series: Any) -> Area | None:
    source = getattr(series, "val", None) or getattr(series, "yVal", None)
    reference = getattr(source, "numRef", None) if source is not None else None
    return area(reference.f, "") if reference is not None and reference.f else None


def _same(one: Area | None, other: Area) -> bool:
    return one is not None and one[1:] == other[1:] and one.sheet.casefold() == other.sheet.casefold()


def _defined_name(book: Book, sheet: Worksheet | None, check: Mapping[str, Any]) -> str:
    wanted = area(check["refers"], "")
    (wished,) = check["names"]
    found = [text for (_, name), text in book.names.defined.items() if name == wished.casefold()]
    if not found:
        return f"there is no name {wished!r}"
    assert wanted is not None
    if any(_same(area(text.removeprefix("="), ""), wanted) for text in found):
        return ""
    return f"the name {wished!r} stands for {found[0][:60]}, not for {check['refers']}"


def _table(book: Book, sheet: Worksheet | None, check: Mapping[str, Any]) -> str:
    assert sheet is not None
    wanted = area(check["range"], sheet.title)
    assert wanted is not None
    tables = [where for where, *_ in book.names.tables.values()]
    if any(_same(where, wanted) for where in tables):
        return ""
    return f"no table covers {check['range']}" + (f"; one covers {tables[0]}" if tables else "")


def _filtered(book: Book, sheet: Worksheet | None, check: Mapping[str, Any]) -> str:
    """Rows of `range` that are hidden are exactly those that a filter should hide."""
    assert sheet is not None
    where = area(check["range"], sheet.title)
    assert where is not None
    shown = set(check.get("rows", ()))
    for row in range(where.top, where.bottom + 1):
        unseen = bool(sheet.row_dimensions[row].hidden)
        if unseen == (row in shown):
            return f"row {row} is {'hidden' if unseen else 'shown'}"
    return "" if sheet.auto_filter.ref or sheet.tables else "there is no filter"


def _kept(book: Book, sheet: Worksheet | None, check: Mapping[str, Any]) -> str:
    """Data that the task does not ask to change is as it was."""
    assert sheet is not None
    where = area(check["range"], sheet.title)
    assert where is not None
    rows = check["expect"]
    for _, row, column in where.cells():
        expected = typed(rows[row - where.top][column - where.left])
        actual = typed(book.literal((sheet.title, row, column)))
        near = expected[0] == actual[0] == "number" and abs(expected[1] - actual[1]) < 1e-6
        if actual != expected and not near:
            return f"the data in {get_column_letter(column)}{row} were changed"
    return ""


KINDS: Mapping[str, Callable[[Book, Worksheet | None, Mapping[str, Any]], str]] = {
    "sheets": _sheets,
    "frozen": _frozen,
    "number_format": _number_format,
    "validation": _validation,
    "chart": _chart,
    "defined_name": _defined_name,
    "table": _table,
    "filtered": _filtered,
    "kept": _kept,
}
