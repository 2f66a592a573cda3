"""Seed workbooks: from a domain and a number, always the same workbook with its ground truth.

What makes them look like somebody's: a title and a note above the header, units, reference and assumption
sheets, records entered twice, names as people paste them, cells that nobody filled in, a row of totals below.
"""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

from openpyxl import Workbook
from openpyxl.styles import Font

from pipelines.office.domains import DOMAINS, START, Domain, Field
from pipelines.office.draw import COMPANIES, amount, codes, days, dirty, person
from pipelines.office.finance_seeds import FINANCE
from pipelines.office.state import (
    NUMBER,
    TEXT,
    Column,
    Derived,
    Input,
    State,
    Table,
    Write,
    write_inputs,
    write_table,
)

NAMES = tuple(domain.name for domain in DOMAINS) + tuple(FINANCE)
MAIN, LOOKUP, TIERS, BUDGET = "main", "lookup", "tiers", "budget"


def seed(domain: str, number: int) -> State:
    """The workbook of a domain by its number."""
    rng = random.Random(f"{domain} {number}")
    if domain in FINANCE:
        return FINANCE[domain](rng)
    (found,) = (one for one in DOMAINS if one.name == domain)
    return _records(found, rng)


def _records(domain: Domain, rng: random.Random) -> State:
    state = State(domain.name, domain.title, f"{domain.file}.xlsx", facts={"domain": domain})
    count = rng.randint(24, 72)
    main = Table(
        domain.sheet,
        rng.choice((1, 3, 4, 5)),
        [Column(f.name, f.kind, _format(f), f.unit) for f in domain.fields],
        _rows(domain, rng, count),
        noun=domain.noun,
    )
    (keyed,) = (f for f in domain.fields if f.source == "key")
    lookup = Table(
        domain.lookup_sheet,
        1,
        [Column(domain.key, TEXT), *(Column(n, NUMBER, _digits(r[2]), u) for n, u, r in domain.lookup)],
        [
            [k, *(amount(rng, low, high, digits) for _, _, (low, high, digits) in domain.lookup)]
            for k in keyed.values
        ],
        noun="row",
    )
    tiers = _tiers(domain, rng)
    budget = _budget(domain, rng, main)
    state.tables = {MAIN: main, LOOKUP: lookup, TIERS: tiers, BUDGET: budget}
    state.inputs = {one.name: one for one in _inputs(domain)}
    state.sheets = [main.sheet, lookup.sheet, tiers.sheet, budget.sheet, "Assumptions"]
    note = f"{len(main.rows)} {domain.noun} records, exported 30 June 2025"
    state.writes = [
        write_table(main, domain.title, note),
        write_table(lookup, ""),
        write_table(tiers, ""),
        write_table(budget, ""),
        write_inputs("Assumptions", "Assumptions", list(state.inputs.values())),
    ]
    if rng.random() < 0.5:
        _totals(state, main, domain)
    return state


def _format(field: Field) -> str:
    return _digits(field.digits) if field.kind == NUMBER else ""


def _digits(digits: int) -> str:
    return "#,##0" + ("." + "0" * digits if digits else "")


def _rows(domain: Domain, rng: random.Random, count: int) -> list[list[Any]]:
    made = {field.name: _contents(field, rng, count) for field in domain.fields}
    rows = [[made[field.name][n] for field in domain.fields] for n in range(count)]
    for _ in range(rng.choice((0, 2, 3))):  # entered twice
        rows.insert(rng.randrange(1, len(rows)), list(rng.choice(rows)))
    return rows


def _contents(field: Field, rng: random.Random, count: int) -> list[Any]:
    match field.source:
        case "ids":
            first = rng.randrange(1000, 9000)
            return [f"{field.values[0]}{first + n}" for n in range(count)]
        case "days":
            found: list[dt.date] = days(rng, count, START, 178)
            return found
        case "choice" | "key":
            return [
                field.values[n] if n < len(field.values) else rng.choice(field.values) for n in range(count)
            ]
        case "company":
            return [dirty(rng, rng.choice(COMPANIES)) for _ in range(count)]
        case "name":
            return [dirty(rng, person(rng)) for _ in range(count)]
        case "code":
            return list(codes(rng, count, field.values))
    drawn = [amount(rng, field.low, field.high, field.digits) for _ in range(count)]
    whole = [int(value) if not field.digits else value for value in drawn]
    return [None if rng.random() < field.blanks else value for value in whole]


def _tiers(domain: Domain, rng: random.Random) -> Table:
    name, sheet = domain.tier
    (measured,) = (f for f in domain.fields if f.name == domain.measure)
    span = measured.high - measured.low
    steps = sorted({0.0, *(float(round(measured.low + span * share)) for share in (0.2, 0.45, 0.7, 0.9))})
    rates = sorted(round(rng.uniform(0.005, 0.2), 3) for _ in steps)
    return Table(
        sheet,
        1,
        [Column("From", NUMBER, "#,##0"), Column(name, NUMBER, "0.0%")],
        [[step, rate] for step, rate in zip(steps, rates, strict=True)],
        noun="tier",
    )


def _budget(domain: Domain, rng: random.Random, main: Table) -> Table:
    group = domain.group[0]
    (field,) = (f for f in domain.fields if f.name == group)
    whole = sum(value for value in main.values(domain.measure))
    rows = [[one, round(whole / len(field.values) * rng.uniform(0.7, 1.4))] for one in field.values]
    return Table(
        "Budget", 1, [Column(group, TEXT), Column(f"Planned {domain.measure}", NUMBER, "#,##0")], rows
    )


def _inputs(domain: Domain) -> list[Input]:
    (rate, share), (threshold, least), (wait, length) = domain.rate, domain.threshold, domain.days
    return [
        Input("rate", rate, "Assumptions", "B3", share, "0.00%", share * 0.5, min(share * 1.8, 0.99)),
        Input("threshold", threshold, "Assumptions", "B4", least, "#,##0", least * 0.6, least * 1.3),
        Input("days", wait, "Assumptions", "B5", length, "0", max(2, length // 2), length * 2),
    ]


def _totals(state: State, main: Table, domain: Domain) -> None:
    """A row of totals, one line below the records, as exports have them."""
    main.totals = True
    row = main.last + 2
    letter = main.letter(domain.measure)
    label, cells = main.letter(main.columns[0].name), main.cells(domain.measure)

    def write(book: Workbook) -> None:
        sheet = book[domain.sheet]
        sheet[f"{label}{row}"] = "Total"
        sheet[f"{letter}{row}"] = f"=SUM({cells})"
        sheet[f"{label}{row}"].font = sheet[f"{letter}{row}"].font = Font(bold=True)

    made: Write = write
    state.writes.append(made)
    state.derived.append(
        Derived(
            "totals",
            main.sheet,
            f"{letter}{row}",
            lambda s: [[sum(s.tables[MAIN].values(domain.measure))]],
            asked=False,
        )
    )
