"""A reader reads the snapshot and nothing else, and its text is safe to show."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from made_records import task

from warehouse.errors import FactoryError
from warehouse.loader import load
from warehouse.outbox import Outbox
from warehouse.query import Reader, plain, spreadsheet_safe
from warehouse.settings import Settings


@pytest.fixture
def reader(settings: Settings) -> Reader:
    with Outbox(settings) as outbox:
        outbox.append([task("t1"), task("t2", repo="other")])
    load(settings)
    return Reader(settings)


def test_rows_columns_and_parameters(reader: Reader) -> None:
    result = reader.sql("SELECT task_id, repo FROM task_overview WHERE repo = $repo", {"repo": "other"})
    assert (result.columns, result.rows) == (("task_id", "repo"), [("t2", "other")])
    assert reader.sql("SELECT ? + 1 AS n", [2]).rows == [(3,)]
    assert reader.arrow("SELECT task_id FROM tasks ORDER BY 1")["task_id"].to_pylist() == ["t1", "t2"]


@pytest.mark.parametrize(
    "query",
    ["SHOW TABLES", "DESCRIBE tasks", "SUMMARIZE tasks", "EXPLAIN SELECT 1", "FROM tasks", "VALUES (1)"],
)
def test_what_reads_is_run(reader: Reader, query: str) -> None:
    assert reader.sql(query).rows


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE tasks",
        "DELETE FROM tasks",
        "INSERT INTO tasks SELECT * FROM tasks",
        "CREATE TEMP TABLE x AS SELECT 1",
        "SELECT 1; SELECT 2",
        "",
        "SET memory_limit = '1TB'",
        "RESET ALL",
        "LOAD httpfs",
        "INSTALL httpfs",
        "ATTACH '{other}' AS other",
        "COPY tasks TO '{other}'",
        "EXPORT DATABASE '{other}'",
        "EXPLAIN ANALYZE DELETE FROM tasks",
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM read_parquet('https://example.org/x.parquet')",
        "SELECT * FROM settings",
    ],
)
def test_nothing_else_is_reached(reader: Reader, settings: Settings, tmp_path: Path, query: str) -> None:
    secret, other = tmp_path / "secret.csv", tmp_path / "other"
    secret.write_text("a,b\nkey,value\n")
    before = settings.snapshot.read_bytes()
    with pytest.raises(FactoryError) as caught:
        reader.sql(query.format(secret=secret, other=other, folder=tmp_path))
    assert "key" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not other.exists()
    assert settings.snapshot.read_bytes() == before


def test_wrong_sql_is_one_sentence(reader: Reader) -> None:
    with pytest.raises(FactoryError, match=r"^The query cannot be run: .*no_such_column.*\.$"):
        reader.sql("SELECT no_such_column FROM tasks")
    with pytest.raises(FactoryError, match="cannot be run"):
        reader.sql("SELECT $missing")
    with pytest.raises(FactoryError, match="cannot be run"):
        reader.sql("SELECT repo::INTEGER FROM tasks")


def test_large_sorts_may_spill(reader: Reader) -> None:
    rows = reader.sql(
        "SELECT count(*) FROM (SELECT md5(i::VARCHAR) AS m FROM range(300000) r(i) ORDER BY m)"
    ).rows
    assert rows == [(300000,)]


def test_no_warehouse_yet(settings: Settings) -> None:
    with pytest.raises(FactoryError, match=r"There is no warehouse under .* yet"):
        Reader(settings)


def test_snapshot_id_is_of_what_it_holds(settings: Settings) -> None:
    load(settings)
    with Reader(settings) as reader:
        empty = reader.snapshot_id()
    with Outbox(settings) as outbox:
        outbox.append([task()])
    load(settings)
    with Reader(settings) as reader:
        assert reader.snapshot_id() != empty
        assert len(empty) == 64


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0;2;0\x1b\\x", "x"),
        ("\x9b31mred", "red"),
        ("a\rb\r\nc\x08", "ab\nc"),
        ("\x1b", ""),
        ("\x1b(0x", "x"),
        ("safe\u202eevil\u2066", "safeevil"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("nul\x00", "nul"),
        ("ünï😀", "ünï😀"),
    ],
)
def test_plain(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1", "'  =1"),
        ("\t=1", "'\t=1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("\x1b[0m=1", "'=1"),
        ("-1.5", "-1.5"),
        (-1.5, -1.5),
        (None, None),
        (["=1"], "['=1']"),
        ("text", "text"),
    ],
)
def test_spreadsheet_safe(value: object, cell: object) -> None:
    assert spreadsheet_safe(value) == cell
    out = io.StringIO()
    csv.writer(out).writerow([spreadsheet_safe(value)])
