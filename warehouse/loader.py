"""The loader: takes outbox units into the warehouse, each exactly once, whoever is killed whenever.

- One loader at a time, by an exclusive lock that the kernel drops with its process.
- A chunk of units is one transaction: their rows, the derived `task_state`, and the units' names in
  `loaded_files`. A unit is taken whole or not at all. Only after the commit does it move to `archive/`; a
  unit found in the outbox that is already in `loaded_files` was committed by a loader killed before the move,
  and is only moved.
- Of rows with one key, the earlier `recorded_at` stays, then the smaller digest of the whole row. That choice
  does not depend on order, so any units, loaded in any order, any number of times and in any split into
  loads, give the same tables.
- A unit that cannot be read is set aside under `quarantine/` with its reason; the others load.

Nothing is deleted: the archive holds every fact ever recorded. Its units, put into the outbox of an empty
home, make the same warehouse again.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from warehouse import snapshot, task_state
from warehouse.database import first_line, literal, open_writer
from warehouse.errors import FactoryError, storage_error
from warehouse.files import remove_abandoned
from warehouse.migrate import migrate
from warehouse.records import Record
from warehouse.schema import columns, record_of
from warehouse.settings import Settings
from warehouse.unit import check_unit, files_of

MEMORY = "2GB"
# What one transaction takes: enough to make its fixed cost small, little enough to bound its memory.
CHUNK_BYTES = 128 << 20
CHUNK_UNITS = 500


class _UnknownTable(Exception):
    """A unit holds something that no table of this version takes."""


@dataclass
class LoadReport:
    """What a load did. `rows` counts records read, `problems` has one sentence for every unit set aside."""

    units: int = 0
    rows: int = 0
    problems: list[str] = field(default_factory=list)
    refreshed: bool = False
    seconds: float = 0.0


def load(
    settings: Settings,
    *,
    refresh: snapshot.Refresh = "always",
    wait_seconds: float = 300.0,
    memory: str = MEMORY,
) -> LoadReport:
    """Load every unit in the outbox and refresh the snapshot; makes the warehouse if there is none.

    Raises FactoryError if another loader or program keeps the warehouse for `wait_seconds`, or the disk is
    full; what was loaded until then stays loaded, the rest stays in the outbox.
    """
    started = time.monotonic()
    report = LoadReport()
    try:
        with loader_lock(settings, wait_seconds):
            remove_abandoned(settings.outbox)
            _load_pending(settings, report, memory, wait_seconds)
            report.refreshed = snapshot.refresh(settings, refresh)
    except OSError as error:
        raise storage_error(error, settings.home) from error
    report.seconds = time.monotonic() - started
    return report


@contextmanager
def loader_lock(settings: Settings, wait_seconds: float) -> Generator[None]:
    """Be the only loader of this home."""
    settings.home.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_seconds
    with (settings.home / "loader.lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise FactoryError(
                        f"Another loader has been at work in {settings.home} for {wait_seconds:.0f} s; "
                        "wait for it to end and run the command again."
                    ) from None
                time.sleep(0.02)
        yield


def archived(settings: Settings) -> list[Path]:
    """Every unit that was loaded, oldest first."""
    return sorted(settings.archive.glob("*/*-*"), key=lambda unit: unit.name)


def _pending(outbox: Path) -> list[Path]:
    """Whole units in the outbox, oldest first."""
    if not outbox.is_dir():
        return []
    return sorted(entry for entry in outbox.iterdir() if not entry.name.startswith("."))


def _load_pending(settings: Settings, report: LoadReport, memory: str, wait_seconds: float) -> None:
    con = open_writer(settings.warehouse, memory=memory, wait_seconds=wait_seconds)
    try:
        migrate(con)
        for chunk in _chunks(_pending(settings.outbox)):
            _load_chunk(con, chunk, report, settings)
            for unit in chunk:
                if unit.exists():
                    _archive(unit, settings)
    except duckdb.Error as error:
        raise FactoryError(
            f"DuckDB could not load the outbox into {settings.warehouse}: {first_line(error)}; "
            "nothing was lost, mend that and run the command again."
        ) from error
    finally:
        con.close()


def _chunks(units: list[Path]) -> Iterator[list[Path]]:
    """Units in transactions of bounded size."""
    chunk: list[Path] = []
    size = 0
    for unit in units:
        chunk.append(unit)
        size += sum(file.stat().st_size for file in files_of(unit))
        if size >= CHUNK_BYTES or len(chunk) >= CHUNK_UNITS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _load_chunk(
    con: duckdb.DuckDBPyConnection, chunk: list[Path], report: LoadReport, settings: Settings
) -> None:
    """Load a chunk; if that fails, set aside the units that an independent reader finds broken and load the
    rest.
    """
    names = [unit.name for unit in chunk]
    known = {
        name
        for (name,) in con.execute(
            "SELECT unit FROM loaded_files WHERE unit IN (SELECT unnest(?))", [names]
        ).fetchall()
    }
    fresh = [unit for unit in chunk if unit.name not in known]
    try:
        report.rows += _transaction(con, fresh)
    except (duckdb.Error, _UnknownTable):
        problems = {unit: problem for unit in fresh if (problem := check_unit(unit))}
        if not problems:
            raise
        for unit, problem in problems.items():
            report.problems.append(_set_aside(unit, problem, settings))
        fresh = [unit for unit in fresh if unit not in problems]
        report.rows += _transaction(con, fresh)
    report.units += len(fresh)


def _transaction(con: duckdb.DuckDBPyConnection, units: list[Path]) -> int:
    """Rows, derived state and the record of having taken them: all or nothing. Returns the number of
    records.
    """
    if not units:
        return 0
    by_table: dict[str, list[Path]] = defaultdict(list)
    for unit in units:
        for file in files_of(unit):
            by_table[file.stem].append(file)
    con.execute("BEGIN")
    try:
        rows = 0
        for table, files in by_table.items():
            if (record := record_of(table)) is None:
                raise _UnknownTable
            rows += _upsert(con, record, _parquet(files))
        task_state.update(con, [_parquet(by_table[t]) for t in ("tasks", "task_events") if t in by_table])
        con.execute("INSERT INTO loaded_files SELECT unnest(?), now()", [[unit.name for unit in units]])
        con.execute("COMMIT")
    except BaseException:
        with suppress(duckdb.TransactionException):  # a commit that failed has rolled back already
            con.execute("ROLLBACK")
        raise
    return rows


def _upsert(con: duckdb.DuckDBPyConnection, record: type[Record], incoming: str) -> int:
    """Merge rows into the record's table; of one key, the earlier, then the smaller digest stays."""
    table, key = record.table, ", ".join(record.key)
    names = [f'"{column.name}"' for column in columns(record)]
    others = [name for name in names if name.strip('"') not in record.key]
    rows, keys, known = _count(con, record, incoming)
    one_each = merge = ""
    if keys < rows:
        one_each = (
            f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY recorded_at, {_digest(record, '')}) = 1"
        )
    if known:  # asked for only where it is needed: it costs as much again as the insert
        merge = (
            f"ON CONFLICT ({key}) DO UPDATE SET "
            + ", ".join(f"{name} = excluded.{name}" for name in others)
            + f" WHERE excluded.recorded_at < {table}.recorded_at"
            + f" OR (excluded.recorded_at = {table}.recorded_at"
            + f" AND {_digest(record, 'excluded.')} < {_digest(record, table + '.')})"
        )
    con.execute(f"INSERT INTO {table} BY NAME SELECT {', '.join(names)} FROM {incoming} {one_each} {merge}")
    return rows


def _count(con: duckdb.DuckDBPyConnection, record: type[Record], incoming: str) -> tuple[int, int, int]:
    """Incoming rows, their distinct keys, and how many of those the table holds already."""
    key = ", ".join(record.key)
    counts = con.execute(
        f"WITH keys AS (SELECT {key}, count(*) AS n FROM {incoming} GROUP BY {key}) "
        "SELECT coalesce(sum(n), 0)::BIGINT, count(*), "
        f"(SELECT count(*) FROM keys SEMI JOIN {record.table} USING ({key})) FROM keys"
    ).fetchone()
    assert counts is not None
    return counts


def _digest(record: type[Record], of: str) -> str:
    """SQL for a row's digest. It is of text, because a JSON column arrives as plain text."""
    texts = (
        f'to_json({of}"{c.name}")::VARCHAR' if c.sql.endswith("[]") else f'{of}"{c.name}"::VARCHAR'
        for c in columns(record)
    )
    return f"md5(to_json([{', '.join(texts)}])::VARCHAR)"


def _parquet(files: list[Path]) -> str:
    """SQL for the rows of `files`. DuckDB reads paths as patterns, so their special characters are quoted."""
    paths = ", ".join(literal(_no_pattern(file)) for file in files)
    return f"read_parquet([{paths}])"


def _no_pattern(path: Path) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in str(path))


def _archive(unit: Path, settings: Settings) -> None:
    """Move a loaded unit away. One of that name that is there already is the same unit, moved before."""
    target = settings.archive / unit.name[:8] / unit.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(unit)
    else:
        unit.rename(target)


def _set_aside(unit: Path, problem: str, settings: Settings) -> str:
    """Quarantine a unit with its reason beside it; returns the sentence for the user."""
    target = settings.quarantine / unit.name
    target.parent.mkdir(parents=True, exist_ok=True)
    sentence = f"Outbox unit {unit.name} was set aside under {settings.quarantine}: {problem}."
    unit.rename(target)
    target.with_name(f"{unit.name}.txt").write_text(sentence + "\n", encoding="utf-8")
    return sentence
