"""Operations on how a workbook is laid out: order, filters, formats, validation, charts, names, panes."""

from __future__ import annotations

import random
from typing import Any

from openpyxl import Workbook
from openpyxl.chart import BarChart, LineChart, Reference
from openpyxl.formatting.rule import FormulaRule
from openpyxl.styles import PatternFill
from openpyxl.utils import get_column_letter, quote_sheetname
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.table import Table as SheetTable
from openpyxl.worksheet.table import TableStyleInfo

from pipelines.office.columns import domain_of
from pipelines.office.seeds import MAIN
from pipelines.office.state import Derived, State
from pipelines.office.step import Operation, Step, live_block, shown
from verifiers.spreadsheet.spec import Structure

LIGHT = PatternFill("solid", bgColor="FFC7CE", fgColor="FFC7CE")


def _once(state: State, name: str) -> bool:
    """Whether this is the first time; it is noted."""
    if name in state.done:
        return False
    state.done.append(name)
    return True


def sort(state: State, rng: random.Random) -> Step | None:
    """The records in another order, whole rows together. Before anything is calculated beside them."""
    domain = domain_of(state)
    table = state.tables.get(MAIN)
    if domain is None or table is None or any(c.live for c in table.columns) or not _once(state, "sort"):
        return None
    group, date = table.place(domain.group[0]), table.place(domain.date)
    newest = rng.random() < 0.5
    table.rows.sort(key=lambda row: row[date], reverse=newest)
    table.rows.sort(key=lambda row: row[group])
    rows = [list(row) for row in table.rows]
    columns, sheet, first, left = list(table.columns), table.sheet, table.first, table.left

    def write(book: Workbook) -> None:
        made = book[sheet]
        for line, row in enumerate(rows, first):
            for place, content in enumerate(row):
                cell = made.cell(line, left + place)
                cell.value, cell.number_format = content, columns[place].number_format

    state.writes.append(write)
    order = "newest first" if newest else "oldest first"
    return Step(
        "sort",
        {"sheet": sheet, "group": domain.group[0], "date": domain.date, "order": order, "noun": table.noun},
        moves=(MAIN,),
    )


def filtered(state: State, rng: random.Random) -> Step | None:
    """A filter that leaves one group to be seen."""
    domain = domain_of(state)
    if domain is None or not _once(state, "filter"):
        return None
    table = state.tables[MAIN]
    group = domain.group[0]
    member = rng.choice(sorted(set(table.values(group))))
    rows = tuple(table.first + n for n, value in enumerate(table.values(group)) if value == member)
    area, sheet, place, first, last = table.area, table.sheet, table.place(group), table.first, table.last
    state.facts["filtered"] = True

    def write(book: Workbook) -> None:
        made = book[sheet]
        made.auto_filter.ref = area
        made.auto_filter.add_filter_column(place, [member])
        for row in range(first, last + 1):
            made.row_dimensions[row].hidden = row not in rows

    state.writes.append(write)
    cells = f"A{first}:A{last}"
    check = Structure(name="only the group is shown", what="filtered", sheet=sheet, range=cells, rows=rows)
    return Step("filter", {"sheet": sheet, "group": group, "member": member}, (check,))


def highlight(state: State, rng: random.Random) -> Step | None:
    """A conditional format that follows a threshold."""
    domain = domain_of(state)
    if domain is None or not _once(state, "highlight"):
        return None
    table, least = state.tables[MAIN], state.inputs["threshold"]
    measure, sheet = domain.measure, table.sheet
    cells, letter, first = table.cells(measure), table.letter(measure), table.first

    def write(book: Workbook) -> None:
        rule = FormulaRule(formula=[f"{letter}{first}>={least.fixed}"], fill=LIGHT)
        book[sheet].conditional_formatting.add(cells, rule)

    state.writes.append(write)
    state.derived.append(
        Derived(
            "highlight",
            sheet,
            cells,
            highlight=True,
            compute=lambda s: [[v >= s.inputs["threshold"].value] for v in s.tables[MAIN].values(measure)],
        )
    )
    say = {
        "sheet": sheet,
        "range": cells,
        "of": shown(table, measure),
        "input_cell": f"{least.sheet}!{least.cell}",
    }
    return Step("highlight", say, blocks=("highlight",))


def listed(state: State, rng: random.Random) -> Step | None:
    """A drop-down list for a column."""
    domain = domain_of(state)
    if domain is None or not _once(state, "validation list"):
        return None
    table = state.tables[MAIN]
    group = domain.group[0]
    values = next(f.values for f in domain.fields if f.name == group)
    sheet, cells = table.sheet, table.cells(group)

    def write(book: Workbook) -> None:
        text = ",".join(values)
        rule = DataValidation(type="list", formula1=f'"{text}"', allow_blank=True)
        rule.add(cells)
        book[sheet].add_data_validation(rule)

    state.writes.append(write)
    check = Structure(
        name="the list is enforced", what="validation", sheet=sheet, range=cells, type="list", values=values
    )
    return Step(
        "validation_list",
        {"sheet": sheet, "range": cells, "of": group, "values": ", ".join(values)},
        (check,),
    )


def bounded(state: State, rng: random.Random) -> Step | None:
    """Bounds for what may be typed into a column."""
    domain = domain_of(state)
    if domain is None or not _once(state, "validation bounds"):
        return None
    table = state.tables[MAIN]
    (field,) = (f for f in domain.fields if f.name == domain.measure)
    high = float(round(field.high * 2))
    sheet, cells = table.sheet, table.cells(domain.measure)

    def write(book: Workbook) -> None:
        rule = DataValidation(type="decimal", operator="between", formula1="0", formula2=f"{high:g}")
        rule.add(cells)
        book[sheet].add_data_validation(rule)

    state.writes.append(write)
    check = Structure(
        name="the bounds are enforced",
        what="validation",
        sheet=sheet,
        range=cells,
        type="decimal",
        low=0,
        high=high,
    )
    say = {"sheet": sheet, "range": cells, "of": shown(table, domain.measure), "high": f"{high:g}"}
    return Step("validation_bounds", say, (check,))


def chart(state: State, rng: random.Random) -> Step | None:
    """A chart of plan by group, on the sheet of the plan."""
    domain = domain_of(state)
    if domain is None or not _once(state, "chart"):
        return None
    plan = state.tables["budget"]
    sheet, cells = plan.sheet, plan.cells(plan.columns[1].name)
    kind = rng.choice(("bar", "line"))
    last = plan.last

    def write(book: Workbook) -> None:
        made = book[sheet]
        drawn = BarChart() if kind == "bar" else LineChart()
        drawn.add_data(Reference(made, min_col=2, min_row=1, max_row=last), titles_from_data=True)
        drawn.set_categories(Reference(made, min_col=1, min_row=2, max_row=last))
        made.add_chart(drawn, "E2")

    state.writes.append(write)
    reference = f"{quote_sheetname(sheet)}!{cells}"
    check = Structure(name="the chart is there", what="chart", type=kind, values=reference)
    say = {
        "kind": "column" if kind == "bar" else "line",
        "range": cells,
        "sheet": sheet,
        "of": plan.columns[1].name,
    }
    return Step("chart", say, (check,))


def named(state: State, rng: random.Random) -> Step | None:
    """A name for an assumption, and a figure that uses it."""
    domain = domain_of(state)
    if domain is None or not _once(state, "name"):
        return None
    rate, table = state.inputs["rate"], state.tables[MAIN]
    name = domain.rate[0].replace(" ", "_").replace("-", "_")
    sheet = state.new_sheet("Named figure")

    def write(book: Workbook) -> None:
        book.defined_names[name] = DefinedName(name, attr_text=rate.fixed)

    state.writes.append(write)
    measure = table.fixed(domain.measure)
    step = live_block(
        state,
        "named",
        sheet,
        sheet,
        "B2",
        {"B2": f"=SUM({measure})*{name}"},
        lambda s: [[sum(s.tables[MAIN].values(domain.measure)) * s.inputs["rate"].value]],
        reads=(table.reference(domain.measure), f"{quote_sheetname(rate.sheet)}!{rate.cell}"),
        labels={"A2": f"Total {domain.measure} x {name}"},
        formats={"B2": "#,##0.00"},
        forbid=(rate.value,),
        say={
            "name": name,
            "input_cell": f"{rate.sheet}!{rate.cell}",
            "of": shown(table, domain.measure),
            "source": table.sheet,
        },
    )
    check = Structure(
        name="the name is defined",
        what="defined_name",
        names=(name,),
        refers=f"{quote_sheetname(rate.sheet)}!{rate.cell}",
    )
    return Step(step.operation, step.say, (*step.checks, check), step.blocks, step.labels)


def tabled(state: State, rng: random.Random) -> Step | None:
    """The records as a table with a filter and a name."""
    domain = domain_of(state)
    if domain is None or state.facts.get("filtered") or not _once(state, "table"):
        return None
    plan = state.tables["budget"]
    sheet, area = plan.sheet, plan.area

    def write(book: Workbook) -> None:
        made = SheetTable(displayName="Plan", ref=area)
        made.tableStyleInfo = TableStyleInfo(name="TableStyleMedium2", showRowStripes=True)
        book[sheet].add_table(made)

    state.writes.append(write)
    check = Structure(name="the table is there", what="table", sheet=sheet, range=area)
    return Step("table", {"sheet": sheet, "range": area}, (check,))


def frozen(state: State, rng: random.Random) -> Step | None:
    """Rows (and the first column) that stay when one scrolls."""
    if MAIN not in state.tables or not _once(state, "freeze"):
        return None
    table = state.tables[MAIN]
    columns = rng.choice((0, 1))
    sheet, rows = table.sheet, table.top

    def write(book: Workbook) -> None:
        book[sheet].freeze_panes = f"{get_column_letter(columns + 1)}{rows + 1}"

    state.writes.append(write)
    check = Structure(name="the header stays", what="frozen", sheet=sheet, rows=rows, columns=columns)
    what = f"rows 1 to {rows}" if rows > 1 else "row 1"
    return Step("freeze", {"sheet": sheet, "what": what + (" and column A" if columns else "")}, (check,))


def formatted(state: State, rng: random.Random) -> Step | None:
    """How a column of numbers is shown."""
    domain = domain_of(state)
    if domain is None or not _once(state, "format"):
        return None
    table = state.tables[MAIN]
    name = domain.product[1]
    now = len(table.column(name).number_format.partition(".")[2])
    digits = rng.choice([n for n in (1, 2, 3) if n != now])
    code, told = (
        "#,##0." + "0" * digits,
        f"with {('one decimal', 'two decimals', 'three decimals')[digits - 1]}",
    )
    sheet, cells, letter = table.sheet, table.cells(name), table.letter(name)
    first, last = table.first, table.last
    table.column(name).format = code

    def write(book: Workbook) -> None:
        for row in range(first, last + 1):
            book[sheet][f"{letter}{row}"].number_format = code

    state.writes.append(write)
    check = Structure(
        name="the format is set", what="number_format", sheet=sheet, range=cells, like=f"decimals:{digits}"
    )
    say: dict[str, Any] = {"sheet": sheet, "range": cells, "of": shown(table, name), "told": told}
    return Step("format", say, (check,))


OPERATIONS = (
    Operation("sort", 1, sort),
    Operation("filter", 1, filtered),
    Operation("highlight", 2, highlight),
    Operation("validation_list", 1, listed),
    Operation("validation_bounds", 1, bounded),
    Operation("chart", 2, chart),
    Operation("named", 2, named),
    Operation("table", 1, tabled),
    Operation("freeze", 1, frozen),
    Operation("format", 1, formatted),
)
