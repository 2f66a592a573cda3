"""How fast tasks reach the warehouse, against inserting them row by row.

Both ways fill the same table (primary key, zstd text columns, ~2 KB a row) on the same disk, one after the
other in one run. The outbox's figure covers everything from records to a refreshed snapshot: Parquet files
written and synced, the transaction, the derived task state, the archive, the snapshot. Row by row is one
`INSERT` a task, each its own commit.

    python benchmarks/loader.py [--json] [--rows 100000] [--flushes 100]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from made_up.tasks import made_up_tasks

from warehouse.database import open_writer
from warehouse.loader import MEMORY, load
from warehouse.migrate import migrate
from warehouse.outbox import Outbox
from warehouse.query import Reader
from warehouse.records import Task
from warehouse.schema import columns
from warehouse.settings import Settings

BOUND_ROWS_PER_SECOND = 15_000
BOUND_RATIO = 50


def through_outbox(home: Path, tasks: list[Task], flushes: int) -> dict[str, float]:
    """Append, flush in `flushes` units, load, refresh the snapshot."""
    settings = Settings(home=home)
    load(settings)
    outbox = Outbox(settings)
    per_flush = -(-len(tasks) // flushes)
    started = time.perf_counter()
    for start in range(0, len(tasks), per_flush):
        outbox.append(tasks[start : start + per_flush])
        outbox.flush()
    flushed, cpu = time.perf_counter(), time.process_time()
    load(settings)
    loaded, cpu = time.perf_counter(), time.process_time() - cpu
    with Reader(settings) as reader:
        (stored,) = reader.sql("SELECT count(*) FROM tasks").rows[0]
    if stored != len(tasks):
        raise SystemExit(f"{stored} tasks are stored, {len(tasks)} were written")
    return {
        "flush_seconds": flushed - started,
        "load_seconds": loaded - flushed,
        "load_cpu_seconds": cpu,
        "loader_rows_per_second": len(tasks) / (loaded - flushed),
        "rows_per_second": len(tasks) / (loaded - started),
        "warehouse_bytes_per_row": settings.warehouse.stat().st_size / len(tasks),
    }


def row_by_row(home: Path, tasks: list[Task]) -> float:
    """Rows per second of one autocommitted INSERT a task into an empty warehouse."""
    con = open_writer(home / "warehouse.duckdb", memory=MEMORY, wait_seconds=0)
    migrate(con)
    names = [column.name for column in columns(Task)]
    marks = ", ".join("?" for _ in names)
    rows = [[list(v) if isinstance(v := getattr(task, n), tuple) else v for n in names] for task in tasks]
    started = time.perf_counter()
    for row in rows:
        con.execute(f"INSERT INTO tasks VALUES ({marks})", row)
    seconds = time.perf_counter() - started
    con.close()
    return len(tasks) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rows", type=int, default=100_000, help="tasks through the outbox")
    parser.add_argument("--flushes", type=int, default=100, help="outbox units they are written in")
    parser.add_argument("--single", type=int, default=1_000, help="tasks inserted row by row")
    options = parser.parse_args()
    tasks = made_up_tasks(options.rows)
    text = sum(len(t.instruction) + len(t.gold_patch) + len(t.test_patch) for t in tasks) / len(tasks)
    with tempfile.TemporaryDirectory() as folder:
        figures = through_outbox(Path(folder) / "outbox", tasks, options.flushes)
        single = row_by_row(Path(folder) / "single", tasks[: options.single])
    result = {
        "rows": options.rows,
        "flushes": options.flushes,
        "text_bytes_per_row": text,
        **figures,
        "row_by_row_per_second": single,
        "ratio": figures["rows_per_second"] / single,
        "loader_ratio": figures["loader_rows_per_second"] / single,
        "passed": figures["loader_rows_per_second"] >= BOUND_ROWS_PER_SECOND
        and figures["rows_per_second"] >= BOUND_RATIO * single,
    }
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    for name, value in result.items():
        sys.stdout.write(f"{name:24} {value:,.1f}\n" if isinstance(value, float) else f"{name:24} {value}\n")
    sys.stdout.write(
        f"bounds: loader ≥ {BOUND_ROWS_PER_SECOND:,} rows/s, the whole way ≥ {BOUND_RATIO} times row by row\n"
    )


if __name__ == "__main__":
    main()
