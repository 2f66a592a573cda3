"""`export_parquet`: tasks as the warehouse knows them, one row each, as Parquet that trainers and `datasets`
read.

Unlike the layouts made from bundles it exports tasks of any status that the predicate lets through. The same
snapshot, predicate and share give the same bytes.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from warehouse.database import literal
from warehouse.export.card import Card
from warehouse.export.choice import choose
from warehouse.export.publication import ExportReport, data_files, publish, refuse_existing
from warehouse.export.split import HELD_OUT_SHARE
from warehouse.records import Task
from warehouse.schema import columns
from warehouse.settings import Settings

ROWS_PER_FILE = 20_000
ROWS_PER_GROUP = 5_000

CARD = Card(
    "Verified tasks",
    "One row a task: instruction, gold patch, hidden tests, and the tests that decide (`fail_to_pass`, "
    "`pass_to_pass`, `new_tests`). Patches are text: bytes that are no UTF-8 stand as U+FFFD here; the "
    "task's bundle has the exact patch.",
)


def export_parquet(
    settings: Settings,
    where: str,
    out: Path,
    *,
    validation_share: float = HELD_OUT_SHARE,
    rows_per_file: int = ROWS_PER_FILE,
) -> ExportReport:
    """Write the tasks for which `where`, a predicate over `task_overview`, holds to `out`, which must not
    exist.

    Raises FactoryError, and writes nothing, if `where` is no predicate or no task fits.
    """
    refuse_existing(out)
    with choose(settings, where, share=validation_share) as choice:
        contents = choice.settle()
        _order(choice.con)
        return publish(
            settings,
            out,
            layout="parquet",
            contents=contents,
            card=CARD,
            write=lambda folder: _write(choice.con, folder, contents.splits, rows_per_file),
        )


def _order(con: duckdb.DuckDBPyConnection) -> None:
    """Fill the table `ordered` with whole rows, split by split, at their final positions."""
    fields = ", ".join(_exported(column.name, column.sql) for column in columns(Task))
    con.execute(
        "CREATE TEMP TABLE ordered AS SELECT *, row_number() OVER (ORDER BY split, task_id) - 1 AS position "
        f"FROM (SELECT {fields}, s.status, s.difficulty, c.split FROM chosen c "
        "JOIN tasks t USING (task_id) JOIN task_state s USING (task_id)) ORDER BY position"
    )


def _exported(name: str, sql: str) -> str:
    """A task's column as exported: JSON as the text it is."""
    return f"t.{name}::VARCHAR AS {name}" if sql == "JSON" else f"t.{name}"


def _write(
    con: duckdb.DuckDBPyConnection, folder: Path, splits: dict[str, int], rows_per_file: int
) -> dict[str, int]:
    """The data files and their rows: a file is a range of positions."""
    (folder / "data").mkdir()
    written = {}
    before = 0
    for split, rows in splits.items():
        for name, start, end in data_files(split, rows, rows_per_file):
            con.execute(
                "COPY (SELECT * EXCLUDE (position) FROM ordered "
                f"WHERE position >= {before + start} AND position < {before + end} ORDER BY position) "
                f"TO {literal(folder / name)} "
                f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROWS_PER_GROUP})"
            )
            written[name] = end - start
        before += rows
    return written
