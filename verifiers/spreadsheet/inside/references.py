"""What a formula reads: its references, functions and constants, and what those read in turn.

Formulas are split by openpyxl's tokenizer; nothing is evaluated. Where a reference is made while calculating
(INDIRECT, OFFSET), reading cannot tell what is read, and `dynamic` says so: changed inputs decide then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from functions import DYNAMIC, bare, written
from openpyxl.formula import Tokenizer
from openpyxl.formula.tokenizer import Token
from openpyxl.utils import column_index_from_string, get_column_letter

MAX_ROW, MAX_COLUMN = 1_048_576, 16_384
AREA = re.compile(
    r"^\$?([A-Za-z]{1,3})\$?(\d{1,7})(?::\$?([A-Za-z]{1,3})\$?(\d{1,7}))?$"
    r"|^\$?([A-Za-z]{1,3}):\$?([A-Za-z]{1,3})$|^\$?(\d{1,7}):\$?(\d{1,7})$"
)
SHEET = re.compile(r"^(?:'((?:[^']|'')+)'|([^'!\[\]]+))!(.*)$", re.S)
STRUCTURED = re.compile(r"^([A-Za-z_\\][\w.\\]*)?\[(.*)\]$", re.S)
DEPTH = 20  # of names that stand for names
MOST = 50_000  # formula cells followed


class Area(NamedTuple):
    """A rectangle of one sheet; rows and columns count from 1, both ends included."""

    sheet: str
    top: int
    left: int
    bottom: int
    right: int

    def meets(self, other: Area) -> bool:
        return (
            self.sheet.casefold() == other.sheet.casefold()
            and self.top <= other.bottom and other.top <= self.bottom
            and self.left <= other.right and other.left <= self.right
        )  # fmt: skip

    def cells(self) -> list[tuple[str, int, int]]:
        return [
            (self.sheet, row, column)
            for row in range(self.top, self.bottom + 1)
            for column in range(self.left, self.right + 1)
        ]

    @property
    def size(self) -> int:
        return (self.bottom - self.top + 1) * (self.right - self.left + 1)

    def __str__(self) -> str:
        first = f"{get_column_letter(self.left)}{self.top}"
        last = f"{get_column_letter(self.right)}{self.bottom}"
        return f"{self.sheet}!{first}" + (f":{last}" if first != last else "")


def area(text: str, sheet: str) -> Area | None:
    """`B2:C9`, `Sheet!A:A`, `'My sheet'!3:4` as an area; None for anything else."""
    if found := SHEET.match(text):
        sheet, text = (found[1] or found[2]).replace("''", "'"), found[3]
    match = AREA.match(text)
    if match is None:
        return None
    a, b, c, d, e, f, g, h = match.groups()
    try:
        if a:
            left, top = column_index_from_string(a), int(b)
            right, bottom = (column_index_from_string(c), int(d)) if c else (left, top)
        elif e:
            left, right, top, bottom = column_index_from_string(e), column_index_from_string(f), 1, MAX_ROW
        else:
            left, right, top, bottom = 1, MAX_COLUMN, int(g), int(h)
    except ValueError:
        return None
    top, bottom, left, right = min(top, bottom), max(top, bottom), min(left, right), max(left, right)
    return Area(sheet, top, left, bottom, right) if top and bottom <= MAX_ROW else None


@dataclass
class Reading:
    """What formulas read, gathered."""

    areas: list[Area] = field(default_factory=list)
    functions: set[str] = field(default_factory=set)
    constants: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    dynamic: bool = False


@dataclass(frozen=True)
class Names:
    """What words in formulas stand for."""

    defined: Mapping[tuple[str, str], str]
    """(sheet or '', name), casefolded → text."""
    tables: Mapping[str, tuple[Area, tuple[str, ...], int, int]]
    """name, casefolded → its area, its columns, header rows, totals rows."""


def read(formula: str, sheet: str, row: int, names: Names, into: Reading, depth: int = 0) -> None:
    """Add to `into` what one formula in a cell of `sheet` reads."""
    try:
        tokens = Tokenizer(formula).items
    except Exception:  # the tokenizer has no error of its own; what it cannot split, no engine calculates
        into.unknown.add(formula[:60])
        return
    for token in tokens:
        if token.type == Token.FUNC and token.subtype == Token.OPEN:
            start, _, called = token.value[:-1].rpartition(":")  # `A1:INDEX(` is one token
            into.functions.add(bare(called))
            into.dynamic |= bare(called) in DYNAMIC
            if start:
                _reference(start, sheet, row, names, into, depth)
        elif token.type == Token.OPERAND:
            _operand(token, sheet, row, names, into, depth)


def _operand(token: Token, sheet: str, row: int, names: Names, into: Reading, depth: int) -> None:
    if token.subtype == Token.NUMBER:
        into.constants.append(float(token.value))
    elif token.subtype == Token.TEXT:
        into.texts.append(token.value[1:-1].replace('""', '"'))
    elif token.subtype == Token.RANGE:
        for part in _range_parts(token.value):
            _reference(part, sheet, row, names, into, depth)


def _range_parts(text: str) -> list[str]:
    """`A1:B2` whole; `Start:End` between names as two; a trailing `#` (spilled range) dropped."""
    text = text.removesuffix("#").removeprefix("@")
    if area(text, "") or "[" in text or ":" not in text:
        return [text]
    return text.split(":")


def _reference(text: str, sheet: str, row: int, names: Names, into: Reading, depth: int) -> None:
    if found := area(text, sheet):
        into.areas.append(found)
        return
    if (match := STRUCTURED.match(text)) and (match[1] or "").casefold() in names.tables:
        into.areas += _structured(match[2], row, *names.tables[match[1].casefold()])
        return
    if text.casefold() in names.tables:
        whole, _, head, foot = names.tables[text.casefold()]
        into.areas.append(whole._replace(top=whole.top + head, bottom=whole.bottom - foot))
        return
    scope, name = sheet, text
    if named := SHEET.match(text):
        scope, name = (named[1] or named[2]).replace("''", "'"), named[3]
    meant = names.defined.get((scope.casefold(), name.casefold())) or names.defined.get(("", name.casefold()))
    if meant is None:
        into.unknown.add(text[:60])
    elif depth < DEPTH:
        read("=" + meant.removeprefix("="), sheet, row, names, into, depth + 1)


def _structured(
    inner: str, row: int, whole: Area, columns: tuple[str, ...], head: int, foot: int
) -> list[Area]:
    """`[Col]`, `[[#This Row],[Col]]`, `[@Col]`, `[[A]:[B]]` … of a table."""
    body = whole._replace(top=whole.top + head, bottom=whole.bottom - foot)
    lowered = inner.casefold()
    if "#all" in lowered or "#headers" in lowered or "#totals" in lowered:
        body = whole
    if "#this row" in lowered or inner.startswith("@"):
        body = body._replace(top=row, bottom=row)
    asked = [part.strip("[]@' ").casefold() for part in re.split(r"[\],:]+\s*\[?", inner) if part]
    places = [n for n, column in enumerate(columns) if column.casefold() in asked]
    if not places:
        return [body]
    return [body._replace(left=whole.left + min(places), right=whole.left + max(places))]


def completed(formula: str) -> str:
    """A formula with new functions, and the variables of LET and LAMBDA, as files write them."""
    if not formula.startswith("="):
        return formula
    try:
        tokenizer = Tokenizer(formula)
    except Exception:  # as in `read`
        return formula
    before = [token.value for token in tokenizer.items]
    variables = _variables(tokenizer.items)
    for token in tokenizer.items:
        if token.type == Token.FUNC and token.subtype == Token.OPEN and ":" not in token.value:
            called = token.value[:-1]
            token.value = (written(called) if bare(called).casefold() not in variables else called) + "("
        elif token.type == Token.OPERAND and token.value.casefold() in variables:
            token.value = f"_xlpm.{token.value}"
    changed = before != [token.value for token in tokenizer.items]
    return tokenizer.render() if changed else formula


def _variables(tokens: list[Token]) -> set[str]:
    """Names that LET and LAMBDA bind, casefolded: every second argument of the one, all but the last of the
    other. Names that are bound already as files write them are left alone.
    """
    bound: set[str] = set()
    stack: list[tuple[str, list[str]]] = []
    for n, token in enumerate(tokens):
        if token.subtype == Token.OPEN:
            stack.append((bare(token.value[:-1]), []))
        elif token.subtype == Token.CLOSE and stack:
            stack.pop()
        elif token.type == Token.OPERAND and stack and stack[-1][0] in ("LET", "LAMBDA"):
            following = next((t for t in tokens[n + 1 :] if t.type != Token.WSPACE), None)
            leading = next((t for t in reversed(tokens[:n]) if t.type != Token.WSPACE), None)
            alone = (
                leading is not None and (leading.type == Token.SEP or leading.subtype == Token.OPEN)
                and following is not None and following.type == Token.SEP
            )  # fmt: skip
            is_name = token.subtype == Token.RANGE and area(token.value, "") is None
            if alone and is_name and re.fullmatch(r"[^\W\d]\w*", token.value):
                bound.add(token.value.casefold())
    return bound
