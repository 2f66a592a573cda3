"""One outbox unit as files: which there are, and whether an independent reader (Arrow) finds them whole.

The loader asks only after DuckDB refused a chunk, so that a full disk or a lack of memory is never taken for
a broken unit, and a broken unit never stops the others.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.schema import Column, columns, record_of


def files_of(unit: Path) -> list[Path]:
    """A unit's Parquet files, one a table; a unit that is no folder is its own, broken file."""
    return sorted(unit.iterdir()) if unit.is_dir() else [unit]


def check_unit(unit: Path) -> str | None:
    """What is wrong with a unit, as the end of a sentence; None if nothing is."""
    for file in files_of(unit):
        problem = _check_file(file)
        if problem:
            return f"{file.name} {problem}"
    return None


def _check_file(file: Path) -> str | None:
    record = record_of(file.stem) if file.suffix == ".parquet" else None
    if record is None:
        return "is not the Parquet file of any table that this version knows"
    try:
        table = pq.read_table(file, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        return f"is not a readable Parquet file ({str(error).splitlines()[0]})"
    for column in columns(record):
        problem = _check_column(table, column)
        if problem:
            return f"column {column.name} {problem}"
    return None


def _check_column(table: pa.Table, column: Column) -> str | None:
    if column.name not in table.column_names:
        return "is missing"
    values = table.column(column.name)
    if values.type != column.arrow:
        return f"has type {values.type}, not {column.arrow}"
    if values.null_count and not column.nullable:
        return "has empty values"
    if column.sql == "JSON":
        for value in values.to_pylist():
            try:
                json.loads(value)
            except ValueError:
                return "has a value that is not JSON"
    return None
