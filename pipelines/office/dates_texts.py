"""Operations that fill a column from texts and dates: parts of codes, names put right, quarters, due dates,
repeats.
"""

from __future__ import annotations

import calendar
import datetime as dt
import random
from typing import Any

from openpyxl.utils import quote_sheetname

from pipelines.office.columns import domain_of, has_column
from pipelines.office.seeds import MAIN
from pipelines.office.state import DATE, NUMBER, TEXT, State
from pipelines.office.step import Operation, Step, live_column

WEEKEND = 5  # Saturday, as Python counts


def split(state: State, rng: random.Random) -> Step | None:
    """The part of a code before its hyphen, or the number after it."""
    domain = domain_of(state)
    if domain is None:
        return None
    table = state.tables[MAIN]
    letter = table.letter(domain.code)
    parts = [p for p in ("prefix", "number") if not has_column(state, f"{domain.code} {p}")]
    if not parts:
        return None
    part = rng.choice(parts)
    if part == "prefix":
        return live_column(
            state,
            "split",
            MAIN,
            f"{domain.code} prefix",
            TEXT,
            lambda row: f'=LEFT({letter}{row},FIND("-",{letter}{row})-1)',
            lambda s: [value.split("-")[0] for value in s.tables[MAIN].values(domain.code)],
            reads=(table.reference(domain.code),),
            say={"of": domain.code, "part": "the letters before the hyphen"},
        )
    return live_column(
        state,
        "split",
        MAIN,
        f"{domain.code} number",
        NUMBER,
        lambda row: f'=VALUE(MID({letter}{row},FIND("-",{letter}{row})+1,20))',
        lambda s: [float(value.split("-")[1]) for value in s.tables[MAIN].values(domain.code)],
        reads=(table.reference(domain.code),),
        form="0",
        say={"of": domain.code, "part": "the number after the hyphen, as a number"},
    )


def clean(state: State, rng: random.Random) -> Step | None:
    """Names as they should be written: single blanks, none outside, capitals at the start of words."""
    domain = domain_of(state)
    if domain is None or has_column(state, f"{domain.dirty} (clean)"):
        return None
    table = state.tables[MAIN]
    letter = table.letter(domain.dirty)
    return live_column(
        state,
        "clean",
        MAIN,
        f"{domain.dirty} (clean)",
        TEXT,
        lambda row: f"=PROPER(TRIM({letter}{row}))",
        lambda s: [" ".join(value.split()).title() for value in s.tables[MAIN].values(domain.dirty)],
        reads=(table.reference(domain.dirty),),
        say={"of": domain.dirty},
    )


def months_after(day: dt.date, months: int) -> dt.date:
    """The same day of a later month, or its last."""
    month = day.month - 1 + months
    year, month = day.year + month // 12, month % 12 + 1
    return dt.date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def date_part(state: State, rng: random.Random) -> Step | None:
    """Month, quarter or weekday of a date."""
    domain = domain_of(state)
    if domain is None:
        return None
    table = state.tables[MAIN]
    letter = table.letter(domain.date)
    parts = {
        "Month": (lambda d: d.month, "=MONTH({c})", "the month as a number from 1 to 12"),
        "Quarter": (
            lambda d: f"Q{(d.month + 2) // 3}",
            '="Q"&ROUNDUP(MONTH({c})/3,0)',
            "the quarter, written Q1 to Q4",
        ),
        "Weekday": (lambda d: d.isoweekday(), "=WEEKDAY({c},2)", "the weekday as a number, Monday being 1"),
    }
    left = [name for name in parts if not has_column(state, name)]
    if not left:
        return None
    name = rng.choice(left)
    part, formula, told = parts[name]
    return live_column(
        state,
        "date_part",
        MAIN,
        name,
        TEXT if name == "Quarter" else NUMBER,
        lambda row: formula.format(c=f"{letter}{row}"),
        lambda s: [part(value) for value in s.tables[MAIN].values(domain.date)],
        reads=(table.reference(domain.date),),
        form="0",
        say={"of": domain.date, "told": told},
    )


def due(state: State, rng: random.Random) -> Step | None:
    """A date some days or months later."""
    domain = domain_of(state)
    if domain is None or has_column(state, "Due date"):
        return None
    wait, table = state.inputs["days"], state.tables[MAIN]
    letter = table.letter(domain.date)
    way = rng.choice(("days", "month end", "working days"))
    reads = (table.reference(domain.date),)
    cell = f"{quote_sheetname(wait.sheet)}!{wait.cell}"
    if way == "month end":
        return live_column(
            state,
            "due",
            MAIN,
            "Due date",
            DATE,
            lambda row: f"=EOMONTH({letter}{row},1)",
            lambda s: [_month_end(months_after(value, 1)) for value in s.tables[MAIN].values(domain.date)],
            reads=reads,
            say={"of": domain.date, "told": "the last day of the month after"},
        )
    if way == "days":
        return live_column(
            state,
            "due",
            MAIN,
            "Due date",
            DATE,
            lambda row: f"={letter}{row}+{wait.fixed}",
            lambda s: [
                value + dt.timedelta(int(s.inputs["days"].value))
                for value in s.tables[MAIN].values(domain.date)
            ],
            reads=(*reads, cell),
            say={"of": domain.date, "told": f"as many days later as {wait.sheet}!{wait.cell} says"},
        )
    return live_column(
        state,
        "due",
        MAIN,
        "Due date",
        DATE,
        lambda row: f"=WORKDAY({letter}{row},{wait.fixed})",
        lambda s: [
            _workday(value, int(s.inputs["days"].value)) for value in s.tables[MAIN].values(domain.date)
        ],
        reads=(*reads, cell),
        say={
            "of": domain.date,
            "told": f"as many working days (Monday to Friday) later as {wait.sheet}!{wait.cell} says",
        },
    )


def _month_end(day: dt.date) -> dt.date:
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])


def _workday(day: dt.date, count: int) -> dt.date:
    while count:
        day += dt.timedelta(1)
        count -= day.weekday() < WEEKEND
    return day


def entries(state: State, rng: random.Random) -> Step | None:
    """Which rows were entered before: the duplicates that have to go."""
    domain = domain_of(state)
    if domain is None or has_column(state, "Duplicate"):
        return None
    table = state.tables[MAIN]
    name = table.columns[0].name
    letter, first = table.letter(name), table.first

    def compute(s: State) -> list[Any]:
        values = s.tables[MAIN].values(name)
        return ["yes" if value in values[:n] else "no" for n, value in enumerate(values)]

    return live_column(
        state,
        "entries",
        MAIN,
        "Duplicate",
        TEXT,
        lambda row: f'=IF(COUNTIF(${letter}${first}:{letter}{row},{letter}{row})>1,"yes","no")',
        compute,
        reads=(table.reference(name),),
        say={"of": name},
    )


OPERATIONS = (
    Operation("split", 2, split),
    Operation("clean", 1, clean),
    Operation("date_part", 1, date_part),
    Operation("due", 2, due),
    Operation("entries", 2, entries),
)
