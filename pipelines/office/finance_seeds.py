"""Seed workbooks of finance: loans, projects, a start-up's owners, a company's statements.

Here the assumptions are the workbook, and the operations build the model that hangs on them.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Mapping, Sequence

from pipelines.office.draw import COMPANIES, amount, days, person
from pipelines.office.state import DATE, NUMBER, TEXT, Column, Input, State, Table, write_inputs, write_table

SHEET = "Inputs"
MONEY, SHARE, WHOLE = "#,##0", "0.00%", "0"


def _with(state: State, inputs: Sequence[tuple[str, str, float, str, float, float]]) -> None:
    made = [
        Input(name, label, SHEET, f"B{row}", value, shown, low, high)
        for row, (name, label, value, shown, low, high) in enumerate(inputs, 3)
    ]
    state.inputs = {one.name: one for one in made}
    state.sheets.append(SHEET)
    state.writes.append(write_inputs(SHEET, f"{state.title}: inputs", made))


def lending(rng: random.Random) -> State:
    """A loan that is paid back in equal monthly instalments."""
    state = State(
        "lending", f"Term loan, {rng.choice(COMPANIES)}", "term_loan.xlsx", facts={"finance": "loan"}
    )
    principal = float(rng.randrange(40, 900) * 1000)
    rate = round(rng.uniform(0.025, 0.095), 4)
    _with(
        state,
        (
            ("principal", "Loan amount (USD)", principal, MONEY, principal * 0.5, principal * 1.6),
            ("rate", "Annual interest rate", rate, SHARE, 0.015, 0.12),
            ("months", "Term (months)", float(rng.choice((12, 18, 24, 36))), WHOLE, 0, 0),
            ("fee", "Arrangement fee rate", round(rng.uniform(0.002, 0.02), 4), SHARE, 0.001, 0.03),
        ),
    )
    return state


def project(rng: random.Random) -> State:
    """An investment with yearly flows, and the dates on which they fall."""
    state = State(
        "projects", f"{rng.choice(COMPANIES)}: expansion", "project_case.xlsx", facts={"finance": "project"}
    )
    outlay = float(rng.randrange(200, 2000) * 1000)
    years = rng.randint(5, 8)
    _with(
        state,
        (
            ("discount", "Discount rate", round(rng.uniform(0.05, 0.13), 4), SHARE, 0.03, 0.15),
            ("price", "Unit price (EUR)", amount(rng, 20, 90), "#,##0.00", 15, 110),
            ("cost", "Variable cost per unit (EUR)", amount(rng, 5, 14), "#,##0.00", 4, 15),
            ("fixed", "Fixed costs per year (EUR)", float(rng.randrange(40, 160) * 1000), MONEY, 30e3, 2e5),
            ("asset", "Equipment (EUR)", float(rng.randrange(100, 700) * 1000), MONEY, 5e4, 9e5),
            ("salvage", "Residual value (EUR)", float(rng.randrange(5, 40) * 1000), MONEY, 1e3, 45e3),
            ("life", "Useful life (years)", float(rng.choice((5, 6, 8))), WHOLE, 0, 0),
        ),
    )
    first = dt.date(2025, 1, 1)
    dates = [first, *(d.replace(year=2025 + n + 1) for n, d in enumerate(days(rng, years, first, 365)))]
    flows = [-outlay, *(float(round(outlay * rng.uniform(0.18, 0.42), -2)) for _ in range(years))]
    columns = [
        Column("Year", NUMBER, "0"),
        Column("Date", DATE),
        Column("Net cash flow", NUMBER, "#,##0", "EUR"),
    ]
    table = Table(
        "Cash flows", 3, columns, [[n, d, f] for n, (d, f) in enumerate(zip(dates, flows, strict=True))]
    )
    state.tables = {"flows": table}
    state.sheets.append(table.sheet)
    state.writes.append(write_table(table, "Projected cash flows", "Year 0 is the investment"))
    return state


def venture(rng: random.Random) -> State:
    """Who owns a start-up, and the round that is being raised."""
    name = rng.choice(COMPANIES)
    state = State("venture", f"{name}: cap table", "cap_table.xlsx", facts={"finance": "cap table"})
    raised = float(rng.randrange(10, 80) * 100_000)
    _with(
        state,
        (
            ("raised", "New money (USD)", raised, MONEY, raised * 0.6, raised * 1.5),
            (
                "premoney",
                "Pre-money valuation (USD)",
                raised * rng.choice((3, 4, 5)),
                MONEY,
                raised * 2,
                raised * 7,
            ),
            ("pool", "Option pool after the round", rng.choice((0.08, 0.1, 0.12)), SHARE, 0.05, 0.15),
        ),
    )
    holders = [person(rng) for _ in range(2)] + ["Seed fund", "Angel pool", "Employees"]
    shares = [float(rng.randrange(5, 60) * 50_000) for _ in holders]
    classes = ["Common", "Common", "Preferred", "Preferred", "Common"]
    table = Table(
        "Cap table",
        3,
        [Column("Holder", TEXT), Column("Class", TEXT), Column("Shares", NUMBER, "#,##0")],
        [list(row) for row in zip(holders, classes, shares, strict=True)],
        noun="holder",
    )
    state.tables = {"holders": table}
    state.sheets.append(table.sheet)
    state.writes.append(write_table(table, "Shareholders before the round"))
    return state


def statements(rng: random.Random) -> State:
    """A company's last balance sheet and the drivers of its plan."""
    name = rng.choice(COMPANIES)
    state = State(
        "statements",
        f"{name}: three-statement plan",
        "three_statements.xlsx",
        facts={"finance": "statements"},
    )
    revenue = float(rng.randrange(20, 300) * 100_000)
    _with(
        state,
        (
            ("revenue", "Revenue, last year (EUR)", revenue, MONEY, revenue * 0.7, revenue * 1.4),
            ("growth", "Revenue growth", round(rng.uniform(0.02, 0.15), 3), SHARE, 0.0, 0.2),
            ("margin", "Cost of sales, share of revenue", round(rng.uniform(0.45, 0.65), 3), SHARE, 0.4, 0.7),
            (
                "opex",
                "Operating costs, share of revenue",
                round(rng.uniform(0.12, 0.25), 3),
                SHARE,
                0.1,
                0.28,
            ),
            ("depreciation", "Depreciation, share of fixed assets", 0.1, SHARE, 0.05, 0.2),
            ("interest", "Interest rate on debt", round(rng.uniform(0.03, 0.07), 4), SHARE, 0.01, 0.09),
            ("tax", "Tax rate", rng.choice((0.19, 0.21, 0.25)), SHARE, 0.15, 0.3),
            (
                "capex",
                "Capital expenditure, share of revenue",
                round(rng.uniform(0.03, 0.08), 3),
                SHARE,
                0.02,
                0.1,
            ),
            (
                "working",
                "Working capital, share of revenue",
                round(rng.uniform(0.08, 0.16), 3),
                SHARE,
                0.05,
                0.2,
            ),
            ("cash", "Opening cash (EUR)", round(revenue * 0.06), MONEY, revenue * 0.03, revenue * 0.1),
            (
                "assets",
                "Opening fixed assets (EUR)",
                round(revenue * 0.4),
                MONEY,
                revenue * 0.3,
                revenue * 0.6,
            ),
            ("debt", "Opening debt (EUR)", round(revenue * 0.2), MONEY, revenue * 0.1, revenue * 0.3),
        ),
    )
    return state


FINANCE: Mapping[str, Callable[[random.Random], State]] = {
    "lending": lending,
    "projects": project,
    "venture": venture,
    "statements": statements,
}
