"""What the recalculation engines get right, and what grading a workbook costs.

Right means: equal to the committed answer (`recalculation_corpus.json`, computed in Python) in type and, for
numbers, to 1e-7 of it. `agree` counts formulas that both engines support and answer alike. Times are medians
of grading one workbook of 200 rows with formulas and two changes of inputs: in the warm child, in the warm
container, and (one conversion, without any comparing) by a `soffice` started for the workbook with a profile
of its own, as graders usually do. Needs Docker.

    python benchmarks/recalculation.py [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import io
import json
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from openpyxl import Workbook
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.table import Table
from recalculation_answers import (
    CORPUS,
    FLOW_DAYS,
    FLOWS,
    GRADES,
    HEADER,
    ROWS,
    SORTED,
    WORDS,
    A,
    B,
    C,
)
from rich.console import Console
from rich.table import Table as Shown

from envs.docker.backend import DockerBackend
from verifiers.spreadsheet.authority import Authority
from verifiers.spreadsheet.child import INSIDE, WarmChild, grade_job, values_job
from verifiers.spreadsheet.spec import Block, Cells, Edit, Formula, Perturbation, SpreadsheetSpec
from warehouse.settings import Settings

sys.path.insert(0, str(INSIDE))

from functions import LACKING  # ty: ignore[import-not-found]

TOLERANCE = 1e-7
ENGINES = ("LibreOffice", "ironcalc")
COLD = """
rm -rf /tmp/cold && mkdir -p /tmp/cold && cd /tmp/cold && cat > in.xlsx && date +%s.%N
soffice --headless -env:UserInstallation=file:///tmp/cold/profile --convert-to xlsx --outdir out in.xlsx >&2
date +%s.%N
"""


def corpus_workbook(entries: list[dict[str, Any]]) -> bytes:
    """The data sheets and, on sheet Test, every formula in a row of its own."""
    book = Workbook()
    data = book.worksheets[0]
    data.title = "Data"
    for line in [HEADER, *ROWS]:
        data.append(list(line))
    data.add_table(Table(displayName="Sales", ref=f"A1:F{len(ROWS) + 1}"))
    numbers = book.create_sheet("Num")
    columns: list[list[Any]] = [A, B, C, FLOWS, FLOW_DAYS, WORDS, SORTED, GRADES]
    for column, values in enumerate(columns, 1):
        numbers.cell(1, column, f"c{column}")
        for row, value in enumerate(values, 2):
            numbers.cell(row, column).value = value
    book.defined_names["Rate"] = DefinedName("Rate", attr_text="Num!$J$2")
    numbers["J2"] = 0.125
    test = book.create_sheet("Test")
    for row, entry in enumerate(entries, 1):
        test.cell(row, 1).value = entry["formula"]
    return _saved(book)


def _saved(book: Workbook) -> bytes:
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def right(answer: Any, kind: str, content: Any) -> bool:
    """Whether an engine's value is the answer, in type too."""
    match answer:
        case None:
            return kind == "blank"
        case bool():
            return kind == "boolean" and content is answer
        case {"error": text}:
            return kind == "error" and content == text
        case str():
            return kind == "text" and content == answer
    return kind == "number" and abs(content - answer) <= TOLERANCE * max(1.0, abs(answer))


def supported(engine: str, entry: dict[str, Any], content: Any) -> bool:
    """An engine that does not know a function says #NAME?, or #ERROR! where it cannot even read it."""
    if LACKING[engine] & set(re.findall(r"[A-Z][A-Z0-9.]+(?=\()", entry["formula"])):
        return False
    return content not in ("#NAME?", "#ERROR!") or entry["answer"] == {"error": "#NAME?"}


def compare(entries: list[dict[str, Any]], values: dict[str, Any]) -> dict[str, Any]:
    """Per engine and group what is right; between the engines what agrees."""
    cells = {name: [tuple(cell[3:]) for cell in values[name]["cells"]] for name in ENGINES}
    groups: dict[str, dict[str, int]] = {}
    wrong: dict[str, list[dict[str, Any]]] = {name: [] for name in ENGINES}
    both = alike = 0
    for n, entry in enumerate(entries):
        group = groups.setdefault(entry["group"], dict.fromkeys(("formulas", *ENGINES), 0))
        group["formulas"] += 1
        for name in ENGINES:
            kind, content = cells[name][n]
            if right(entry["answer"], kind, content):
                group[name] += 1
            else:
                wrong[name].append({**entry, "said": [kind, content]})
        if all(supported(name, entry, cells[name][n][1]) for name in ENGINES):
            both += 1
            alike += _alike(cells[ENGINES[0]][n], cells[ENGINES[1]][n])
    return {
        "formulas": len(entries), "groups": groups, "wrong": wrong,
        "versions": {name: values[name]["version"] for name in ENGINES},
        "supported_by_both": both, "agree": alike, "agreement": round(alike / both, 4),
    }  # fmt: skip


def _alike(one: tuple[str, Any], other: tuple[str, Any]) -> bool:
    if one[0] == other[0] == "number":
        return right(one[1], *other)
    return one == other or ({one[0], other[0]} == {"number", "boolean"} and float(one[1]) == float(other[1]))


def typical() -> tuple[bytes, SpreadsheetSpec]:
    """A workbook as graded every day: 200 rows, a summary, two changes of inputs."""
    book = Workbook()
    data = book.worksheets[0]
    data.title = "Orders"
    data.append(["Day", "Region", "Units", "Price"])
    regions, prices = ("North", "South", "East", "West"), (12.5, 19.0, 7.25)
    rows = [
        (dt.date(2025, 1, 1) + dt.timedelta(n), regions[n % 4], n % 17 + 1, prices[n % 3]) for n in range(200)
    ]
    for row in rows:
        data.append(list(row))
    summary = book.create_sheet("Summary")
    for line, region in enumerate(regions, 1):
        summary.cell(line, 1).value = region
        summary.cell(
            line, 2
        ).value = f"=SUMPRODUCT((Orders!$B$2:$B$201=A{line})*Orders!$C$2:$C$201*Orders!$D$2:$D$201)"

    def totals(changed: dict[int, int]) -> tuple[tuple[float, ...], ...]:
        units = [changed.get(n, row[2]) for n, row in enumerate(rows)]
        return tuple(
            (sum(u * r[3] for u, r in zip(units, rows, strict=True) if r[1] == region),) for region in regions
        )

    sheet, cells = "Summary", "B1:B4"
    changes = [
        Perturbation(
            name=f"units {n}",
            edits=(Edit(sheet="Orders", cell=f"C{n + 2}", was=rows[n][2], value=99),),
            expect=(Block(sheet=sheet, range=cells, values=totals({n: 99})),),
        )
        for n in (3, 50)
    ]
    spec = SpreadsheetSpec(
        answer="orders.xlsx",
        checks=(
            Cells(name="totals", sheet=sheet, range=cells, expect=totals({})),
            Formula(name="live", sheet=sheet, range=cells, references=("Orders!C2:C201",)),
            *changes,
        ),
    )
    return _saved(book), spec


async def times(child: WarmChild, authority: Authority, repeats: int) -> dict[str, float]:
    """Median seconds of one grading."""
    data, spec = typical()
    job = grade_job(spec, spec.answer)
    ways = ("warm child", "warm container", "warm container, ten at once", "cold soffice")
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        begin = time.perf_counter()
        first = child.ask(job, data)
        middle = time.perf_counter()
        second = await authority.ask(job, data)
        end = time.perf_counter()
        if (first["reward"], second["reward"]) != (1.0, 1.0):
            raise SystemExit(f"the typical workbook was not paid: {first} {second}")
        taken["warm child"].append(middle - begin)
        taken["warm container"].append(end - middle)
        begin = time.perf_counter()
        await authority.ask_all([(job, data)] * 10)
        taken["warm container, ten at once"].append((time.perf_counter() - begin) / 10)
    assert authority.sandbox is not None
    for _ in range(max(3, repeats // 4)):
        done = await authority.sandbox.exec(["/bin/sh", "-c", COLD], timeout=120, stdin=data)
        start, stop = map(float, done.stdout.split())
        taken["cold soffice"].append(stop - start)
    return {name: round(statistics.median(values), 4) for name, values in taken.items()}


async def measure(repeats: int) -> dict[str, Any]:
    entries = json.loads(CORPUS.read_text())
    settings = Settings(home=Path(tempfile.mkdtemp(prefix="recalculation-")))
    areas = [f"Test!A1:A{len(entries)}"]
    async with DockerBackend(settings) as backend, Authority(backend, settings) as authority:
        with WarmChild() as child:
            answered = await authority.ask(values_job("corpus.xlsx", areas), corpus_workbook(entries))
            found = compare(entries, answered["values"])
            found["seconds"] = await times(child, authority, repeats)
    seconds = found["seconds"]
    found["times_faster_than_cold"] = {
        name: round(seconds["cold soffice"] / value, 1)
        for name, value in seconds.items()
        if name != "cold soffice"
    }
    return found


def show(found: dict[str, Any]) -> None:
    console = Console()
    table = Shown("group", "formulas", *(f"{name} {found['versions'][name]}" for name in ENGINES))
    for group, counts in found["groups"].items():
        table.add_row(group, *(str(counts[key]) for key in ("formulas", *ENGINES)))
    sums = [sum(group[key] for group in found["groups"].values()) for key in ("formulas", *ENGINES)]
    table.add_row("all", *map(str, sums), style="bold")
    console.print(table)
    for name in ENGINES:
        for entry in found["wrong"][name]:
            console.print(
                f"{name}: {entry['formula']} gave {entry['said'][1]!r}, not {entry['answer']!r}", markup=False
            )
    both, agree = found["supported_by_both"], found["agree"]
    console.print(f"Both support {both}; they agree on {agree} ({found['agreement']:.1%}).")
    for name, seconds in found["seconds"].items():
        faster = found["times_faster_than_cold"].get(name)
        console.print(
            f"{name}: {1000 * seconds:.0f} ms a workbook" + (f", {faster} x faster" if faster else "")
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="Print everything as JSON.")
    parser.add_argument("--repeats", type=int, default=20, help="Gradings per way of grading.")
    given = parser.parse_args()
    found = asyncio.run(measure(given.repeats))
    if given.json:
        print(json.dumps(found, indent=1))
    else:
        show(found)


if __name__ == "__main__":
    main()
