"""One analyst's workbook, built in many ways: right ones that differ in everything but their results, and
forged ones.

The task: orders and assumptions are there; a sheet Summary has to show per region the revenue, its
commission, its share, the date of the last order and whether the revenue reaches a limit, and the total.
`SPEC` holds the answers, computed here in Python, as they are and under two changes of inputs.
"""

from __future__ import annotations

import datetime as dt
import io
import re
import zipfile
from collections.abc import Callable
from typing import Any

from openpyxl import Workbook
from openpyxl.chart import BarChart, Reference
from openpyxl.comments import Comment
from openpyxl.styles import Font, PatternFill
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.formula import ArrayFormula
from openpyxl.worksheet.table import Table

from verifiers.spreadsheet.spec import (
    Block,
    Cells,
    Edit,
    Formula,
    Perturbation,
    SpreadsheetSpec,
    Structure,
)

Rows = list[list[Any]]
REGIONS = ("North", "South", "East", "West")
COUNT = 60
LAST = COUNT + 1
RATE, LIMIT = 0.035, 9000.0
FIRST_DAY = dt.date(2025, 1, 2)
FILE = "orders.xlsx"
PLAIN_TYPE = b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
MACRO_TYPE = b"application/vnd.ms-excel.sheet.macroEnabled.main+xml"


def orders() -> Rows:
    """Order, day, region, units, price."""
    return [
        [
            f"SO{1000 + n}",
            FIRST_DAY + dt.timedelta(2 * n),
            REGIONS[(n * 7 + n // 9) % 4],
            n * 5 % 23 + 1,
            round(9.5 + n * 13 % 41 * 1.25, 2),
        ]
        for n in range(COUNT)
    ]


def results(rows: Rows, rate: float, limit: float) -> Rows:
    """What Summary!B2:F6 must show; the last row is the total."""
    sums = [sum(row[3] * row[4] for row in rows if row[2] == region) for region in REGIONS]
    whole = sum(sums)
    found: Rows = []
    for region, one in zip(REGIONS, sums, strict=True):
        day = max(row[1] for row in rows if row[2] == region)
        found.append([one, one * rate, one / whole, {"date": day.isoformat()}, one >= limit])
    return [*found, [whole, whole * rate, 1.0, {"any": True}, {"any": True}]]


def _block(rows: Rows) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(row) for row in rows)


def specification() -> SpreadsheetSpec:
    rows = orders()
    changed = [list(row) for row in rows]
    changed[5][3], changed[20][4], changed[33][2], changed[58][1] = 40, 99.0, "West", dt.date(2025, 8, 9)
    edits = (
        Edit(sheet="Orders", cell="D7", was=rows[5][3], value=40),
        Edit(sheet="Orders", cell="E22", was=rows[20][4], value=99.0),
        Edit(sheet="Orders", cell="C35", was=rows[33][2], value="West"),
        Edit(sheet="Orders", cell="B60", was={"date": rows[58][1].isoformat()}, value={"date": "2025-08-09"}),
    )
    more = (
        Edit(sheet="Assumptions", cell="B2", was=RATE, value=0.051),
        Edit(sheet="Assumptions", cell="B3", was=LIMIT, value=7000.0),
    )
    sheet, where = "Summary", "B2:F6"

    def changes(name: str, edits: tuple[Edit, ...], rows: Rows) -> Perturbation:
        return Perturbation(
            name=name, edits=edits, expect=(Block(sheet=sheet, range=where, values=_block(rows)),)
        )

    return SpreadsheetSpec(
        answer=FILE,
        sheet_of_csv="Summary",
        checks=(
            Structure(
                name="orders are kept", what="kept", sheet="Orders", range=f"A2:E{LAST}", expect=_kept(rows)
            ),
            Structure(
                name="assumptions are kept",
                what="kept",
                sheet="Assumptions",
                range="B2:B3",
                expect=((RATE,), (LIMIT,)),
            ),
            Cells(
                name="regions", sheet=sheet, range="A2:A6", expect=tuple((r,) for r in (*REGIONS, "Total"))
            ),
            Cells(name="figures", sheet=sheet, range=where, expect=_block(results(rows, RATE, LIMIT))),
            Formula(
                name="revenue is calculated",
                sheet=sheet,
                range="B2:B6",
                references=(f"Orders!D2:D{LAST}", f"Orders!E2:E{LAST}"),
            ),
            Formula(
                name="commission is calculated",
                sheet=sheet,
                range="C2:C6",
                references=("Assumptions!B2",),
                forbid=(RATE,),
            ),
            Formula(name="shares are calculated", sheet=sheet, range="D2:D6"),
            Formula(
                name="dates are calculated", sheet=sheet, range="E2:E5", references=(f"Orders!B2:B{LAST}",)
            ),
            Formula(name="limits are calculated", sheet=sheet, range="F2:F5", references=("Assumptions!B3",)),
            changes("with other orders", edits, results(changed, RATE, LIMIT)),
            changes("with other assumptions", more, results(rows, 0.051, 7000.0)),
        ),
    )


def _kept(rows: Rows) -> tuple[tuple[Any, ...], ...]:
    return tuple((r[0], {"date": r[1].isoformat()}, *r[2:]) for r in rows)


def start() -> Workbook:
    """The workbook as it is handed to the analyst."""
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.title = "Orders"
    for line in (["Order", "Day", "Region", "Units", "Price"], *orders()):
        sheet.append(line)
    inputs = book.create_sheet("Assumptions")
    for line in (["Assumption", "Value"], ["Commission rate", RATE], ["Limit for key regions", LIMIT]):
        inputs.append(line)
    return book


U, P, R, D = (f"Orders!${c}$2:${c}${LAST}" for c in "DECB")
COLUMNS: dict[str, Callable[[int], str]] = {
    "B": lambda n: f"=SUMPRODUCT(({R}=A{n})*{U}*{P})",
    "C": lambda n: f"=B{n}*Assumptions!$B$2",
    "D": lambda n: f"=B{n}/SUM($B$2:$B$5)",
    "E": lambda n: f"=_xlfn.MAXIFS({D},{R},A{n})",
    "F": lambda n: f"=B{n}>=Assumptions!$B$3",
}
TOTALS = {"B": "=SUM(B2:B5)", "C": "=B6*Assumptions!$B$2", "D": "=SUM(D2:D5)"}


def solved(
    columns: dict[str, Callable[[int], Any]] | None = None,
    totals: dict[str, Any] | None = None,
    name: str = "Summary",
) -> Workbook:
    """The workbook with Summary filled in; what is given takes the place of the usual formulas."""
    book = start()
    sheet = book.create_sheet(name)
    sheet.append(["Region", "Revenue", "Commission", "Share", "Last order", "Key region"])
    for n, region in enumerate((*REGIONS, "Total"), 2):
        sheet.cell(n, 1).value = region
    for letter, formula in {**COLUMNS, **(columns or {})}.items():
        for n in range(2, 6):
            sheet[f"{letter}{n}"] = formula(n)
            sheet[f"{letter}{n}"].number_format = {"D": "0.0%", "E": "yyyy-mm-dd"}.get(letter, "#,##0.00")
    for letter, formula in {**TOTALS, **(totals or {})}.items():
        sheet[f"{letter}6"] = formula
        sheet[f"{letter}6"].number_format = "0.0%" if letter == "D" else "#,##0.00"
    return book


def saved(book: Workbook) -> bytes:
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def rewritten(
    data: bytes, change: Callable[[str, bytes], bytes | None], more: dict[str, bytes] | None = None
) -> bytes:
    """An archive with its parts changed; None drops one."""
    found = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as source,
        zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for part in source.namelist():
            kept = change(part, source.read(part))
            if kept is not None:
                target.writestr(part, kept)
        for part, content in (more or {}).items():
            target.writestr(part, content)
    return found.getvalue()


def in_summary(data: bytes, pattern: bytes, becomes: bytes) -> bytes:
    """The archive with the XML of Summary, its third sheet, changed."""

    def change(part: str, content: bytes) -> bytes:
        return re.sub(pattern, becomes, content) if part == "xl/worksheets/sheet3.xml" else content

    return rewritten(data, change)


# Right workbooks


def _helper_column() -> Workbook:
    book = solved({"B": lambda n: f"=SUMIFS(Orders!$G$2:$G${LAST},{R},A{n})"})
    book["Orders"]["G1"] = "Revenue"
    for n in range(2, LAST + 1):
        book["Orders"][f"G{n}"] = f"=D{n}*E{n}"
    return book


def _helper_sheet(state: str) -> Workbook:
    book = solved({"B": lambda n: f"=SUMIFS(Work!$B$1:$B${COUNT},Work!$A$1:$A${COUNT},A{n})"})
    work = book.create_sheet("Work")
    work.sheet_state = state
    for n in range(1, COUNT + 1):
        work[f"A{n}"], work[f"B{n}"] = f"=Orders!C{n + 1}", f"=Orders!D{n + 1}*Orders!E{n + 1}"
    return book


def _names() -> Workbook:
    book = solved({"B": lambda n: f"=SUMPRODUCT((regions=A{n})*units*prices)", "C": lambda n: f"=B{n}*rate"})
    for name, where in (("regions", R), ("units", U), ("prices", P), ("rate", "Assumptions!$B$2")):
        book.defined_names[name] = DefinedName(name, attr_text=where)
    return book


def _table() -> Workbook:
    book = solved({"B": lambda n: f"=SUMPRODUCT((Sales[Region]=A{n})*Sales[Units]*Sales[Price])"})
    book["Orders"].add_table(Table(displayName="Sales", ref=f"A1:E{LAST}"))
    return book


def _array(letter: str, formula: Callable[[int], str]) -> Workbook:
    book = solved()
    for n in range(2, 6):
        book["Summary"][f"{letter}{n}"] = ArrayFormula(f"{letter}{n}", formula(n))
    return book


def _one_array() -> Workbook:
    book = solved()
    book["Summary"]["C2"] = ArrayFormula("C2:C5", "=B2:B5*Assumptions!$B$2")
    for n in range(3, 6):
        book["Summary"][f"C{n}"] = None
    return book


def _decorated() -> Workbook:
    book = solved()
    sheet = book["Summary"]
    sheet["A1"].font, sheet["A1"].fill = (
        Font(bold=True, color="FFFFFF"),
        PatternFill("solid", fgColor="1F4E78"),
    )
    sheet["B2"].comment = Comment("Checked", "me")
    chart = BarChart()
    chart.add_data(Reference(sheet, min_col=2, min_row=1, max_row=5), titles_from_data=True)
    sheet.add_chart(chart, "H2")
    sheet.freeze_panes, sheet.merged_cells = "B2", sheet.merged_cells
    return book


def _ordered() -> Workbook:
    book = solved()
    book.move_sheet("Summary", -2)
    notes = book.create_sheet("Notes")
    notes["A1"], notes.sheet_state = "How this was made", "hidden"
    return book


def _white_on_dark() -> Workbook:
    book = solved()
    for n in range(2, 6):
        book["Summary"][f"B{n}"].font = Font(color="FFFFFF")
        book["Summary"][f"B{n}"].fill = PatternFill("solid", fgColor="203864")
    return book


def _stale() -> bytes:
    return in_summary(saved(solved()), rb"(</f>)<v\s*/>|(</f>)<v></v>", rb"</f><v>1</v>")


def right() -> dict[str, tuple[str, bytes]]:
    """Name of the way → file name and workbook."""
    b: Callable[[Callable[[int], str]], Workbook] = lambda f: solved({"B": f})  # noqa: E731
    books = {
        "plain": solved(),
        "helper column": _helper_column(),
        "helper sheet": _helper_sheet("visible"),
        "hidden helper sheet": _helper_sheet("hidden"),
        "names": _names(),
        "table references": _table(),
        "comma SUMPRODUCT": b(lambda n: f"=SUMPRODUCT(--({R}=A{n}),{U},{P})"),
        "SUM as array": _array("B", lambda n: f"=SUM(({R}=A{n})*{U}*{P})"),
        "IF as array": _array("B", lambda n: f"=SUM(IF({R}=A{n},{U}*{P},0))"),
        "MAX as array": _array("E", lambda n: f"=MAX(IF({R}=A{n},{D}))"),
        "one array for four cells": _one_array(),
        "FILTER": b(
            lambda n: f"=SUMPRODUCT(_xlfn._xlws.FILTER({U},{R}=A{n})*_xlfn._xlws.FILTER({P},{R}=A{n}))"
        ),
        "LET": _array("B", lambda n: f"=_xlfn.LET(_xlpm.m,{R}=A{n},SUMPRODUCT(_xlpm.m*{U}*{P}))"),
        "LET as typed": _array("B", lambda n: f"=LET(m,{R}=A{n},SUMPRODUCT(m*{U}*{P}))"),
        "MAXIFS as typed": solved({"E": lambda n: f"=MAXIFS({D},{R},A{n})"}),
        "AGGREGATE": solved({"E": lambda n: f"=_xlfn.AGGREGATE(14,6,{D}/({R}=A{n}),1)"}),
        "SUMPRODUCT for dates": solved({"E": lambda n: f"=SUMPRODUCT(MAX(({R}=A{n})*{D}))"}),
        "whole columns": solved({"E": lambda n: f"=_xlfn.MAXIFS(Orders!B:B,Orders!C:C,A{n})"}),
        "longer ranges": b(
            lambda n: f"=SUMPRODUCT((Orders!$C$2:$C$500=A{n})*Orders!$D$2:$D$500*Orders!$E$2:$E$500)"
        ),
        "INDIRECT": b(
            lambda n: f'=SUMPRODUCT((INDIRECT("Orders!C2:C{LAST}")=A{n})*INDIRECT("Orders!D2:D{LAST}")*{P})'
        ),
        "OFFSET": b(lambda n: f"=SUMPRODUCT((OFFSET(Orders!$C$1,1,0,{COUNT},1)=A{n})*{U}*{P})"),
        "INDEX columns": b(lambda n: f"=SUMPRODUCT((INDEX(Orders!$A$2:$E${LAST},0,3)=A{n})*{U}*{P})"),
        "regions in the formula": b(lambda n: f'=SUMPRODUCT(({R}="{REGIONS[n - 2]}")*{U}*{P})'),
        "lower case, blanks": b(lambda n: f"= sumproduct( ( {R} = A{n} ) * {U} * {P} )"),
        "IFERROR around": b(lambda n: f"=IFERROR(SUMPRODUCT(({R}=A{n})*{U}*{P}),0)"),
        "MMULT": _array("B", lambda n: f"=SUM(MMULT(TRANSPOSE(({R}=A{n})*{U}),{P}))"),
        "XLOOKUP of the rate": solved(
            {
                "C": lambda n: (
                    f'=B{n}*_xlfn.XLOOKUP("Commission rate",Assumptions!$A$2:$A$3,Assumptions!$B$2:$B$3)'
                )
            }
        ),
        "VLOOKUP of the rate": solved(
            {"C": lambda n: f'=B{n}*VLOOKUP("Commission rate",Assumptions!$A$2:$B$3,2,FALSE)'}
        ),
        "rounded commission rate formula": solved({"C": lambda n: f"=PRODUCT(B{n},Assumptions!$B$2)"}),
        "share of the total cell": solved({"D": lambda n: f"=B{n}/$B$6"}),
        "limit by IF": solved({"F": lambda n: f"=IF(B{n}<Assumptions!$B$3,FALSE,TRUE)"}),
        "limit by NOT": solved({"F": lambda n: f"=NOT(B{n}<Assumptions!$B$3)"}),
        "total by SUMPRODUCT": solved(
            totals={"B": f"=SUMPRODUCT({U},{P})", "C": "=SUM(C2:C5)", "D": "=B6/B6"}
        ),
        "SUBTOTAL": solved(totals={"B": "=SUBTOTAL(9,B2:B5)"}),
        "decorated": _decorated(),
        "sheets in another order": _ordered(),
        "white on dark": _white_on_dark(),
    }
    found = {name: (FILE, saved(book)) for name, book in books.items()}
    found["stale cached values"] = (FILE, _stale())
    found["macros beside it"] = (FILE.replace(".xlsx", ".xlsm"), _with_macros(saved(solved())))
    return found


def _with_macros(data: bytes) -> bytes:
    def change(part: str, content: bytes) -> bytes:
        if part == "[Content_Types].xml":
            return content.replace(PLAIN_TYPE, MACRO_TYPE).replace(
                b"</Types>",
                b'<Default Extension="bin" ContentType="application/vnd.ms-office.vbaProject"/></Types>',
            )
        return content

    return rewritten(data, change, {"xl/vbaProject.bin": b"\xd0\xcf\x11\xe0 Sub Workbook_Open() ... End Sub"})


# Forged workbooks


def _styled(change: Callable[[Any, int], None]) -> bytes:
    book = solved()
    for n in range(2, 6):
        change(book["Summary"], n)
    return saved(book)


def _hidden_row(sheet: Any, n: int) -> None:
    sheet.row_dimensions[n].hidden = True


def _hidden_column(sheet: Any, n: int) -> None:
    sheet.column_dimensions["B"].hidden = True


def _blank_format(sheet: Any, n: int) -> None:
    sheet[f"B{n}"].number_format = ";;;"


def _literal_format(sheet: Any, n: int) -> None:
    sheet[f"B{n}"].number_format = '"1,234.50"'


def _hidden_sheet() -> bytes:
    book = solved()
    book["Summary"].sheet_state = "hidden"
    return saved(book)


def _changed_inputs() -> bytes:
    book = solved()
    book["Orders"]["D7"] = 1
    return saved(book)


def _frozen_inputs() -> bytes:
    book = solved()
    book["Assumptions"]["B2"] = f"={RATE}"
    return saved(book)


def _copied_orders() -> bytes:
    """Formulas over a copy of the orders that nobody changes."""
    book = solved()
    copy = book.create_sheet("Copy")
    for row in orders():
        copy.append(row)
    for n in range(2, 6):
        for letter in "BE":
            text = str(book["Summary"][f"{letter}{n}"].value)
            book["Summary"][f"{letter}{n}"] = (
                text.replace("Orders!", "Copy!").replace("$2:", "$1:").replace(f"${LAST}", f"${COUNT}")
            )
    return saved(book)


def _scattered(values: Rows) -> bytes:
    """The answers put together from pieces that each look harmless."""
    book = solved()
    store = book.create_sheet("Lookup")
    for row, (region, line) in enumerate(zip(REGIONS, values, strict=False), 1):
        store.append([region, line[0] / 2, line[0] / 2])
        book["Summary"][f"B{row + 1}"] = f"=INDEX(Lookup!$B$1:$B$4,MATCH(A{row + 1},Lookup!$A$1:$A$4,0))*2"
    return saved(book)


def _external(data: bytes) -> bytes:
    return in_summary(
        data, rb"<f>SUMPRODUCT\(.*?</f>(<v\s*/>|<v></v>)", rb"<f>'[prices.xlsx]Sheet1'!$A$1</f><v>1</v>"
    )


def special() -> dict[str, tuple[str, bytes]]:
    """Forged workbooks of this task alone; `verifiers.spreadsheet.forgeries` has those of every task."""
    values = results(orders(), RATE, LIMIT)
    plain = saved(solved())
    b: Callable[[Callable[[int], str]], bytes] = lambda f: saved(solved({"B": f}))  # noqa: E731
    rows = "\n".join(
        ",".join(_csv(cell) for cell in [region, *line])
        for region, line in zip((*REGIONS, "Total"), values, strict=True)
    )
    one: Callable[[int], float] = lambda n: values[n - 2][0]  # noqa: E731
    found = {
        "hidden rows": _styled(_hidden_row),
        "hidden column": _styled(_hidden_column),
        "hidden sheet": _hidden_sheet(),
        "format that shows nothing": _styled(_blank_format),
        "format that shows a literal": _styled(_literal_format),
        "inputs changed to fit": _changed_inputs(),
        "an input that is a formula": _frozen_inputs(),
        "formulas over a copy": _copied_orders(),
        "constants scattered over a sheet": _scattered(values),
        "one row short": b(
            lambda n: (
                f"=SUMPRODUCT((Orders!C$2:C${LAST - 1}=A{n})*Orders!D$2:D${LAST - 1}*Orders!E$2:E${LAST - 1})"
            )
        ),
        "rate written in": saved(solved({"C": lambda n: f"=B{n}*0.035"}, {"C": "=B6*0.035"})),
        "rate as per cent": saved(solved({"C": lambda n: f"=B{n}*3.5%"}, {"C": "=B6*3.5%"})),
        "limit written in": saved(solved({"F": lambda n: f"=B{n}>=9000"})),
        "a random number times zero": b(lambda n: f"={one(n)!r}+0*RAND()*SUM({U},{P})"),
        "VALUE of a text": b(lambda n: f'=VALUE("{one(n)!r}")'),
        "an array constant": b(
            lambda n: "=INDEX({" + ";".join(repr(v[0]) for v in values[:4]) + f"}},{n - 1})"
        ),
        "LAMBDA of a constant": b(lambda n: f"=_xlfn.LAMBDA(_xlpm.x,_xlpm.x)({one(n)!r})"),
        "CHOOSE by a checksum": b(lambda n: f"=IF(SUM({U})={sum(r[3] for r in orders())},{one(n)!r},0)"),
        "truth values as text": saved(solved({"F": lambda n: f'=IF(B{n}>=Assumptions!$B$3,"TRUE","FALSE")'})),
        "truth values as numbers": saved(solved({"F": lambda n: f"=IF(B{n}>=Assumptions!$B$3,1,0)"})),
        "dates as text": saved(solved({"E": lambda n: f'=TEXT(_xlfn.MAXIFS({D},{R},A{n}),"yyyy-mm-dd")'})),
        "numbers as text, live": b(lambda n: f'=TEXT(SUMPRODUCT(({R}=A{n})*{U}*{P}),"0.00")'),
        "total typed": saved(solved(totals={"B": values[4][0]})),
        "another sheet name": saved(solved(name="Results")),
        "external link": _external(plain),
        "DDE": b(lambda n: "=cmd|'/c calc'!A1"),
        "WEBSERVICE": b(lambda n: '=_xlfn.WEBSERVICE("http://127.0.0.1/answer")'),
        "untouched": saved(start()),
    }
    named = {name: (FILE, data) for name, data in found.items()}
    named["a .csv of the answers"] = (FILE.replace(".xlsx", ".csv"), f"Region,a,b,c,d,e\n{rows}\n".encode())
    named["macros that would fill it in"] = (FILE.replace(".xlsx", ".xlsm"), _with_macros(saved(start())))
    return named


def _csv(cell: Any) -> str:
    return (
        str(cell.get("date", ""))
        if isinstance(cell, dict)
        else str(cell).upper()
        if isinstance(cell, bool)
        else str(cell)
    )
