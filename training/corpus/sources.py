"""Rows to learn from: a Parquet shard with an SQL condition, or a query on the warehouse.

A row has `messages` (a list of role and content, or OpenAI-shaped JSON with reasoning and tool calls) or
`trajectory` (ATIF JSON), `task_id` and `weight`; it may have `tools` (JSON), `reward` and `difficulty`. Other
columns are for the condition.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from training.chat.atif import read_atif
from training.chat.messages import Message, Tool
from training.settings import DomainConfig
from warehouse.errors import FactoryError
from warehouse.query import Reader
from warehouse.settings import Settings

TEXT_OR_LIST = "text (JSON) or a list of role and content"


@dataclass(frozen=True)
class Row:
    """A conversation to learn from. `where` says which it is, in an error."""

    where: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    weight: float
    reward: float | None
    difficulty: float | None


def shard_files(data: str) -> list[Path]:
    """The Parquet files that `data` (a file, a folder or a glob) names, in order."""
    path = Path(data)
    found = path.rglob("*.parquet") if path.is_dir() else map(Path, glob.glob(data, recursive=True))
    files = sorted(f for f in found if f.is_file())
    if not files:
        raise FactoryError(f"No Parquet file is at {data}; `verifactory export sft OUT` makes a shard.")
    return files


def read_rows(domain: DomainConfig, settings: Settings | None) -> list[Row]:
    """The rows of a domain, in the order of its files or its query. Raises FactoryError for a wrong one."""
    if domain.sql:
        if settings is None:
            raise FactoryError("A domain with sql needs a warehouse; name one, or give the domain a shard.")
        with Reader(settings) as reader:
            return _rows("the warehouse's answer", reader.arrow(domain.sql))
    rows: list[Row] = []
    for path in shard_files(domain.data):
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            raise FactoryError(f"The shard {path} cannot be read as Parquet: {error}.") from error
        rows += _rows(f"the shard {path}", _filtered(table, domain.where, path))
    return rows


def _filtered(table: pa.Table, where: str, path: Path) -> pa.Table:
    if where == "true":
        return table
    with duckdb.connect(config={"enable_external_access": "false"}) as con:
        con.register("rows", table)
        try:
            return con.execute(f"SELECT * FROM rows WHERE {where}").to_arrow_table()
        except duckdb.Error as error:
            first = str(error).partition("\n")[0]
            raise FactoryError(f"The condition {where!r} does not fit the shard {path}: {first}.") from error


def _rows(where: str, table: pa.Table) -> list[Row]:
    _check_schema(where, table.schema)
    return [_row(f"Task {row.get('task_id')} in {where}", row) for row in table.to_pylist()]


def _check_schema(where: str, schema: pa.Schema) -> None:
    content = "trajectory" if "trajectory" in schema.names else "messages"
    for name in (content, "task_id", "weight"):
        if name not in schema.names:
            raise FactoryError(f"In {where} is no column {name!r}; `verifactory export sft` writes it.")
    for name, fits, wanted in (
        ("messages", _text_or_list, TEXT_OR_LIST),
        ("trajectory", _text, "text (ATIF JSON)"),
        ("tools", _text_or_list, "text (JSON)"),
        ("weight", _number, "a number"),
        ("reward", _number, "a number"),
        ("difficulty", _number, "a number"),
    ):
        if name in schema.names and not fits(schema.field(name).type):
            raise FactoryError(
                f"Column {name!r} of {where} is {schema.field(name).type}; it should be {wanted}."
            )


def _text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _text_or_list(kind: pa.DataType) -> bool:
    return _text(kind) or (
        (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and pa.types.is_struct(kind.value_type)
    )


def _number(kind: pa.DataType) -> bool:
    return (
        pa.types.is_floating(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    )


def _row(where: str, row: dict[str, Any]) -> Row:
    weight = row["weight"]
    if weight is None or not 0 < weight < float("inf"):
        raise FactoryError(f"{where} has weight {weight}; it must be a positive number.")
    try:
        if row.get("trajectory"):
            messages, tools = read_atif(_json(where, "trajectory", row["trajectory"]))
        else:
            messages = tuple(Message.read(data) for data in _list(where, "messages", row["messages"]))
            tools = ()
        tools = tools or tuple(Tool.read(data) for data in _list(where, "tools", row.get("tools")))
    except FactoryError as error:
        raise FactoryError(f"{where} cannot be read: {error}") from error
    return Row(where, messages, tools, float(weight), _float(row, "reward"), _float(row, "difficulty"))


def _float(row: dict[str, Any], name: str) -> float | None:
    return None if row.get(name) is None else float(row[name])


def _json(where: str, name: str, value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError as error:
        raise FactoryError(f"its {name} is not JSON ({error}).") from error


def _list(where: str, name: str, value: Any) -> Sequence[dict[str, Any]]:
    found = _json(where, name, value) or []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise FactoryError(f"its {name} is not a list of objects.")
    return found
