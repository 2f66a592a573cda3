"""Grades a workbook by this example's specification, in process: every check, and what was seen.

python examples/office/grade.py examples/office/reference.xlsx
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from verifiers.spreadsheet.child import WarmChild, grade_job
from verifiers.spreadsheet.spec import SpreadsheetSpec

HERE = Path(__file__).resolve().parent


def main() -> None:
    spec = SpreadsheetSpec.model_validate_json((HERE / "spreadsheet.json").read_bytes())
    path = Path(sys.argv[1])
    with WarmChild() as child:
        report = child.ask(grade_job(spec, path.name), path.read_bytes())
    table = Table("check", "", "seen")
    for check in report["checks"]:
        table.add_row(check["name"], "passed" if check["passed"] else "failed", check["evidence"][:90])
    console = Console()
    console.print(table)
    console.print(f"{report['kind']}, reward {report['reward']:g} {report['reason']}")


if __name__ == "__main__":
    main()
