"""The tables that migrations make are those that the records state."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from made_records import task

from warehouse.database import open_writer
from warehouse.errors import FactoryError
from warehouse.loader import load
from warehouse.migrate import migrate, migrations, views
from warehouse.outbox import Outbox
from warehouse.query import Reader
from warehouse.records import RECORDS, Record
from warehouse.schema import arrow_schema, columns
from warehouse.settings import Settings


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    con = open_writer(tmp_path_factory.mktemp("schema") / "w.duckdb", memory="500MB", wait_seconds=0)
    migrate(con)
    return con


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.table)
def test_table_agrees_with_its_record(migrated: duckdb.DuckDBPyConnection, record: type[Record]) -> None:
    made = migrated.execute(
        "SELECT column_name, data_type, is_nullable FROM duckdb_columns() "
        "WHERE table_name = ? ORDER BY column_index",
        [record.table],
    ).fetchall()
    assert made == [(column.name, column.sql, column.nullable) for column in columns(record)]
    keys = migrated.execute(
        "SELECT constraint_column_names FROM duckdb_constraints() "
        "WHERE table_name = ? AND constraint_type = 'PRIMARY KEY'",
        [record.table],
    ).fetchall()
    assert keys == [(list(record.key),)]
    assert arrow_schema(record).names == list(record.model_fields)


def test_file_opens_with_every_duckdb_from_1_5_on(migrated: duckdb.DuckDBPyConnection) -> None:
    (tags,) = migrated.execute(
        "SELECT tags FROM duckdb_databases() WHERE database_name = 'warehouse'"
    ).fetchall()[0]
    assert tags["storage_version"].startswith("v1.5.0")


def test_migrating_again_changes_nothing(migrated: duckdb.DuckDBPyConnection) -> None:
    before = migrated.execute("SELECT * FROM schema_version ORDER BY version").fetchall()
    migrate(migrated)
    assert migrated.execute("SELECT * FROM schema_version ORDER BY version").fetchall() == before
    assert [row[0] for row in before] == [views().version, *(migration.version for migration in migrations())]


def test_changed_views_are_run_again(tmp_path: Path) -> None:
    con = open_writer(tmp_path / "w.duckdb", memory="500MB", wait_seconds=0)
    migrate(con)
    con.execute("DROP VIEW funnel")
    con.execute("UPDATE schema_version SET sha256 = 'of another text' WHERE version = 0")
    migrate(con)
    assert con.execute("SELECT count(*) FROM funnel").fetchall() == [(0,)]


def test_warehouse_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    con = open_writer(tmp_path / "w.duckdb", memory="500MB", wait_seconds=0)
    migrate(con)
    con.execute("INSERT INTO schema_version VALUES (999, 'future', '', now())")
    with pytest.raises(FactoryError, match="schema version 999"):
        migrate(con)


HOSTILE = "nul \0, escape \x1b[31m, emoji 😀, not UTF-8 \udcff, quote ', line\r\n"


def test_hostile_text_survives(settings: Settings) -> None:
    with Outbox(settings) as outbox:
        outbox.append(
            [task(instruction=HOSTILE, fail_to_pass=(HOSTILE, "[a, b]", "a', 'b"), verifier='{"x":"\udcff"}')]
        )
    load(settings)
    with Reader(settings) as reader:
        rows = reader.sql("SELECT instruction, fail_to_pass, verifier->>'$.x' FROM tasks").rows
    readable = HOSTILE.replace("\udcff", "\\udcff")
    assert rows == [(readable, [readable, "[a, b]", "a', 'b"], "\\udcff")]


def test_big_text_is_stored_with_zstd(settings: Settings) -> None:
    with Outbox(settings) as outbox:
        outbox.append([task(f"t{n}", instruction=f"{n} words " * 500) for n in range(300)])
    load(settings)
    with Reader(settings) as reader:
        kinds = reader.sql(
            "SELECT DISTINCT compression FROM pragma_storage_info('tasks') "
            "WHERE column_name = 'instruction' AND segment_type = 'VARCHAR'"
        ).rows
    assert kinds == [("ZSTD",)]
