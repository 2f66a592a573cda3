"""Operations of company finance: a cap table after a round, three linked statements, the ratios of a plan."""

from __future__ import annotations

import random
from typing import Any

from pipelines.office.finance import input_at, input_cells, input_value, is_about
from pipelines.office.finance_seeds import SHEET
from pipelines.office.state import Rows, State
from pipelines.office.step import Operation, Step, live_block

YEARS = 3


def ownership(state: State, rng: random.Random) -> Step | None:
    """Who owns what after the round: price per share, new shares, option pool, percentages."""
    if not is_about(state, "cap table") or "Post-money" in state.sheets:
        return None
    table = state.tables["holders"]
    raised, before, pool = (input_at(state, name) for name in ("raised", "premoney", "pool"))
    shares, count = table.fixed("Shares"), len(table.rows)
    letter = table.letter("Shares")
    end = count + 7
    cells: dict[str, Any] = {
        "B1": f"={before}/SUM({shares})",
        "B2": f"={raised}/B1",
        "B3": f"=(SUM({shares})+B2)*{pool}/(1-{pool})",
        "B4": f"=SUM({shares})+B2+B3",
    }
    names = [row[0] for row in table.rows]
    labels = {
        "A1": "Price per share",
        "A2": "New shares",
        "A3": "Pool shares",
        "A4": "Shares after the round",
        "A6": "Holder",
        "B6": "Ownership",
    }
    for n, name in enumerate([*names, "New investor", "Option pool"]):
        row = n + 7
        labels[f"A{row}"] = name
        source = (
            f"'{table.sheet}'!{letter}{table.first + n}" if n < count else "$B$2" if n == count else "$B$3"
        )
        cells[f"B{row}"] = f"={source}/$B$4"

    def compute(s: State) -> Rows:
        held = s.tables["holders"].values("Shares")
        price = input_value(s, "premoney") / sum(held)
        new = input_value(s, "raised") / price
        share = input_value(s, "pool")
        options = (sum(held) + new) * share / (1 - share)
        whole = sum(held) + new + options
        parts = [[one / whole] for one in (*held, new, options)]
        return [[price], [new], [options], [whole], [{"any": True}], [{"any": True}], *parts]

    step = live_block(
        state,
        "ownership",
        "Post-money",
        "Post-money",
        f"B1:B{end + 1}",
        cells,
        compute,
        reads=(table.reference("Shares"), *input_cells(state, "raised", "premoney", "pool")),
        labels=labels,
        formats={a: "0.00%" if int(a[1:]) > 6 else "#,##0.0000" if a == "B1" else "#,##0" for a in cells},
        forbid=(input_value(state, "pool"),),
        absolute=1e-5,
        say={"source": table.sheet, "inputs": SHEET, "last": end + 1, "names": ", ".join(names)},
    )
    whole = step.checks[0]
    parts = (
        whole.model_copy(update={"range": "B1:B4", "name": "the round is calculated"}),
        whole.model_copy(update={"range": f"B7:B{end + 1}", "name": "ownership is calculated"}),
    )
    return Step(step.operation, step.say, parts, step.blocks, step.labels)


def _plan(state: State) -> list[dict[str, float]]:
    """The linked statements, year by year; interest is on the opening debt, so nothing is circular."""
    v = {name: input_value(state, name) for name in state.inputs}
    revenue, cash, assets, debt = v["revenue"], v["cash"], v["assets"], v["debt"]
    working = revenue * v["working"]
    equity = cash + assets + working - debt
    found = []
    for _ in range(YEARS):
        revenue *= 1 + v["growth"]
        gross = revenue * (1 - v["margin"])
        ebitda = gross - revenue * v["opex"]
        fall, interest = assets * v["depreciation"], debt * v["interest"]
        before = ebitda - fall - interest
        tax = max(0.0, before * v["tax"])
        net = before - tax
        more = revenue * v["working"] - working
        spent = revenue * v["capex"]
        free = net + fall - more - spent
        cash, working, assets, equity = cash + free, working + more, assets + spent - fall, equity + net
        found.append(
            {
                "revenue": revenue,
                "gross": gross,
                "ebitda": ebitda,
                "fall": fall,
                "interest": interest,
                "before": before,
                "tax": tax,
                "net": net,
                "more": more,
                "spent": spent,
                "free": free,
                "cash": cash,
                "working": working,
                "assets": assets,
                "debt": debt,
                "equity": equity,
                "check": cash + working + assets - debt - equity,
            }
        )
    return found


LINES = (
    ("revenue", "Revenue", "={prev}*(1+{growth})"),
    ("gross", "Gross profit", "={c}2*(1-{margin})"),
    ("ebitda", "EBITDA", "={c}3-{c}2*{opex}"),
    ("fall", "Depreciation", "={assets}*{depreciation}"),
    ("interest", "Interest", "={debt}*{interest}"),
    ("before", "Profit before tax", "={c}4-{c}5-{c}6"),
    ("tax", "Tax", "=MAX(0,{c}7*{tax})"),
    ("net", "Net profit", "={c}7-{c}8"),
    ("more", "Increase in working capital", "={c}14-{working}"),
    ("spent", "Capital expenditure", "={c}2*{capex}"),
    ("free", "Free cash flow", "={c}9+{c}5-{c}10-{c}11"),
    ("cash", "Cash", "={cash}+{c}12"),
    ("working", "Working capital", "={c}2*{share}"),
    ("assets", "Fixed assets", "={assets}+{c}11-{c}5"),
    ("debt", "Debt", "={debt}"),
    ("equity", "Equity", "={equity}+{c}9"),
    ("check", "Balance check", "={c}13+{c}14+{c}15-{c}16-{c}17"),
)


def three_statements(state: State, rng: random.Random) -> Step | None:
    """Income statement, cash flow and balance sheet that hang together for three years."""
    if not is_about(state, "statements") or "Plan" in state.sheets:
        return None
    at = {name: input_at(state, name) for name in state.inputs}
    opening = {
        "prev": at["revenue"],
        "assets": at["assets"],
        "debt": at["debt"],
        "cash": at["cash"],
        "working": f"{at['revenue']}*{at['working']}",
        "equity": f"({at['cash']}+{at['assets']}+{at['revenue']}*{at['working']}-{at['debt']})",
    }
    cells: dict[str, str] = {}
    for n in range(YEARS):
        c, p = "BCD"[n], "ABC"[n]
        earlier = (
            opening
            if n == 0
            else {
                "prev": f"{p}2",
                "assets": f"{p}15",
                "debt": f"{p}16",
                "cash": f"{p}13",
                "working": f"{p}14",
                "equity": f"{p}17",
            }
        )
        known = {**at, "share": at["working"], **earlier}
        for row, (_, _, formula) in enumerate(LINES, 2):
            cells[f"{c}{row}"] = formula.format(c=c, **known)
    labels = {"A1": "EUR", **{f"{c}1": f"Year {n}" for n, c in enumerate("BCD", 1)}}
    labels |= {f"A{row}": text for row, (_, text, _) in enumerate(LINES, 2)}

    def compute(s: State) -> Rows:
        years = _plan(s)
        return [[year[key] for year in years] for key, _, _ in LINES]

    return live_block(
        state,
        "three_statements",
        "Plan",
        "Plan",
        f"B2:D{len(LINES) + 1}",
        cells,
        compute,
        reads=input_cells(state, *state.inputs),
        labels=labels,
        formats=dict.fromkeys(cells, "#,##0"),
        forbid=tuple(input_value(state, name) for name in ("growth", "margin", "opex", "interest")),
        absolute=1e-3,
        say={"inputs": SHEET, "lines": ", ".join(text for _, text, _ in LINES), "last": len(LINES) + 1},
    )


def ratios(state: State, rng: random.Random) -> Step | None:
    """Margins and cover from a plan that stands."""
    if not is_about(state, "statements") or "Plan" not in state.sheets or "Ratios" in state.sheets:
        return None
    cells: dict[str, str] = {}
    for c in "BCD":
        cells[f"{c}2"], cells[f"{c}3"] = f"=Plan!{c}4/Plan!{c}2", f"=Plan!{c}9/Plan!{c}2"
        cells[f"{c}4"], cells[f"{c}5"] = f"=Plan!{c}4/Plan!{c}6", f"=Plan!{c}16/Plan!{c}4"
    texts = ("EBITDA margin", "Net margin", "Interest cover", "Debt to EBITDA")
    labels = {f"{c}1": f"Year {n}" for n, c in enumerate("BCD", 1)} | {
        f"A{n}": t for n, t in enumerate(texts, 2)
    }

    def compute(s: State) -> Rows:
        years = _plan(s)
        pairs = (("ebitda", "revenue"), ("net", "revenue"), ("ebitda", "interest"), ("debt", "ebitda"))
        return [[year[a] / year[b] for year in years] for a, b in pairs]

    return live_block(
        state,
        "ratios",
        "Ratios",
        "Ratios",
        "B2:D5",
        cells,
        compute,
        reads=("Plan!B2:D18",),
        labels=labels,
        formats={a: "0.0%" if a[1] in "23" else "0.00" for a in cells},
        say={"texts": ", ".join(texts)},
    )


OPERATIONS = (
    Operation("ownership", 3, ownership),
    Operation("three_statements", 3, three_statements),
    Operation("ratios", 2, ratios),
)
