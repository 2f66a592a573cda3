"""Forged workbooks must earn 0 and right ones 1, however they are built.

One analyst's task (`workbook_variants.py`) is graded by the container authority on every forgery and on every
right workbook, .ods among them. Beside it stand two careless graders: one that compares cached values, as
they are in the file, and one that recalculates but only compares values. Needs Docker.

    python benchmarks/forged_workbooks.py [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import tempfile
from pathlib import Path
from typing import Any

from openpyxl import load_workbook
from openpyxl.utils.cell import range_boundaries
from rich.console import Console
from rich.table import Table
from workbook_variants import FILE, right, saved, solved, special, specification, start

from envs.docker.backend import DockerBackend
from verifiers.spreadsheet.authority import Authority
from verifiers.spreadsheet.child import grade_job
from verifiers.spreadsheet.forgeries import FORGERIES, Forger
from verifiers.spreadsheet.spec import Cells, SpreadsheetSpec
from warehouse.settings import Settings

TO_ODS = """
rm -rf /tmp/ods && mkdir -p /tmp/ods && cd /tmp/ods && cat > book.xlsx
soffice --headless -env:UserInstallation=file:///tmp/ods/profile --convert-to ods book.xlsx >/dev/null 2>&1
cat book.ods
"""


def forged(spec: SpreadsheetSpec) -> dict[str, tuple[str, bytes]]:
    """Every forgery of the task, by its name."""
    forger = Forger(saved(start()), saved(solved()), spec)
    everywhere = {name: (FILE, forge(forger)) for name, forge in FORGERIES.items()}
    return {**everywhere, **special()}


def cached_values_fit(spec: SpreadsheetSpec, name: str, data: bytes) -> bool:
    """The first careless grader: what the file says its cells showed when it was saved."""
    if not name.endswith((".xlsx", ".xlsm")):
        return False
    try:
        book = load_workbook(io.BytesIO(data), data_only=True)
        for check in spec.checks:
            if isinstance(check, Cells):
                left, top, right_, bottom = range_boundaries(check.range)
                rows = book[check.sheet].iter_rows(top, bottom, left, right_, values_only=True)
                if not all(_fits(e, v) for line, row in zip(check.expect, rows, strict=True)
                           for e, v in zip(line, row, strict=True)):  # fmt: skip
                    return False
    except (KeyError, ValueError):
        return False
    return True


def _fits(expected: Any, value: Any) -> bool:
    if isinstance(expected, dict):
        return "any" in expected or str(value)[:10] == expected["date"] or isinstance(value, (int, float))
    if isinstance(expected, float):
        try:
            return abs(float(value) - expected) < 0.005
        except (TypeError, ValueError):
            return False
    return value == expected or str(value) == str(expected)


async def measure() -> dict[str, Any]:
    spec = specification()
    values_only = SpreadsheetSpec(
        answer=spec.answer, sheet_of_csv=spec.sheet_of_csv,
        checks=tuple(c.model_copy(update={"visible": False}) for c in spec.checks if isinstance(c, Cells)),
    )  # fmt: skip
    settings = Settings(home=Path(tempfile.mkdtemp(prefix="forged-workbooks-")))
    bad, good = forged(spec), right()
    rows: list[dict[str, Any]] = []
    async with DockerBackend(settings) as backend, Authority(backend, settings) as authority:
        assert authority.sandbox is not None
        ods = await authority.sandbox.exec(["/bin/sh", "-c", TO_ODS], timeout=120, stdin=saved(solved()))
        good["OpenDocument"] = (FILE.replace(".xlsx", ".ods"), ods.stdout)
        for kind, books in (("forged", bad), ("right", good)):
            for label, (name, data) in books.items():
                ours, careless = await authority.ask_all(
                    [(grade_job(spec, name), data), (grade_job(values_only, name), data)]
                )
                failed = [c["name"] for c in ours.get("checks", ()) if not c["passed"]]
                rows.append(
                    {"kind": kind, "workbook": label, "verdict": ours["kind"], "reward": ours.get("reward"),
                     "why": ours["reason"] or ", ".join(failed), "recalculating_only": careless.get("reward"),
                     "cached_values": float(cached_values_fit(spec, name, data))}
                )  # fmt: skip
    found: dict[str, Any] = {"workbooks": rows}
    for kind, wanted in (("forged", 0.0), ("right", 1.0)):
        mine = [row for row in rows if row["kind"] == kind]
        found[kind] = {
            "workbooks": len(mine), "as_they_should": sum(row["reward"] == wanted for row in mine),
            "recalculating_only_pays": sum(row["recalculating_only"] == 1.0 for row in mine),
            "cached_values_pays": sum(row["cached_values"] for row in mine),
        }  # fmt: skip
    return found


def show(found: dict[str, Any]) -> None:
    console = Console()
    table = Table("", "workbook", "reward", "recalculation only", "cached values", "why")
    for row in found["workbooks"]:
        told = (
            row["kind"],
            row["workbook"],
            row["reward"],
            row["recalculating_only"],
            row["cached_values"],
            row["why"],
        )
        table.add_row(*(str(cell)[:70] for cell in told))
    console.print(table)
    for kind, reward in (("forged", 0), ("right", 1)):
        counts = found[kind]
        console.print(
            f"{counts['as_they_should']} of {counts['workbooks']} {kind} workbooks earn {reward}; a grader "
            f"that only recalculates pays {counts['recalculating_only_pays']}, one of cached values "
            f"{counts['cached_values_pays']:.0f}."
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="Print everything as JSON.")
    given = parser.parse_args()
    found = asyncio.run(measure())
    if given.json:
        print(json.dumps(found, indent=1))
    else:
        show(found)


if __name__ == "__main__":
    main()
