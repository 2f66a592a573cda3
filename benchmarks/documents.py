"""Decks, edits of decks and memos: what a reference, an untouched file and forgeries earn, and how fast.

Measures, in process and on one core: seconds to make a task, milliseconds to grade its reference, and how
many references score 1, untouched and partial files 0, forgeries 0.

python benchmarks/documents.py [--tasks 10] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

from pipelines.office.documents import DocumentTask, document
from pipelines.office.occupations import taxonomy
from verifiers.documents import ask, warm_child
from verifiers.documents.forgeries import NoHold, forgeries
from verifiers.spreadsheet.child import WarmChild

KINDS = ("deck", "deck-edit", "memo")


def measured(kind: str, count: int, child: WarmChild) -> dict[str, Any]:
    """One kind, `count` tasks of each field of work."""
    made_in, graded_in = [], []
    found = {"tasks": 0, "references_paid": 0, "others": 0, "others_paid": 0, "forged": 0, "forged_paid": 0}
    for occupation, work in taxonomy(None).works:
        for number in range(count):
            started = time.perf_counter()
            task = document(kind, occupation, work, number)
            made_in.append(time.perf_counter() - started)
            started = time.perf_counter()
            report = ask(child, task.spec, task.reference, task.original)
            graded_in.append(time.perf_counter() - started)
            found["tasks"] += 1
            found["references_paid"] += report["reward"] == 1.0
            _others(task, child, found)
    return found | {
        "seconds_to_make": round(statistics.median(made_in), 3),
        "ms_to_grade": round(1000 * statistics.median(graded_in), 1),
    }


def _others(task: DocumentTask, child: WarmChild, found: dict[str, Any]) -> None:
    for other in (task.original, task.partial):
        if other is not None:
            found["others"] += 1
            found["others_paid"] += ask(child, task.spec, other, task.original)["reward"] > 0
    for forge in forgeries(task.file).values():
        try:
            forged = forge(task.reference)
        except NoHold:
            continue
        found["forged"] += 1
        found["forged_paid"] += ask(child, task.spec, forged, task.original)["reward"] > 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10, help="Tasks of each kind and field of work.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with warm_child() as child:
        rows = {kind: measured(kind, options.tasks, child) for kind in KINDS}
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    for kind, row in rows.items():
        print(kind, ", ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
