"""Which cells conditional formats light up: told by calculating their conditions, not by comparing rules.

A condition becomes a formula on a scratch sheet of the copy that is recalculated, so every rule that lights
the same cells is accepted, and changed inputs show whether it follows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from book import Book
from openpyxl.formula import Tokenizer
from openpyxl.formula.tokenizer import Token
from openpyxl.formula.translate import Translator
from openpyxl.utils import get_column_letter, quote_sheetname
from references import Area, area

SCRATCH = "Conditions of {}"
OPERATORS = {
    "greaterThan": ">", "lessThan": "<", "greaterThanOrEqual": ">=", "lessThanOrEqual": "<=", "equal": "=",
    "notEqual": "<>",
}  # fmt: skip
MOST = 5000


def scratch_area(where: Area) -> Area:
    """Where the conditions of `where` are calculated."""
    return where._replace(sheet=SCRATCH.format(where.sheet)[:31])


def lay_conditions(book: Book, where: Area) -> None:
    """Write the conditions of the cells in `where` into their scratch cells."""
    sheet = book.sheet(where.sheet)
    if sheet is None or where.size > MOST:
        return
    conditions: dict[tuple[int, int], list[str]] = {}
    for block in sheet.conditional_formatting:
        for part in block.sqref.ranges:
            for rule in block.rules:
                if not _shows(rule):
                    continue
                for row in range(max(part.min_row, where.top), min(part.max_row, where.bottom) + 1):
                    for column in range(max(part.min_col, where.left), min(part.max_col, where.right) + 1):
                        found = list(_condition(rule, part, row, column))
                        conditions.setdefault((row, column), []).extend(found)
    name = scratch_area(where).sheet
    scratch = book.workbook[name] if name in book.workbook.sheetnames else book.workbook.create_sheet(name)
    for _, row, column in where.cells():
        tests = [
            f"IFERROR(({_qualified(one, sheet.title)})*1,0)<>0" for one in conditions.get((row, column), [])
        ]
        scratch.cell(row, column).value = f"=OR({','.join(tests)})" if tests else False


def _qualified(condition: str, sheet: str) -> str:
    """A condition that can stand on another sheet."""
    try:
        tokenizer = Tokenizer("=" + condition)
    except Exception:  # the tokenizer has no error of its own; what it cannot split lights nothing
        return "FALSE"
    for token in tokenizer.items:
        bare = token.type == Token.OPERAND and token.subtype == Token.RANGE and "!" not in token.value
        if bare and area(token.value, "") is not None:
            token.value = f"{quote_sheetname(sheet)}!{token.value}"
    return tokenizer.render()[1:]


def _shows(rule: Any) -> bool:
    """Whether the rule changes how a cell looks."""
    look = rule.dxf
    return look is not None and any((look.font, look.fill, look.border, look.numFmt))


def _condition(rule: Any, part: Any, row: int, column: int) -> Iterator[str]:
    """The rule's condition on one cell, without its `=`."""
    here = f"{get_column_letter(column)}{row}"
    whole = (
        f"${get_column_letter(part.min_col)}${part.min_row}:${get_column_letter(part.max_col)}${part.max_row}"
    )
    origin = f"{get_column_letter(part.min_col)}{part.min_row}"
    given = [
        Translator("=" + str(text).removeprefix("="), origin=origin).translate_formula(here)[1:]
        for text in rule.formula
    ]
    match rule.type:
        case "cellIs" if rule.operator in OPERATORS and given:
            yield f"{here}{OPERATORS[rule.operator]}({given[0]})"
        case "cellIs" if rule.operator == "between" and len(given) == 2:
            yield f"AND({here}>=({given[0]}),{here}<=({given[1]}))"
        case "cellIs" if rule.operator == "notBetween" and len(given) == 2:
            yield f"OR({here}<({given[0]}),{here}>({given[1]}))"
        case "top10" if not rule.percent:
            yield f"RANK({here},{whole},{1 if rule.bottom else 0})<={rule.rank or 10}"
        case "aboveAverage":
            sign = ">" if rule.aboveAverage is not False else "<"
            yield f"{here}{sign}{'=' if rule.equalAverage else ''}AVERAGE({whole})"
        case "duplicateValues":
            yield f"COUNTIF({whole},{here})>1"
        case "uniqueValues":
            yield f"COUNTIF({whole},{here})=1"
        case "expression" | "containsText" | "notContainsText" | "beginsWith" | "endsWith" | "containsBlanks":
            yield from given[:1]
