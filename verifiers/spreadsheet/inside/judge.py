"""Judges one workbook by a specification (`spec.json`, see `verifiers.spreadsheet.spec`) with engines at
hand.

Structure and formulas are read from the original; values come from recalculated copies, first as handed in,
then with changed inputs, whose right answers are in the specification. Where two engines differ the first
decides, and the report says so. A function that the first lacks leaves the word to the second; one that both
lack makes the task `unsupported`, unless some other check has failed anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from book import Book, Place
from functions import LACKING
from highlights import lay_conditions, scratch_area
from intake import Admitted, Refused, admit
from openpyxl.styles.numbers import is_date_format
from openpyxl.utils import get_column_letter
from references import Area, area
from structure import check_structure, hidden
from values import BLANK, Value, agree, close, difference, typed

SHOWN = 5  # differences told of one check
ABSOLUTE, RELATIVE = 1e-6, 1e-6


class NeedsAuthority(Exception):
    """Only LibreOffice can take this file, and there is none here."""


class Unsupported(Exception):
    """No engine here has a function that the answer uses."""


class Session(Protocol):
    """One workbook in one engine."""

    name: str
    version: str

    def edit(self, sheet: str, row: int, column: int, content: Value) -> None: ...

    def calculate(self) -> None: ...

    def read(self, wanted: Area) -> dict[tuple[int, int], Value]: ...

    def close(self) -> None: ...


Opener = Callable[[bytes, list[str]], Session]


@dataclass(frozen=True)
class Engines:
    """What recalculates here, the one that decides first; and what turns .ods into .xlsx."""

    openers: Sequence[tuple[str, Opener]]
    unreadable: tuple[type[Exception], ...] = ()
    to_xlsx: Callable[[bytes], bytes] | None = None


Values = dict[Place, Value]


@dataclass
class Observed:
    """What one engine said: as handed in, then under each change of inputs."""

    name: str
    version: str
    states: list[Values] = field(default_factory=list)


def judge(
    spec: Mapping[str, Any], name: str, data: bytes, engines: Engines, *, hasty: bool = False
) -> dict[str, Any]:
    """The report on one file. Raises NeedsAuthority, Unsupported; a refused file is a malformed
    submission.
    """
    try:
        admitted = admit(name, data)
        if admitted.kind == "ods":
            if engines.to_xlsx is None:
                raise NeedsAuthority(f"{name} can be read by LibreOffice only.")
            admitted = Admitted("xlsx", engines.to_xlsx(data), admitted.notes)
        book = Book.open(name, admitted)
        return _judge(spec, book, engines, hasty=hasty)
    except Refused as refused:
        return report("malformed", str(refused))
    except MemoryError:
        return report("malformed", f"{name} needs more memory than a graded workbook may.")
    except engines.unreadable as error:
        return report("malformed", f"{name} cannot be recalculated: {str(error)[:300]}")


def report(
    kind: str, reason: str, checks: Sequence[dict[str, Any]] = (), more: dict[str, Any] | None = None
) -> dict[str, Any]:
    paid = kind == "scored" and bool(checks) and all(check["passed"] for check in checks)
    return {"kind": kind, "reason": reason, "reward": float(paid), "checks": list(checks), "report": more}


def row(name: str, wrong: str, fine: str = "") -> dict[str, Any]:
    evidence = (wrong or fine)[:600]
    return {"name": name, "passed": not wrong, "score": float(not wrong), "evidence": evidence}


def _judge(spec: Mapping[str, Any], book: Book, engines: Engines, *, hasty: bool) -> dict[str, Any]:
    if "sheet_of_csv" in spec and book.notes == ("values only, as .csv is",):
        book.workbook.worksheets[0].title = spec["sheet_of_csv"]
    checks = spec["checks"]
    rows = [_static(book, check) for check in checks if check["kind"] in STATIC]
    dynamic = [check for check in checks if check["kind"] not in STATIC]
    rows += [row(f"visible {c['name']}", hidden(book, w)) for c, w in _visible(book, dynamic)]
    if hasty and not all(one["passed"] for one in rows):
        return report("scored", "", rows)
    missing = _missing_sheets(book, dynamic)
    if missing:
        return report("scored", "", [*rows, row("sheets", missing)])
    inputs = [row(f"inputs of {c['name']}", _moved(book, c)) for c in dynamic if c["kind"] == "perturbation"]
    if not all(one["passed"] for one in inputs):
        return report("scored", "", [*rows, *inputs])
    lacks = _lacking(book, dynamic, engines)
    dates = _dates(book, dynamic)
    plan = _Plan.of(book, dynamic)
    copy = book.copy()
    seen, decides = _observe(plan, copy, book, engines, lacks, hasty=hasty)
    if decides is None:
        functions = ", ".join(sorted(next(iter(lacks.values()), set())))
        if all(one["passed"] for one in rows):
            raise Unsupported(f"no engine here calculates {functions}")
        return report("scored", f"not recalculated: no engine here calculates {functions}", rows)
    rows += [_dynamic(check, decides, n, dates) for n, check in plan.numbered(dynamic)]
    rows.append(_engines(seen, decides, lacks))
    told: dict[str, Any] = {
        "engines": {one.name: one.version for one in seen}, "decided_by": decides.name,
        "inverted": len(plan.edits), "notes": list(book.notes),
    }  # fmt: skip
    return report("scored", "", rows, told)


STATIC = ("formula", "structure")


def _static(book: Book, check: Mapping[str, Any]) -> dict[str, Any]:
    wrong = check_structure(book, check) if check["kind"] == "structure" else _formula(book, check)
    return row(check["name"], wrong)


def _formula(book: Book, check: Mapping[str, Any]) -> str:
    """Cells that must be formulas, what they must read, and which numbers must not be written into them."""
    where = _area(book, check["sheet"], check["range"])
    if where is None:
        return f"there is no sheet {check['sheet']!r}"
    for place in where.cells():
        if place not in book.formulas:
            return f"{_name(place)} is typed, not calculated"
    reading = book.precedents(where.cells())
    for text in check.get("references", ()):
        wanted = area(text, where.sheet)
        met = wanted is None or any(found.meets(wanted) for found in reading.areas)
        if not met and not reading.dynamic:
            return f"nothing in {where} reads {text}"
    for number in check.get("forbid", ()):
        written = [*reading.constants, *(c / 100 for c in reading.constants), *_numbers(reading.texts)]
        if any(close(constant, number, 0, 1e-9) for constant in written):
            return f"the number {number:g} is written into the formulas of {where}"
    return ""


def _numbers(texts: list[str]) -> list[float]:
    found = []
    for text in texts:
        try:
            found.append(float(text.replace(",", "").rstrip("%")))
        except ValueError:
            continue
    return found


def _area(book: Book, sheet: str, text: str) -> Area | None:
    found = book.sheet(sheet)
    return area(text, found.title) if found is not None else None


def _name(place: Place) -> str:
    return f"{place[0]}!{get_column_letter(place[2])}{place[1]}"


def _blocks(check: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The stretches of cells that a check of values looks at."""
    return [check] if check["kind"] in ("cells", "highlight") else list(check["expect"])


def _visible(book: Book, checks: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], Area]]:
    found = []
    for check in checks:
        if check["kind"] == "cells" and check.get("visible", True):
            where = _area(book, check["sheet"], check["range"])
            if where is not None:
                found.append((check, where))
    return found


def _missing_sheets(book: Book, checks: Sequence[Mapping[str, Any]]) -> str:
    for check in checks:
        for block in (*_blocks(check), *check.get("edits", ())):
            if book.sheet(block["sheet"]) is None:
                return f"there is no sheet {block['sheet']!r}"
    return ""


def _moved(book: Book, check: Mapping[str, Any]) -> str:
    """Inputs must lie where they lay, as typed values: elsewhere, changing them would change nothing."""
    for edit in check["edits"]:
        where = _area(book, edit["sheet"], edit["cell"])
        assert where is not None
        (place,) = where.cells()
        now, before = typed(book.literal(place)), typed(edit["was"])
        near = now[0] == before[0] == "number" and close(now[1], before[1], 1e-6, 1e-9)
        if place in book.formulas or (now != before and not near):
            return f"the input in {_name(place)} was moved or overwritten"
    return ""


def _lacking(book: Book, checks: Sequence[Mapping[str, Any]], engines: Engines) -> dict[str, set[str]]:
    """Engine → functions below the checked cells that it lacks."""
    places = []
    for check in checks:
        for block in _blocks(check):
            where = _area(book, block["sheet"], block["range"])
            places += where.cells() if where is not None else []
    called = book.precedents(places).functions
    return {name: lack for name, _ in engines.openers if (lack := called & LACKING[name])}


def _dates(book: Book, checks: Sequence[Mapping[str, Any]]) -> set[Place]:
    """Cells of the checks that are shown as dates."""
    found = set()
    for check in checks:
        for block in _blocks(check):
            where = _area(book, block["sheet"], block["range"])
            for place in where.cells() if where is not None else []:
                cell = book.workbook[place[0]]._cells.get((place[1], place[2]))
                if cell is not None and is_date_format(cell.number_format):
                    found.add(place)
    return found


@dataclass(frozen=True)
class _Plan:
    """What is read of the workbook as it is, and what after each change of inputs."""

    base: tuple[Area, ...]
    edits: tuple[tuple[tuple[tuple[Place, Value, Value], ...], tuple[Area, ...]], ...]

    @classmethod
    def of(cls, book: Book, checks: Sequence[Mapping[str, Any]]) -> _Plan:
        base: list[Area] = []
        edits = []
        for check in checks:
            areas = [_value_area(book, block) for block in _blocks(check)]
            base += areas
            if check["kind"] == "perturbation":
                edits.append((tuple(_edit(book, edit) for edit in check["edits"]), tuple(areas)))
        return cls(tuple(dict.fromkeys(base)), tuple(edits))

    def numbered(self, checks: Sequence[Mapping[str, Any]]) -> list[tuple[int, Mapping[str, Any]]]:
        """Each check with the number of the state that it looks at."""
        state, found = 0, []
        for check in checks:
            state += check["kind"] == "perturbation"
            found.append((state if check["kind"] == "perturbation" else 0, check))
        return found


def _value_area(book: Book, block: Mapping[str, Any]) -> Area:
    where = _area(book, block["sheet"], block["range"])
    assert where is not None  # `_missing_sheets` has looked
    if block.get("highlight") or block.get("kind") == "highlight":
        lay_conditions(book, where)
        return scratch_area(where)
    return where


def _edit(book: Book, edit: Mapping[str, Any]) -> tuple[Place, Value, Value]:
    where = _area(book, edit["sheet"], edit["cell"])
    assert where is not None
    (place,) = where.cells()
    return place, typed(edit["value"]), typed(edit["was"])


def _observe(
    plan: _Plan, copy: bytes, book: Book, engines: Engines, lacks: dict[str, set[str]], *, hasty: bool
) -> tuple[list[Observed], Observed | None]:
    """What each engine says, and the one that decides; None where each lacks a function."""
    seen: list[Observed] = []
    decides: Observed | None = None
    for name, opener in engines.openers:
        if decides is not None and (hasty or name in lacks):
            continue
        try:
            one = _run(plan, opener(copy, book.workbook.sheetnames))
        except engines.unreadable:
            if decides is None and name not in lacks:
                raise  # it is the one that decides
            continue
        seen.append(one)
        if decides is None and name not in lacks:
            decides = one
    for one in seen:
        if decides is not None and one is not decides:
            _settle(decides, one)
    return seen, decides


def _run(plan: _Plan, session: Session) -> Observed:
    try:
        found = Observed(session.name, session.version)
        session.calculate()
        found.states.append(_read(session, plan.base))
        for edits, areas in plan.edits:
            for place, content, _ in edits:
                session.edit(*place, content)
            session.calculate()
            found.states.append(_read(session, areas))
            for place, _, content in edits:
                session.edit(*place, content)
        return found
    finally:
        session.close()


def _read(session: Session, areas: Sequence[Area]) -> Values:
    return {
        (where.sheet, line, column): content
        for where in areas
        for (line, column), content in session.read(where).items()
    }


def _settle(decides: Observed, other: Observed) -> None:
    """LibreOffice keeps truth values as numbers and has one error for two of Excel's.

    Where another engine has TRUE for its 1, or #VALUE! for its #NUM!, that is what it is.
    """
    for mine, theirs in zip(decides.states, other.states, strict=True):
        for place, content in mine.items():
            second = theirs.get(place, BLANK)
            truth = content[0] == "number" and second[0] == "boolean" and content[1] == float(second[1])
            if truth or (content, second) == (("error", "#NUM!"), ("error", "#VALUE!")):
                mine[place] = second


def _dynamic(check: Mapping[str, Any], observed: Observed, state: int, dates: set[Place]) -> dict[str, Any]:
    wrong: list[str] = []
    values = observed.states[state]
    by_name: dict[tuple[str, int, int], tuple[Place, Value]] = {
        (place[0].casefold(), place[1], place[2]): (place, content) for place, content in values.items()
    }
    for block in _blocks(check):
        where = area(block["range"], block["sheet"].strip())
        assert where is not None
        shown = scratch_area(where) if block.get("highlight") or check["kind"] == "highlight" else where
        rows = block["expect"] if "expect" in block else block["values"]
        for _, line, column in where.cells():
            expected = rows[line - where.top][column - where.left]
            place, actual = by_name.get(
                (shown.sheet.casefold(), line, column), ((shown.sheet, line, column), BLANK)
            )
            if (told := difference(
                expected, actual, is_date=place in dates, case=check.get("case", False),
                absolute=check.get("abs", ABSOLUTE), relative=check.get("rel", RELATIVE),
            )):  # fmt: skip
                wrong.append(f"{block['sheet']}!{get_column_letter(column)}{line} {told}")
    more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    return row(check["name"], "; ".join(wrong[:SHOWN]) + more)


def _engines(seen: list[Observed], decides: Observed, lacks: dict[str, set[str]]) -> dict[str, Any]:
    """What calculated, and where they differ. It never fails: the first decides."""
    told = [f"{decides.name} {decides.version} decides"]
    told += [f"{name} lacks {', '.join(sorted(lack))}" for name, lack in lacks.items()]
    for other in seen:
        if other is decides:
            continue
        pairs = [
            (place, content, theirs.get(place, BLANK))
            for mine, theirs in zip(decides.states, other.states, strict=True)
            for place, content in mine.items()
        ]
        apart = [(place, one, two) for place, one, two in pairs if not agree(one, two)]
        told.append(
            f"{other.name} {other.version} agrees on {len(pairs) - len(apart)} of {len(pairs)} values"
        )
        told += [f"at {_name(place)}: {one[1]} and {two[1]}" for place, one, two in apart[:3]]
    return row("engines", "", "; ".join(told))
