"""Operations that set figures against each other: plan and actual, conditions, other assumptions, what is
missing.
"""

from __future__ import annotations

import calendar
import random
from typing import Any

from openpyxl.utils import quote_sheetname

from pipelines.office.columns import domain_of
from pipelines.office.seeds import BUDGET, MAIN
from pipelines.office.state import Ambiguous, Rows, State
from pipelines.office.step import Operation, Step, live_block, shown
from pipelines.office.summaries import measures_of, members_of, text_cells


def variance(state: State, rng: random.Random) -> Step | None:
    """Actual against plan, by group: both, the difference and its share of the plan."""
    domain = domain_of(state)
    if domain is None:
        return None
    plan, table = state.tables[BUDGET], state.tables[MAIN]
    group, planned = domain.group[0], plan.columns[1].name
    sheet = state.new_sheet("Variance")
    members = plan.values(group)
    m, g = table.fixed(domain.measure), table.fixed(group)
    cells: dict[str, str] = {}
    for row in range(2, len(members) + 2):
        cells[f"B{row}"] = f"=INDEX({plan.fixed(planned)},MATCH(A{row},{plan.fixed(group)},0))"
        cells[f"C{row}"] = f"=SUMIFS({m},{g},A{row})"
        cells[f"D{row}"] = f"=C{row}-B{row}"
        cells[f"E{row}"] = f"=D{row}/B{row}"
    labels = [
        *zip(
            ("A1", "B1", "C1", "D1", "E1"),
            (group, "Plan", "Actual", "Difference", "Difference %"),
            strict=True,
        )
    ]
    labels += [(f"A{n}", one) for n, one in enumerate(members, 2)]

    def compute(s: State) -> Rows:
        known = dict(zip(s.tables[BUDGET].values(group), s.tables[BUDGET].values(planned), strict=True))
        t = s.tables[MAIN]
        found = []
        for one in members:
            actual = sum(
                v for k, v in zip(t.values(group), t.values(domain.measure), strict=True) if k == one
            )
            found.append([known[one], actual, actual - known[one], (actual - known[one]) / known[one]])
        return found

    return live_block(
        state,
        "variance",
        sheet,
        sheet,
        f"B2:E{len(members) + 1}",
        cells,
        compute,
        reads=(plan.reference(planned), table.reference(domain.measure)),
        labels=text_cells(labels),
        formats={a: "0.0%" if a[0] == "E" else "#,##0" for a in cells},
        say={
            "group": group,
            "measure": shown(table, domain.measure),
            "plan": plan.sheet,
            "source": table.sheet,
            "members": ", ".join(members),
        },
    )


def missing(state: State, rng: random.Random) -> Step | None:
    """How many cells nobody filled in, and the mean of the others."""
    domain = domain_of(state)
    if domain is None:
        return None
    table = state.tables[MAIN]
    blanks = [f.name for f in domain.fields if f.blanks]
    name = rng.choice(blanks)
    sheet = state.new_sheet("Data check")
    area = table.fixed(name)
    cells = {"B2": f"=COUNTBLANK({area})", "B3": f"=AVERAGE({area})", "B4": f"=COUNTA({area})/ROWS({area})"}
    texts = ("Cells not filled in", "Average of the others", "Share filled in")
    labels = [("A1", name), *((f"A{n}", text) for n, text in enumerate(texts, 2))]

    def compute(s: State) -> Rows:
        values = s.tables[MAIN].values(name)
        there = [value for value in values if value is not None]
        if not there:
            raise Ambiguous("nothing is filled in")
        return [[len(values) - len(there)], [sum(there) / len(there)], [len(there) / len(values)]]

    return live_block(
        state,
        "missing",
        sheet,
        sheet,
        "B2:B4",
        cells,
        compute,
        reads=(table.reference(name),),
        labels=text_cells(labels),
        formats={"B2": "0", "B3": "#,##0.00", "B4": "0.0%"},
        say={"of": shown(table, name), "source": table.sheet},
    )


def conditions(state: State, rng: random.Random) -> Step | None:
    """One figure under several conditions at once."""
    domain = domain_of(state)
    measures = measures_of(state)
    if domain is None or not measures:
        return None
    table, measure, group = state.tables[MAIN], rng.choice(measures), domain.group[0]
    member = rng.choice(members_of(state, group))
    days = sorted(table.values(domain.date))
    start = days[len(days) // 3].replace(day=1)
    last = calendar.monthrange(start.year, start.month)[1]
    stop = start.replace(day=last)
    least = state.inputs["threshold"]
    sheet = state.new_sheet("Question")
    m, g, d, q = (table.fixed(name) for name in (measure, group, domain.date, domain.measure))
    cells = {
        "B5": f'=SUMIFS({m},{g},B1,{d},">="&B2,{d},"<="&B3)',
        "B6": f'=COUNTIFS({g},B1,{q},">="&{least.fixed})',
    }
    given: dict[str, Any] = {"B1": member, "B2": start, "B3": stop}
    labels = text_cells(
        [("A1", group), ("A2", "From"), ("A3", "To"), ("A5", "Total in the period"), ("A6", "Large ones")]
    )

    def compute(s: State) -> Rows:
        t = s.tables[MAIN]
        rows = list(
            zip(
                t.values(group),
                t.values(domain.date),
                t.values(measure),
                t.values(domain.measure),
                strict=True,
            )
        )
        whole = sum(v for k, day, v, _ in rows if k == member and start <= day <= stop)
        large = sum(k == member and v >= s.inputs["threshold"].value for k, _, _, v in rows)
        return [[whole], [large]]

    return live_block(
        state,
        "conditions",
        sheet,
        sheet,
        "B5:B6",
        {**given, **cells},
        compute,
        reads=(table.reference(measure), table.reference(group), table.reference(domain.date)),
        labels=labels,
        formats={"B2": "yyyy-mm-dd", "B3": "yyyy-mm-dd", "B5": "#,##0.00", "B6": "0"},
        say={
            "measure": shown(table, measure),
            "group": group,
            "member": member,
            "from": start,
            "to": stop,
            "input_cell": f"{least.sheet}!{least.cell}",
            "of": shown(table, domain.measure),
            "date": domain.date,
            "source": table.sheet,
        },
    )


def what_if(state: State, rng: random.Random) -> Step | None:
    """A total under five other values of an assumption, side by side."""
    domain = domain_of(state)
    if domain is None or domain.product[2] not in [c.name for c in state.tables[MAIN].columns]:
        return None
    rate, table = state.inputs["rate"], state.tables[MAIN]
    of = domain.product[2]
    sheet = state.new_sheet("What if")
    steps = (-0.5, -0.25, 0.0, 0.25, 0.5)
    m = table.fixed(of)
    cells: dict[str, Any] = {f"A{n}": step for n, step in enumerate(steps, 2)}
    for row in range(2, len(steps) + 2):
        cells[f"B{row}"] = f"={rate.fixed}*(1+A{row})"
        cells[f"C{row}"] = f"=SUM({m})*B{row}"
    labels = text_cells([("A1", "Change"), ("B1", rate.label), ("C1", f"{rate.label} amount in total")])

    def compute(s: State) -> Rows:
        whole, base = sum(s.tables[MAIN].values(of)), s.inputs["rate"].value
        return [[base * (1 + step), whole * base * (1 + step)] for step in steps]

    return live_block(
        state,
        "what_if",
        sheet,
        sheet,
        "B2:C6",
        cells,
        compute,
        reads=(table.reference(of), f"{quote_sheetname(rate.sheet)}!{rate.cell}"),
        labels=labels,
        forbid=(rate.value,),
        formats={a: "0%" if a[0] == "A" else "0.00%" if a[0] == "B" else "#,##0.00" for a in cells},
        say={"input": rate.label, "input_cell": f"{rate.sheet}!{rate.cell}", "of": of, "source": table.sheet},
    )


def waterfall(state: State, rng: random.Random) -> Step | None:
    """A bridge from the plan to the actual total: what each group adds or takes."""
    domain = domain_of(state)
    if domain is None:
        return None
    plan, table = state.tables[BUDGET], state.tables[MAIN]
    group, planned, measure = domain.group[0], plan.columns[1].name, domain.measure
    sheet = state.new_sheet("Bridge")
    members = plan.values(group)
    end = len(members) + 3
    m, g, p, k = table.fixed(measure), table.fixed(group), plan.fixed(planned), plan.fixed(group)
    cells = {"B2": f"=SUM({p})", "C2": "=B2", f"B{end}": f"=SUM(B2:B{end - 1})", f"C{end}": f"=B{end}"}
    for row in range(3, end):
        cells[f"B{row}"] = f"=SUMIFS({m},{g},A{row})-SUMIFS({p},{k},A{row})"
        cells[f"C{row}"] = f"=C{row - 1}+B{row}"
    labels = [("A1", "Step"), ("B1", "Amount"), ("C1", "Level after"), ("A2", "Plan"), (f"A{end}", "Actual")]
    labels += [(f"A{n}", one) for n, one in enumerate(members, 3)]

    def compute(s: State) -> Rows:
        known = dict(zip(s.tables[BUDGET].values(group), s.tables[BUDGET].values(planned), strict=True))
        t = s.tables[MAIN]
        level = whole = sum(known.values())
        found = [[whole, whole]]
        for one in members:
            actual = sum(v for name, v in zip(t.values(group), t.values(measure), strict=True) if name == one)
            level += actual - known[one]
            found.append([actual - known[one], level])
        return [*found, [level, level]]

    return live_block(
        state,
        "waterfall",
        sheet,
        sheet,
        f"B2:C{end}",
        cells,
        compute,
        reads=(plan.reference(planned), table.reference(measure)),
        labels=text_cells(labels),
        formats=dict.fromkeys(cells, "#,##0"),
        absolute=1e-5,
        say={
            "group": group,
            "measure": shown(table, measure),
            "plan": plan.sheet,
            "source": table.sheet,
            "members": ", ".join(members),
            "end": end,
        },
    )


OPERATIONS = (
    Operation("variance", 2, variance),
    Operation("missing", 1, missing),
    Operation("conditions", 2, conditions),
    Operation("what_if", 2, what_if),
    Operation("waterfall", 3, waterfall),
)
