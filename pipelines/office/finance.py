"""Operations of finance: schedules, present values, ownership, linked statements. Each hangs on an Inputs
sheet.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from pipelines.office.finance_seeds import SHEET
from pipelines.office.state import Ambiguous, Rows, State
from pipelines.office.step import Operation, Step, live_block


def is_about(state: State, kind: str) -> bool:
    return state.facts.get("finance") == kind


def input_value(state: State, name: str) -> float:
    return float(state.inputs[name].value)


def input_cells(state: State, *names: str) -> tuple[str, ...]:
    return tuple(f"{SHEET}!{state.inputs[name].cell}" for name in names)


def input_at(state: State, name: str) -> str:
    return state.inputs[name].fixed


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    if f(low) * f(high) >= 0:
        raise Ambiguous("no change of sign")
    for _ in range(200):
        middle = (low + high) / 2
        if f(low) * f(middle) <= 0:
            high = middle
        else:
            low = middle
    return (low + high) / 2


def payment(principal: float, rate: float, periods: int) -> float:
    """What an annuity costs each period."""
    growth = (1 + rate) ** periods
    return principal * growth * rate / (growth - 1)


def _loan(state: State) -> Rows:
    """Opening, payment, interest, principal, closing of each month, by walking down the loan."""
    left, months = input_value(state, "principal"), int(input_value(state, "months"))
    rate = input_value(state, "rate") / 12
    each, found = payment(left, rate, months), []
    for _ in range(months):
        interest = left * rate
        found.append([left, each, interest, each - interest, left - each + interest])
        left -= each - interest
    return found


def loan_schedule(state: State, rng: random.Random) -> Step | None:
    """Every instalment of a loan, to the last."""
    if not is_about(state, "loan") or "Schedule" in state.sheets:
        return None
    months = int(input_value(state, "months"))
    p, r, n = (input_at(state, name) for name in ("principal", "rate", "months"))
    cells: dict[str, Any] = {}
    for row in range(2, months + 2):
        cells[f"A{row}"] = row - 1
        cells[f"B{row}"] = f"={p}" if row == 2 else f"=F{row - 1}"
        cells[f"C{row}"] = f"=-PMT({r}/12,{n},{p})"
        cells[f"D{row}"] = f"=B{row}*{r}/12"
        cells[f"E{row}"] = f"=C{row}-D{row}"
        cells[f"F{row}"] = f"=B{row}-E{row}"
    heads = ("Month", "Opening balance", "Payment", "Interest", "Principal", "Closing balance")
    return live_block(
        state,
        "loan_schedule",
        "Schedule",
        "Schedule",
        f"B2:F{months + 1}",
        cells,
        _loan,
        reads=input_cells(state, "principal", "rate"),
        labels=dict(zip((f"{c}1" for c in "ABCDEF"), heads, strict=True)),
        formats={a: "0" if a[0] == "A" else "#,##0.00" for a in cells},
        forbid=(input_value(state, "rate"),),
        absolute=1e-4,
        say={"months": months, "heads": ", ".join(heads[1:]), "last": months + 1, "inputs": SHEET},
    )


def loan_totals(state: State, rng: random.Random) -> Step | None:
    """What a loan costs altogether."""
    if not is_about(state, "loan") or "Cost of the loan" in state.sheets:
        return None
    p, r, n, fee = (input_at(state, name) for name in ("principal", "rate", "months", "fee"))
    cells = {
        "B1": f"=-PMT({r}/12,{n},{p})",
        "B2": f"=B1*{n}-{p}",
        "B3": f"={p}*{fee}",
        "B4": "=B2+B3",
        "B5": f"=(1+{r}/12)^12-1",
    }
    texts = ("Monthly payment", "Total interest", "Arrangement fee", "Total cost", "Effective annual rate")

    def compute(s: State) -> Rows:
        rate, months, principal = (
            input_value(s, "rate") / 12,
            int(input_value(s, "months")),
            input_value(s, "principal"),
        )
        each = payment(principal, rate, months)
        interest, charge = each * months - principal, principal * input_value(s, "fee")
        return [[each], [interest], [charge], [interest + charge], [(1 + rate) ** 12 - 1]]

    return live_block(
        state,
        "loan_totals",
        "Cost of the loan",
        "Cost of the loan",
        "B1:B5",
        cells,
        compute,
        reads=input_cells(state, "principal", "rate", "fee"),
        labels={f"A{n}": t for n, t in enumerate(texts, 1)},
        formats={a: "0.00%" if a == "B5" else "#,##0.00" for a in cells},
        forbid=(input_value(state, "rate"),),
        absolute=1e-4,
        say={"texts": ", ".join(texts), "inputs": SHEET},
    )


def _flows(state: State) -> list[float]:
    return state.tables["flows"].values("Net cash flow")


def _npv(rate: float, flows: list[float]) -> float:
    return sum(flow / (1 + rate) ** n for n, flow in enumerate(flows))


def investment(state: State, rng: random.Random) -> Step | None:
    """Net present value, internal rate of return, payback and profitability of a project."""
    if not is_about(state, "project") or "Appraisal" in state.sheets:
        return None
    table, rate = state.tables["flows"], input_at(state, "discount")
    letter, first, last = table.letter("Net cash flow"), table.first, table.last
    flows = table.fixed("Net cash flow")
    later = f"'{table.sheet}'!${letter}${first + 1}:${letter}${last}"
    start = f"'{table.sheet}'!${letter}${first}"
    cells = {
        "B1": f"=NPV({rate},{later})+{start}",
        "B2": f"=IRR({flows})",
        "B3": f"=NPV({rate},{later})/-{start}",
        "B4": f"=SUM({flows})/-{start}",
    }
    texts = (
        "Net present value",
        "Internal rate of return",
        "Profitability index",
        "Return on the investment",
    )

    def compute(s: State) -> Rows:
        amounts, discount = _flows(s), input_value(s, "discount")
        value = _npv(discount, amounts)
        irr = _root(lambda r: _npv(r, amounts), -0.5, 2.0)
        return [[value], [irr], [(value - amounts[0]) / -amounts[0]], [sum(amounts) / -amounts[0]]]

    return live_block(
        state,
        "investment",
        "Appraisal",
        "Appraisal",
        "B1:B4",
        cells,
        compute,
        reads=(table.reference("Net cash flow"), *input_cells(state, "discount")),
        labels={f"A{n}": t for n, t in enumerate(texts, 1)},
        forbid=(input_value(state, "discount"),),
        absolute=1e-5,
        formats={"B1": "#,##0.00", "B2": "0.00%", "B3": "0.000", "B4": "0.0%"},
        say={"source": table.sheet, "input_cell": f"{SHEET}!{state.inputs['discount'].cell}"},
    )


def dated(state: State, rng: random.Random) -> Step | None:
    """Present value and return of flows on their true dates."""
    if not is_about(state, "project") or "Dated appraisal" in state.sheets:
        return None
    table, rate = state.tables["flows"], input_at(state, "discount")
    flows, dates = table.fixed("Net cash flow"), table.fixed("Date")
    cells = {"B1": f"=XNPV({rate},{flows},{dates})", "B2": f"=XIRR({flows},{dates})"}

    def compute(s: State) -> Rows:
        amounts, when = _flows(s), s.tables["flows"].values("Date")

        def value(r: float) -> float:
            return sum(a / (1 + r) ** ((d - when[0]).days / 365) for a, d in zip(amounts, when, strict=True))

        return [[value(input_value(s, "discount"))], [_root(value, -0.5, 2.0)]]

    return live_block(
        state,
        "dated",
        "Dated appraisal",
        "Dated appraisal",
        "B1:B2",
        cells,
        compute,
        reads=(table.reference("Net cash flow"), table.reference("Date"), *input_cells(state, "discount")),
        labels={"A1": "XNPV", "A2": "XIRR"},
        formats={"B1": "#,##0.00", "B2": "0.00%"},
        absolute=1e-5,
        forbid=(input_value(state, "discount"),),
        say={"source": table.sheet, "input_cell": f"{SHEET}!{state.inputs['discount'].cell}"},
    )


def breakeven(state: State, rng: random.Random) -> Step | None:
    """How much has to be sold, and what is earned at other volumes."""
    if not is_about(state, "project") or "Break-even" in state.sheets:
        return None
    price, cost, fixed = (input_at(state, name) for name in ("price", "cost", "fixed"))
    volumes = sorted(rng.sample(range(2, 30), 5))
    cells: dict[str, Any] = {"B1": f"={price}-{cost}", "B2": f"={fixed}/B1", "B3": f"=B2*{price}"}
    for row, volume in enumerate(volumes, 6):
        cells[f"A{row}"] = volume * 1000
        cells[f"B{row}"] = f"=A{row}*({price}-{cost})-{fixed}"
    labels = {
        "A1": "Contribution per unit",
        "A2": "Break-even units",
        "A3": "Break-even revenue",
        "A5": "Units",
        "B5": "Profit",
    }

    def compute(s: State) -> Rows:
        unit = input_value(s, "price") - input_value(s, "cost")
        if unit <= 0:
            raise Ambiguous("nothing is earned on a unit")
        least = input_value(s, "fixed") / unit
        profits = [[volume * 1000 * unit - input_value(s, "fixed")] for volume in volumes]
        return [
            [unit],
            [least],
            [least * input_value(s, "price")],
            [{"any": True}],
            [{"any": True}],
            *profits,
        ]

    step = live_block(
        state,
        "breakeven",
        "Break-even",
        "Break-even",
        "B1:B10",
        cells,
        compute,
        reads=input_cells(state, "price", "cost", "fixed"),
        labels=labels,
        formats=dict.fromkeys(cells, "#,##0.00"),
        forbid=(input_value(state, "price"), input_value(state, "cost")),
        absolute=1e-4,
        say={"volumes": ", ".join(f"{v * 1000:,}" for v in volumes), "inputs": SHEET},
    )
    parts = tuple(
        step.checks[0].model_copy(update={"range": where, "name": f"break-even {where} is calculated"})
        for where in ("B1:B3", "B6:B10")
    )
    return Step(step.operation, step.say, parts, step.blocks, step.labels)


def depreciation(state: State, rng: random.Random) -> Step | None:
    """Equipment written off in equal parts, year by year."""
    if not is_about(state, "project") or "Depreciation" in state.sheets:
        return None
    asset, salvage, life = (input_at(state, name) for name in ("asset", "salvage", "life"))
    years = int(input_value(state, "life"))
    cells: dict[str, Any] = {}
    for row in range(2, years + 2):
        cells[f"A{row}"] = row - 1
        cells[f"B{row}"] = f"=SLN({asset},{salvage},{life})"
        cells[f"C{row}"] = f"={asset}-B{row}" if row == 2 else f"=C{row - 1}-B{row}"

    def compute(s: State) -> Rows:
        each = (input_value(s, "asset") - input_value(s, "salvage")) / years
        return [[each, input_value(s, "asset") - each * n] for n in range(1, years + 1)]

    return live_block(
        state,
        "depreciation",
        "Depreciation",
        "Depreciation",
        f"B2:C{years + 1}",
        cells,
        compute,
        reads=input_cells(state, "asset", "salvage"),
        labels={"A1": "Year", "B1": "Depreciation", "C1": "Book value"},
        formats={a: "0" if a[0] == "A" else "#,##0.00" for a in cells},
        absolute=1e-4,
        say={"years": years, "inputs": SHEET, "last": years + 1},
    )


OPERATIONS = (
    Operation("loan_schedule", 2, loan_schedule),
    Operation("loan_totals", 2, loan_totals),
    Operation("investment", 2, investment),
    Operation("dated", 2, dated),
    Operation("breakeven", 2, breakeven),
    Operation("depreciation", 1, depreciation),
)
