"""Reading the warehouse: SQL over the snapshot, and making its text safe to show.

A `Reader` sees one snapshot and nothing else: no other file, no extension, no setting can be reached from its
SQL, and only statements that read are run. Mined text is hostile on display, so `plain` and
`spreadsheet_safe` stand between it and a terminal or a spreadsheet.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa

from warehouse.database import first_line, open_snapshot
from warehouse.errors import FactoryError
from warehouse.settings import Settings

Params = Mapping[str, Any] | Sequence[Any]

_READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


@dataclass(frozen=True)
class Result:
    """Rows of a query as Python values."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


class Reader:
    """SQL over the snapshot as it is now. Raises FactoryError if there is none."""

    def __init__(self, where: Settings | Path) -> None:
        self._con = open_snapshot(where if isinstance(where, Path) else where.snapshot)

    def sql(self, query: str, params: Params | None = None) -> Result:
        """Run one reading statement, with `$name` or `?` parameters. Raises FactoryError for anything
        else.
        """
        con = self._execute(query, params)
        try:
            rows = con.fetchall()
        except duckdb.Error as error:
            raise _wrong(error) from error
        return Result(tuple(column[0] for column in con.description or ()), rows)

    def arrow(self, query: str, params: Params | None = None) -> pa.Table:
        """The same as an Arrow table, for results too large for Python objects."""
        con = self._execute(query, params)
        try:
            return con.to_arrow_table()
        except duckdb.Error as error:
            raise _wrong(error) from error

    def snapshot_id(self) -> str:
        """sha256 of what the snapshot holds: its schema version and the outbox units loaded into it."""
        (version,) = self.sql("SELECT max(version) FROM schema_version").rows[0]
        digest = hashlib.sha256(f"schema {version}\n".encode())
        for (unit,) in self.sql("SELECT unit FROM loaded_files ORDER BY unit").rows:
            digest.update(f"{unit}\n".encode())
        return digest.hexdigest()

    def close(self) -> None:
        self._con.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _execute(self, query: str, params: Params | None) -> duckdb.DuckDBPyConnection:
        try:
            statements = self._con.extract_statements(query)
            if len(statements) != 1 or statements[0].type not in _READING:
                raise FactoryError(
                    "Only one SELECT (or SHOW, DESCRIBE, SUMMARIZE, EXPLAIN) at a time is run here; "
                    "the warehouse is read-only."
                )
            return self._con.execute(statements[0], params)
        except duckdb.Error as error:
            raise _wrong(error) from error


def _wrong(error: duckdb.Error) -> FactoryError:
    return FactoryError(f"The query cannot be run: {plain(first_line(error))}.")


# Escape sequences (CSI, OSC and other strings up to their terminator, two-character ones), then whatever
# control, bidirectional-override and zero-width characters are left; tab and newline stay.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f]).*?(?:\x1b\\|\x9c|\x07|$)"
    r"|\x1b[ -/]*[0-~]?",
    re.DOTALL,
)
_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_FORMULA = re.compile(r"^[\s\x00]*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"^[+-]?\d+(\.\d+)?([eE][+-]?\d+)?$")


def plain(text: str) -> str:
    """`text` without anything that could drive a terminal or reorder what it shows."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n")))


def spreadsheet_safe(value: Any) -> Any:
    """`value` as a CSV cell that no spreadsheet runs as a formula; numbers stay numbers."""
    if not isinstance(value, str):
        return value if value is None or isinstance(value, (int, float)) else spreadsheet_safe(str(value))
    text = plain(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.match(text) else text
