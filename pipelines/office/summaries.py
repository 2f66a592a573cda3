"""Operations that bring many rows together on a sheet of their own: totals, cross tables, rankings,
comparisons.
"""

from __future__ import annotations

import datetime as dt
import random
from itertools import pairwise
from typing import Any

from openpyxl.utils import get_column_letter

from pipelines.office.columns import domain_of
from pipelines.office.seeds import MAIN
from pipelines.office.state import Ambiguous, Rows, State
from pipelines.office.step import Operation, Step, live_block, shown

CLOSE = 1e-6


def measures_of(state: State) -> list[str]:
    """Columns worth adding up."""
    domain = domain_of(state)
    if domain is None:
        return []
    known = {column.name for column in state.tables[MAIN].columns}
    wished = (domain.measure, domain.product[2], f"{domain.rate[0]} amount")
    return [name for name in wished if name in known]


def _groups(state: State) -> list[str]:
    domain = domain_of(state)
    if domain is None:
        return []
    known = {column.name for column in state.tables[MAIN].columns}
    return [*domain.group, *(name for name in ("Class", "Quarter") if name in known)]


def members_of(state: State, group: str) -> list[Any]:
    return sorted(set(state.tables[MAIN].values(group)), key=str)


def text_cells(where: list[tuple[str, Any]]) -> dict[str, str]:
    return {address: str(text) for address, text in where}


def by_group(state: State, rng: random.Random) -> Step | None:
    """A total, count or mean per group."""
    measures = measures_of(state)
    if not measures:
        return None
    group, measure = rng.choice(_groups(state)), rng.choice(measures)
    how = rng.choice(("total", "count", "average", "largest"))
    sheet = state.new_sheet(f"By {group}"[:25])
    table, members = state.tables[MAIN], members_of(state, group)
    g, m = table.fixed(group), table.fixed(measure)
    formulas = {
        "total": "=SUMIFS({m},{g},A{r})",
        "count": "=COUNTIF({g},A{r})",
        "average": "=AVERAGEIF({g},A{r},{m})",
        "largest": "=_xlfn.MAXIFS({m},{g},A{r})",
    }
    cells = {f"B{row}": formulas[how].format(m=m, g=g, r=row) for row in range(2, len(members) + 2)}
    labels = text_cells([("A1", group), *((f"A{n}", one) for n, one in enumerate(members, 2))])

    def compute(s: State) -> Rows:
        found = []
        for member in members:
            pairs = zip(s.tables[MAIN].values(group), s.tables[MAIN].values(measure), strict=True)
            values = [value for one, value in pairs if one == member]
            if not values:
                raise Ambiguous(f"no {member}")
            reduce = {"total": sum, "count": len, "largest": max, "average": lambda v: sum(v) / len(v)}[how]
            found.append([reduce(values)])
        return found

    reads = (
        (table.reference(group),) if how == "count" else (table.reference(group), table.reference(measure))
    )
    return live_block(
        state,
        "by_group",
        sheet,
        sheet,
        f"B2:B{len(members) + 1}",
        cells,
        compute,
        reads=reads,
        labels=labels,
        formats=dict.fromkeys(cells, "#,##0" if how == "count" else "#,##0.00"),
        say={
            "how": {
                "total": f"total {shown(table, measure)}",
                "count": f"number of {table.noun} rows",
                "average": f"average {shown(table, measure)}",
                "largest": f"largest {shown(table, measure)}",
            }[how],
            "group": group,
            "source": table.sheet,
            "members": ", ".join(map(str, members)),
        },
    )


def crosstab(state: State, rng: random.Random) -> Step | None:
    """Totals by two groups at once, with totals at the edges."""
    measures = measures_of(state)
    if not measures or len(_groups(state)) < 2:
        return None
    (rows, columns), measure = rng.sample(_groups(state), 2), rng.choice(measures)
    sheet = state.new_sheet("Cross table")
    table, down, across = state.tables[MAIN], members_of(state, rows), members_of(state, columns)
    last_row, last_column = len(down) + 2, get_column_letter(len(across) + 2)
    m, r, c = table.fixed(measure), table.fixed(rows), table.fixed(columns)
    labels = [("A1", rows), *((f"A{n}", one) for n, one in enumerate(down, 2)), (f"A{last_row}", "Total")]
    labels += [
        *((f"{get_column_letter(n)}1", one) for n, one in enumerate(across, 2)),
        (f"{last_column}1", "Total"),
    ]
    cells: dict[str, str] = {}
    for row in range(2, last_row):
        for n in range(2, len(across) + 2):
            letter = get_column_letter(n)
            cells[f"{letter}{row}"] = f"=SUMIFS({m},{r},$A{row},{c},{letter}$1)"
        cells[f"{last_column}{row}"] = f"=SUM(B{row}:{get_column_letter(len(across) + 1)}{row})"
    for n in range(2, len(across) + 3):
        letter = get_column_letter(n)
        cells[f"{letter}{last_row}"] = f"=SUM({letter}2:{letter}{last_row - 1})"

    def compute(s: State) -> Rows:
        t = s.tables[MAIN]
        triples = list(zip(t.values(rows), t.values(columns), t.values(measure), strict=True))
        body = [[sum(v for a, b, v in triples if (a, b) == (one, two)) for two in across] for one in down]
        body = [[*line, sum(line)] for line in body]
        return [*body, [sum(column) for column in zip(*body, strict=True)]]

    return live_block(
        state,
        "crosstab",
        sheet,
        sheet,
        f"B2:{last_column}{last_row}",
        cells,
        compute,
        reads=tuple(table.reference(name) for name in (rows, columns, measure)),
        labels=text_cells(labels),
        formats=dict.fromkeys(cells, "#,##0.00"),
        say={
            "measure": shown(table, measure),
            "rows": rows,
            "columns": columns,
            "source": table.sheet,
            "down": ", ".join(map(str, down)),
            "across": ", ".join(map(str, across)),
        },
    )


def monthly(state: State, rng: random.Random) -> Step | None:
    """Totals by calendar month, with the change from the month before."""
    measures = measures_of(state)
    domain = domain_of(state)
    if not measures or domain is None:
        return None
    measure, date = rng.choice(measures), domain.date
    sheet = state.new_sheet("Monthly")
    table = state.tables[MAIN]
    months = sorted({(d.year, d.month) for d in table.values(date)})
    m, d = table.fixed(measure), table.fixed(date)
    labels = [("A1", "Month"), ("B1", "Total"), ("C1", "Change")]
    starts = {f"A{n}": dt.date(year, month, 1) for n, (year, month) in enumerate(months, 2)}
    cells: dict[str, Any] = {**starts}
    for row in range(2, len(months) + 2):
        cells[f"B{row}"] = f'=SUMIFS({m},{d},">="&A{row},{d},"<="&EOMONTH(A{row},0))'
        cells[f"C{row}"] = '=""' if row == 2 else f'=IF(B{row - 1}=0,"",B{row}/B{row - 1}-1)'

    def compute(s: State) -> Rows:
        t = s.tables[MAIN]
        pairs = list(zip(t.values(date), t.values(measure), strict=True))
        sums = [sum(v for day, v in pairs if (day.year, day.month) == month) for month in months]
        return [
            [dt.date(*month, 1), whole, None if not n or not sums[n - 1] else whole / sums[n - 1] - 1]
            for n, (month, whole) in enumerate(zip(months, sums, strict=True))
        ]

    step = live_block(
        state,
        "monthly",
        sheet,
        sheet,
        f"A2:C{len(months) + 1}",
        cells,
        compute,
        reads=(table.reference(measure), table.reference(date)),
        labels=text_cells(labels),
        formats={a: "yyyy-mm-dd" if a[0] == "A" else "0.0%" if a[0] == "C" else "#,##0.00" for a in cells},
        say={
            "measure": shown(table, measure),
            "date": date,
            "source": table.sheet,
            "first": f"{starts['A2']}",
            "count": len(months),
        },
    )
    formula = step.checks[0].model_copy(update={"range": f"B2:B{len(months) + 1}"})
    return Step(step.operation, step.say, (formula,), step.blocks, step.labels)


def top(state: State, rng: random.Random) -> Step | None:
    """The largest few rows, with their names."""
    measures = measures_of(state)
    if not measures:
        return None
    measure, count = rng.choice(measures), rng.choice((3, 5))
    sheet = state.new_sheet("Top list")
    table = state.tables[MAIN]
    name = table.columns[0].name
    m, n = table.fixed(measure), table.fixed(name)
    cells: dict[str, str] = {}
    for row in range(2, count + 2):
        cells[f"C{row}"] = f"=LARGE({m},A{row})"
        cells[f"B{row}"] = f"=INDEX({n},MATCH(C{row},{m},0))"
    labels = [("A1", "Place"), ("B1", name), ("C1", measure)]
    places = {f"A{row}": row - 1 for row in range(2, count + 2)}

    def compute(s: State) -> Rows:
        pairs = sorted(
            zip(s.tables[MAIN].values(measure), s.tables[MAIN].values(name), strict=True), reverse=True
        )
        for (one, _), (other, _) in pairwise(pairs[: count + 1]):
            if one - other < CLOSE:
                raise Ambiguous("two rows share a place")
        return [[who, value] for value, who in pairs[:count]]

    return live_block(
        state,
        "top",
        sheet,
        sheet,
        f"B2:C{count + 1}",
        {**places, **cells},
        compute,
        reads=(table.reference(measure), table.reference(name)),
        labels=text_cells(labels),
        formats={address: "#,##0.00" for address in cells if address[0] == "C"},
        say={"count": count, "measure": shown(table, measure), "name": name, "source": table.sheet},
    )


def unique(state: State, rng: random.Random) -> Step | None:
    """The same records without those that were entered twice: how many there are, and their total."""
    domain = domain_of(state)
    if domain is None:
        return None
    table = state.tables[MAIN]
    name, measure = table.columns[0].name, domain.measure
    sheet = state.new_sheet("Without duplicates")
    n, m = table.fixed(name), table.fixed(measure)
    cells = {"B2": f"=SUMPRODUCT(1/COUNTIF({n},{n}))", "B3": f"=SUMPRODUCT({m}/COUNTIF({n},{n}))"}
    labels = text_cells([("A1", "Figure"), ("A2", f"Different {name}"), ("A3", f"Total {measure}")])

    def compute(s: State) -> Rows:
        ids = s.tables[MAIN].values(name)
        first = {}
        for key, value in zip(ids, s.tables[MAIN].values(measure), strict=True):
            if first.setdefault(key, value) != value:
                raise Ambiguous("the same entry with two values")
        return [[len(first)], [sum(first.values())]]

    return live_block(
        state,
        "unique",
        sheet,
        sheet,
        "B2:B3",
        cells,
        compute,
        reads=(table.reference(name),),
        labels=labels,
        formats={"B2": "0", "B3": "#,##0.00"},
        say={"name": name, "measure": shown(table, measure), "source": table.sheet},
    )


OPERATIONS = (
    Operation("by_group", 1, by_group),
    Operation("crosstab", 2, crosstab),
    Operation("monthly", 2, monthly),
    Operation("top", 2, top),
    Operation("unique", 3, unique),
)
