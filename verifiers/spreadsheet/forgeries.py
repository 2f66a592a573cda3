"""Forged workbooks: what looks like the answer and is not calculated, or not to be seen.

Each forgery turns a task's reference into a workbook that shows the right numbers to a careless grader and
must earn nothing. They are tried on every task for its certificate (`Trial`s of its family) and, with many
more for one workbook, in `benchmarks/forged_workbooks.py`. They read only files of our own making.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from xml.sax.saxutils import escape

from openpyxl import Workbook, load_workbook
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter
from openpyxl.utils.cell import range_boundaries
from openpyxl.workbook.defined_name import DefinedName

from verifiers.spreadsheet.spec import Cells, Formula, Perturbation, SpreadsheetSpec

FORMULA = re.compile(rb'<c r="([A-Z]+[0-9]+)"([^>]*)><f>(.*?)</f><v\s*/?>(?:</v>)?</c>', re.S)


class NoHold(Exception):
    """The task gives this forgery nothing to take hold of."""


@dataclass(frozen=True)
class Forger:
    """A task as somebody sees it who knows every answer for the workbook as it stands."""

    original: bytes
    reference: bytes
    spec: SpreadsheetSpec

    @cached_property
    def answers(self) -> dict[tuple[str, str], Any]:
        """(sheet, address) → the right value of every cell that has to be a formula."""
        values: dict[tuple[str, str], Any] = {}
        for check in self.spec.checks:
            if isinstance(check, Cells):
                for address, value in _cells(check.range, check.expect):
                    values[check.sheet, address] = value
        wanted = {}
        for check in self.spec.checks:
            if isinstance(check, Formula):
                for address in _addresses(check.range):
                    value = values.get((check.sheet, address))
                    if not isinstance(value, dict) or "date" in value:
                        wanted[check.sheet, address] = value
        if not wanted:
            raise NoHold("it asks for no calculated cell")
        return wanted

    def filled(self, content: Callable[[Any], Any]) -> Workbook:
        """The reference with something else in every calculated cell that is asked for."""
        book = load_workbook(io.BytesIO(self.reference))
        for (sheet, address), value in self.answers.items():
            book[sheet][address] = content(value)
        return book


def _addresses(where: str) -> Iterator[str]:
    left, top, right, bottom = range_boundaries(where)
    for row in range(top, bottom + 1):
        for column in range(left, right + 1):
            yield f"{get_column_letter(column)}{row}"


def _cells(where: str, rows: Any) -> Iterator[tuple[str, Any]]:
    yield from zip(_addresses(where), (value for row in rows for value in row), strict=True)


def _saved(book: Workbook) -> bytes:
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def _typed(value: Any) -> Any:
    """A value as one types it."""
    import datetime as dt

    return dt.date.fromisoformat(value["date"][:10]) if isinstance(value, dict) else value


def _serial(value: Any) -> Any:
    import datetime as dt

    if isinstance(value, dict):
        return (dt.date.fromisoformat(value["date"][:10]) - dt.date(1899, 12, 30)).days
    return value


def _constant(value: Any) -> str:
    """A formula that says a value and nothing else."""
    match _serial(value):
        case None:
            return '=""'
        case bool() as truth:
            return f"={str(truth).upper()}"
        case int() | float() as number:
            return f"={number!r}+0"
        case text:
            return f'="{text}"&""'


def values_pasted(forger: Forger) -> bytes:
    """The right values, typed over the formulas."""
    return _saved(forger.filled(_typed))


def constants(forger: Forger) -> bytes:
    """Formulas that hold the right values and read nothing."""
    return _saved(forger.filled(_constant))


def numbers_as_text(forger: Forger) -> bytes:
    """The right values as text."""
    if not any(isinstance(value, (int, float)) for value in forger.answers.values()):
        raise NoHold("no answer is a number")
    return _saved(forger.filled(lambda value: None if value is None else str(_typed(value))))


def errors_masked(forger: Forger) -> bytes:
    """An error on purpose, behind which the right value stands."""
    return _saved(forger.filled(lambda value: f"=IFERROR(1/0,{_constant(value)[1:]})"))


def reads_in_vain(forger: Forger) -> bytes:
    """Formulas that read what they must and then say a constant."""
    book = load_workbook(io.BytesIO(forger.reference))
    for (sheet, address), value in forger.answers.items():
        formula = book[sheet][address].value
        if isinstance(formula, str) and formula.startswith("="):
            body = formula[1:]
            book[sheet][address] = f"=IF(ISERROR({body}),{_constant(value)[1:]},{_constant(value)[1:]})"
    return _saved(book)


def knows_the_inputs(forger: Forger) -> bytes:
    """The right values as long as one input is what it was."""
    edits = [e for c in forger.spec.checks if isinstance(c, Perturbation) for e in c.edits]
    edit = next((e for e in edits if isinstance(e.was, (int, float)) and not isinstance(e.was, bool)), None)
    if edit is None:
        raise NoHold("no input is a number")
    cell = f"'{edit.sheet}'!{edit.cell}"
    return _saved(forger.filled(lambda value: f"=IF({cell}={edit.was!r},{_constant(value)[1:]},0)"))


def hidden_answers(forger: Forger) -> bytes:
    """The right values on a hidden sheet, which the answers read."""
    book = load_workbook(io.BytesIO(forger.reference))
    store = book.create_sheet("Cache")
    store.sheet_state = "veryHidden"
    for row, ((sheet, address), value) in enumerate(forger.answers.items(), 1):
        store.cell(row, 1).value = _typed(value)
        book[sheet][address] = f"=Cache!A{row}"
    return _saved(book)


def named_constants(forger: Forger) -> bytes:
    """Names that stand for the right values."""
    book = load_workbook(io.BytesIO(forger.reference))
    for row, ((sheet, address), value) in enumerate(forger.answers.items(), 1):
        book.defined_names[f"result_{row}"] = DefinedName(f"result_{row}", attr_text=_constant(value)[1:])
        book[sheet][address] = f"=result_{row}"
    return _saved(book)


def invisible(forger: Forger) -> bytes:
    """The right formulas, written in white on white."""
    book = load_workbook(io.BytesIO(forger.reference))
    seen = [c for c in forger.spec.checks if isinstance(c, Cells) and c.visible]
    if not any(
        (check.sheet, address) in forger.answers for check in seen for address in _addresses(check.range)
    ):
        raise NoHold("no answer has to be seen")
    for sheet, address in forger.answers:
        book[sheet][address].font = Font(color="FFFFFF")
    return _saved(book)


def cached(forger: Forger) -> bytes:
    """Formulas of zero whose cached values are right."""
    return with_cache(forger, lambda _: "0")


def circular(forger: Forger) -> bytes:
    """Cells that read themselves, with iteration on and the right values cached."""
    return with_cache(forger, lambda address: address, iterate=True)


def with_cache(forger: Forger, formula: Callable[[str], str], *, iterate: bool = False) -> bytes:
    """The reference whose answers have the formula of their address and the right value in the cache."""
    sheets = _sheet_parts(forger.reference)
    found = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(forger.reference)) as source, zipfile.ZipFile(found, "w") as target:
        for part in source.namelist():
            data = source.read(part)
            if part in sheets:
                data = FORMULA.sub(_cache(forger, sheets[part], formula), data)
            if iterate and part == "xl/workbook.xml":
                data = re.sub(rb"<calcPr", b'<calcPr iterate="1" iterateCount="100"', data)
            target.writestr(part, data, zipfile.ZIP_DEFLATED)
    return found.getvalue()


def _cache(forger: Forger, sheet: str, formula: Callable[[str], str]) -> Callable[[re.Match[bytes]], bytes]:
    def replaced(match: re.Match[bytes]) -> bytes:
        address = match[1].decode()
        if (sheet, address) not in forger.answers:
            return match[0]
        value = _serial(forger.answers[sheet, address])
        style = re.sub(rb'\s+t="[^"]*"', b"", match[2])
        kind = b' t="b"' if isinstance(value, bool) else b' t="str"' if isinstance(value, str) else b""
        shown = "" if value is None else str(int(value)) if isinstance(value, bool) else escape(str(value))
        body = escape(formula(address)).encode()
        return b'<c r="%s"%s%s><f>%s</f><v>%s</v></c>' % (match[1], style, kind, body, shown.encode())

    return replaced


def _sheet_parts(data: bytes) -> dict[str, str]:
    """Part of the archive → name of its sheet, in openpyxl's own numbering."""
    names = load_workbook(io.BytesIO(data), read_only=True).sheetnames
    return {f"xl/worksheets/sheet{n}.xml": name for n, name in enumerate(names, 1)}


FORGERIES: Mapping[str, Callable[[Forger], bytes]] = {
    one.__name__: one
    for one in (
        values_pasted, constants, numbers_as_text, errors_masked, reads_in_vain, knows_the_inputs,
        hidden_answers, named_constants, invisible, cached, circular,
    )
}  # fmt: skip
