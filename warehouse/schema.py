"""From record classes to columns: Arrow schemas for the outbox, SQL types for the tables.

The annotations of `warehouse.records` are the only place where a column's type is stated. Migrations are
written by hand, because a migration once released never changes, and a test compares the tables they make
with what stands here.
"""

from __future__ import annotations

import functools
import re
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from warehouse.records import RECORDS, Json, Record

UTC_MICROSECONDS = pa.timestamp("us", tz="UTC")

# annotation → (Arrow type, SQL type); DuckDB's TIMESTAMPTZ counts microseconds in UTC as well, so nothing is
# rounded.
_COLUMN_TYPES: dict[Any, tuple[pa.DataType, str]] = {
    str: (pa.string(), "VARCHAR"),
    int: (pa.int64(), "BIGINT"),
    float: (pa.float64(), "DOUBLE"),
    bool: (pa.bool_(), "BOOLEAN"),
    datetime: (UTC_MICROSECONDS, "TIMESTAMP WITH TIME ZONE"),
    tuple[str, ...]: (pa.list_(pa.string()), "VARCHAR[]"),
    Json: (pa.string(), "JSON"),
}


_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Column:
    """One column of one table."""

    name: str
    arrow: pa.DataType
    sql: str
    nullable: bool


@functools.cache
def columns(record: type[Record]) -> tuple[Column, ...]:
    """The columns of `record`'s table, in the order of its fields."""
    hints = typing.get_type_hints(record, include_extras=True)
    return tuple(_column(name, hints[name]) for name in record.model_fields)


def _column(name: str, annotation: Any) -> Column:
    nullable = False
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        (annotation,) = (part for part in typing.get_args(annotation) if part is not type(None))
        nullable = True
    if annotation not in _COLUMN_TYPES:
        raise TypeError(f"no column type for {name}: {annotation}")
    arrow, sql = _COLUMN_TYPES[annotation]
    return Column(name, arrow, sql, nullable)


@functools.cache
def arrow_schema(record: type[Record]) -> pa.Schema:
    """What a Parquet file of `record` looks like in the outbox."""
    return pa.schema([pa.field(c.name, c.arrow, nullable=c.nullable) for c in columns(record)])


@functools.cache
def record_of(table: str) -> type[Record] | None:
    """The record class stored in `table`; None if this version knows no such table."""
    return next((record for record in RECORDS if record.table == table), None)


def to_arrow(record: type[Record], rows: Sequence[Record]) -> pa.Table:
    """Rows of one class as an Arrow table. A time without zone counts as UTC."""
    arrays = [_array([getattr(row, column.name) for row in rows], column) for column in columns(record)]
    return pa.Table.from_arrays(arrays, schema=arrow_schema(record))


def _array(values: list[Any], column: Column) -> pa.Array:
    try:
        return pa.array(values, column.arrow)
    except UnicodeEncodeError:
        # Mined text may hold lone surrogates (bytes that were no UTF-8). They stay readable, as \udcXX;
        # inside JSON the backslash is doubled, so that the value, not the syntax, has it.
        escape = r"\\u" if column.sql == "JSON" else r"\u"
        return pa.array([_encodable(value, escape) for value in values], column.arrow)


def _encodable(value: Any, escape: str) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub(lambda found: f"{escape}{ord(found[0]):04x}", value)
    return value if value is None else [_encodable(part, escape) for part in value]
