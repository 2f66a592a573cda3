"""A workbook of our own with everything that has a reader, graded once before any other.

It loads what the libraries load late, so that the limited children, which may not be able to read the
interpreter's files, find all of it in memory.
"""

from __future__ import annotations

import datetime as dt
import io
from typing import Any

from openpyxl import Workbook
from openpyxl.chart import BarChart, LineChart, PieChart, Reference
from openpyxl.comments import Comment
from openpyxl.formatting.rule import CellIsRule, ColorScaleRule, FormulaRule
from openpyxl.styles import Font, PatternFill
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.formula import ArrayFormula
from openpyxl.worksheet.table import Table

SPEC: dict[str, Any] = {
    "checks": [
        {"kind": "cells", "name": "total", "sheet": "Data", "range": "B6", "expect": [[10]]},
        {"kind": "formula", "name": "reads", "sheet": "Data", "range": "B6", "references": ["Data!B2:B5"]},
        {"kind": "structure", "name": "chart", "what": "chart", "values": "Data!B2:B5", "type": "bar"},
        {
            "kind": "highlight", "name": "large", "sheet": "Data", "range": "B2:B5",
            "expect": [[False], [False], [False], [True]],
        },
        {
            "kind": "perturbation", "name": "more",
            "edits": [{"sheet": "Data", "cell": "B2", "was": 1, "value": 5}],
            "expect": [{"sheet": "Data", "range": "B6", "values": [[14]]}],
        },
    ]
}  # fmt: skip


def workbook() -> bytes:
    """The file."""
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.title = "Data"
    for line in (["Name", "Amount", "Day"], *[[f"n{i}", i, dt.datetime(2025, 1, i)] for i in range(1, 5)]):
        sheet.append(line)
    sheet["B6"] = "=SUM(B2:B5)"
    sheet["E2"] = ArrayFormula("E2:E3", "=B2:B3*2")
    sheet["A1"].font, sheet["A1"].fill = Font(bold=True), PatternFill("solid", fgColor="DDDDDD")
    sheet["A1"].comment = Comment("The header", "verifactory")
    sheet["A1"].hyperlink = "#Data!A2"
    for kind in (BarChart, LineChart, PieChart):
        chart = kind()
        chart.add_data(Reference(sheet, min_col=2, min_row=2, max_row=5))
        sheet.add_chart(chart)
    sheet.conditional_formatting.add(
        "B2:B5",
        CellIsRule(operator="greaterThan", formula=["3"], fill=PatternFill("solid", bgColor="FF0000")),
    )
    sheet.conditional_formatting.add("B2:B5", FormulaRule(formula=["B2>9"], font=Font(bold=True)))
    sheet.conditional_formatting.add(
        "B2:B5", ColorScaleRule(start_type="min", end_type="max", start_color="FF0000", end_color="00FF00")
    )
    rule = DataValidation(type="list", formula1='"n1,n2"')
    rule.add("A2:A5")
    sheet.add_data_validation(rule)
    sheet.add_table(Table(displayName="People", ref="A1:C5"))
    book.defined_names["total"] = DefinedName("total", attr_text="Data!$B$6")
    sheet.freeze_panes = "A2"
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()
