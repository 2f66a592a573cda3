"""Opening DuckDB: the loader's read-write connection and the readers' locked one.

Every connection is a private in-memory instance with the file attached. DuckDB otherwise shares one instance
between all connections of a process to one path, and with it the configuration and, after a snapshot was
replaced, the old file.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import duckdb

from warehouse.errors import FactoryError

# Files that any DuckDB from 1.5 on can open.
STORAGE_VERSION = "v1.5.0"
# Appending rewrites the last row group, which holds long text: a quarter of DuckDB's own size keeps small
# loads cheap (0.3 s instead of 0.7 s for 20 tasks into a million) and browses no slower.
ROW_GROUP_ROWS = 30720
READER_MEMORY = "4GB"

_CONFIG = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
}


def literal(value: Path | str) -> str:
    """`value` as an SQL string."""
    return "'" + str(value).replace("'", "''") + "'"


def open_writer(path: Path, *, memory: str, wait_seconds: float) -> duckdb.DuckDBPyConnection:
    """Open or make the warehouse file. Waits `wait_seconds` for another program to let go of it."""
    if "?" in str(path):
        raise FactoryError(f"DuckDB cannot keep a database at {path}; choose a home without a question mark.")
    path.parent.mkdir(parents=True, exist_ok=True)
    con = _connect(path.parent, memory)
    con.execute("SET preserve_insertion_order = false")
    _attach(
        con,
        path,
        f"STORAGE_VERSION {literal(STORAGE_VERSION)}, ROW_GROUP_SIZE {ROW_GROUP_ROWS}",
        wait_seconds,
    )
    return con


def open_snapshot(path: Path, *, wait_seconds: float = 5.0, locked: bool = True) -> duckdb.DuckDBPyConnection:
    """Open a snapshot read-only. A `locked` connection reads and writes no other file and changes no
    setting.
    """
    if not path.exists():
        raise FactoryError(
            f"There is no warehouse under {path.parent} yet; "
            "run `verifactory run` or `verifactory load` first."
        )
    con = _connect(Path(tempfile.gettempdir()), READER_MEMORY)
    _attach(con, path, "READ_ONLY", wait_seconds)
    if locked:
        con.execute("SET enable_external_access = false")
        con.execute("SET lock_configuration = true")
    return con


def _connect(spill: Path, memory: str) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(":memory:", config=dict(_CONFIG))
    # DuckDB makes this folder when a query outgrows its memory and removes it again.
    con.execute(f"SET temp_directory = {literal(spill / f'.tmp-spill-{os.getpid()}-{id(con):x}')}")
    con.execute(f"SET memory_limit = {literal(memory)}")
    con.execute("SET TimeZone = 'UTC'")
    return con


def _attach(con: duckdb.DuckDBPyConnection, path: Path, options: str, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            con.execute(f"ATTACH {literal(path)} AS warehouse ({options})")
            break
        except duckdb.IOException as error:
            if "lock" not in str(error).lower():
                con.close()
                raise FactoryError(f"DuckDB cannot open {path}: {first_line(error)}.") from error
            if time.monotonic() > deadline:
                con.close()
                raise FactoryError(
                    f"Another program holds {path} open; close it, "
                    f"and let readers open browse.duckdb beside it."
                ) from error
            time.sleep(0.1)
        except duckdb.Error as error:
            con.close()
            raise FactoryError(f"DuckDB cannot open {path}: {first_line(error)}.") from error
    con.execute("USE warehouse")


def first_line(error: Exception) -> str:
    """DuckDB's message without the excerpt of the query below it."""
    return " ".join(str(error).strip().split("\n\n")[0].split()).rstrip(".")
