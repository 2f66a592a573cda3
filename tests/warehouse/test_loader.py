"""Every unit exactly once, in whatever order, whatever breaks."""

from __future__ import annotations

import fcntl
import random
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as property_settings
from hypothesis import strategies as st
from made_records import DAY, event, status, task

from warehouse import task_state
from warehouse.database import open_snapshot, open_writer
from warehouse.errors import FactoryError
from warehouse.loader import archived, load
from warehouse.migrate import migrate
from warehouse.outbox import Outbox
from warehouse.query import Reader
from warehouse.records import RECORDS, Record
from warehouse.settings import Settings


def flush(settings: Settings, *records: Record) -> Path:
    outbox = Outbox(settings)
    outbox.append(records)
    unit = outbox.flush()
    assert unit is not None
    return unit


def contents(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables and of the derived state, in a fixed order."""
    with Reader(settings) as reader:
        tables = [*(record.table for record in RECORDS), "task_state"]
        return {table: reader.sql(f"FROM {table} ORDER BY ALL").rows for table in tables}


def test_first_load_makes_an_empty_warehouse(settings: Settings) -> None:
    report = load(settings)
    assert (report.units, report.rows, report.refreshed) == (0, 0, True)
    with Reader(settings) as reader:
        assert reader.sql("SELECT count(*) FROM task_overview").rows == [(0,)]


def test_units_load_once_and_are_archived(settings: Settings) -> None:
    unit = flush(settings, task("t1"), status("t1", "validated"))
    flush(settings, task("t2"))
    report = load(settings)
    assert (report.units, report.rows, report.problems) == (2, 3, [])
    assert list(settings.outbox.iterdir()) == []
    assert archived(settings)[0].name == unit.name
    before = contents(settings)
    again = load(settings)
    assert (again.units, again.rows, again.refreshed) == (0, 0, False)
    assert contents(settings) == before


def test_unit_that_was_committed_but_not_moved_is_only_moved(settings: Settings) -> None:
    flush(settings, task("t1"))
    load(settings)
    before = contents(settings)
    (unit,) = archived(settings)
    shutil.copytree(unit, settings.outbox / unit.name)  # as a loader killed before its move leaves it
    assert load(settings).units == 0
    assert list(settings.outbox.iterdir()) == []
    assert archived(settings) == [unit]
    assert contents(settings) == before


def test_what_a_killed_writer_left_is_not_read(settings: Settings) -> None:
    unit = flush(settings, task("t1"))
    unit.rename(settings.outbox / ".tmp-of-a-killed-writer")
    assert load(settings).units == 0
    assert (settings.outbox / ".tmp-of-a-killed-writer").exists()


def test_earlier_row_of_one_key_wins(settings: Settings) -> None:
    flush(
        settings,
        task(license="MIT", recorded_at=DAY),
        task(license="ISC", recorded_at=DAY - timedelta(hours=1)),
    )
    load(settings)
    flush(settings, task(license="0BSD", recorded_at=DAY + timedelta(hours=1)))
    load(settings)
    with Reader(settings) as reader:
        assert reader.sql("SELECT license FROM tasks").rows == [("ISC",)]
        assert reader.sql("SELECT license FROM task_overview").rows == [("ISC",)]


RECORD = st.one_of(
    st.builds(
        task,
        st.sampled_from(["t1", "t2", "t3"]),
        license=st.sampled_from(["MIT", "ISC"]),
        verifier=st.sampled_from(['{"a":1}', '{"a": 2}']),
        fail_to_pass=st.sampled_from([("a, b",), ("a", "b"), ()]),
        recorded_at=st.sampled_from([DAY, DAY + timedelta(seconds=1)]),
    ),
    st.builds(
        status,
        st.sampled_from(["t1", "t2", "t3"]),
        st.sampled_from(["built", "validated", "rejected"]),
        event=st.sampled_from(["status", "split"]),
        reason=st.sampled_from(["", "x"]),
        recorded_at=st.sampled_from([DAY, DAY + timedelta(seconds=1)]),
    ),
    st.builds(event, st.just("build"), st.sampled_from(["t1", "t2"]), seconds=st.sampled_from([1.0, 2.0])),
)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated warehouse to start each example from."""
    path = tmp_path_factory.mktemp("empty") / "warehouse.duckdb"
    con = open_writer(path, memory="500MB", wait_seconds=0)
    migrate(con)
    con.close()
    return path


@property_settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(
    units=st.lists(st.lists(RECORD, min_size=1, max_size=4), min_size=1, max_size=6),
    seed=st.integers(0, 9999),
)
def test_any_order_any_repeats_any_portions_give_one_warehouse(
    empty: Path, tmp_path_factory: pytest.TempPathFactory, units: list[list[Record]], seed: int
) -> None:
    draw = random.Random(seed)
    base = tmp_path_factory.mktemp("order")
    one, other = Settings(home=base / "one"), Settings(home=base / "other")
    for home in (one, other):
        home.home.mkdir()
        shutil.copy(empty, home.warehouse)
    for records in units:
        flush(one, *records)
    written = sorted(one.outbox.iterdir())
    shutil.copytree(one.outbox, base / "written")
    load(one)

    queue = [unit.name for unit in written] + [unit.name for unit in written if draw.random() < 0.3]
    draw.shuffle(queue)
    while queue:
        size = draw.randint(1, len(queue))
        portion, queue = queue[:size], queue[size:]
        for name in portion:
            # A new name, now and then: the same records written again by a run that was resumed.
            target = f"{name}-again" if draw.random() < 0.2 else name
            shutil.copytree(base / "written" / name, other.outbox / target, dirs_exist_ok=True)
        load(other, refresh="never")
    for name in written:
        shutil.copytree(base / "written" / name.name, other.outbox / name.name)
    load(other)
    assert contents(one) == contents(other)
    keys = {
        (record.table, *(getattr(record, k) for k in record.key)) for records in units for record in records
    }
    assert sum(len(rows) for table, rows in contents(one).items() if table != "task_state") == len(keys)
    con = open_snapshot(one.snapshot)
    derived = con.execute(f"SELECT * FROM ({task_state.derivation()}) ORDER BY ALL").fetchall()
    con.close()
    assert derived == contents(one)["task_state"]
    shutil.rmtree(base)


def test_overview_follows_the_latest_event(settings: Settings) -> None:
    flush(settings, status("t1", "validated", recorded_at=DAY + timedelta(hours=2), run_id="r2"))
    load(settings)  # the event may come before its task
    with Reader(settings) as reader:
        assert reader.sql("SELECT * FROM task_overview").rows == []
    flush(
        settings,
        task("t1", quarantined=("flaky tests::x",)),
        status("t1", "rejected", reason="control_failed", recorded_at=DAY + timedelta(hours=1)),
        status("t1", "hard", event="difficulty"),
        status("t1", "test", event="split"),
        task("t2"),
    )
    load(settings)
    with Reader(settings) as reader:
        columns = "task_id, status, reason, difficulty, split, fail_to_pass, quarantined"
        assert reader.sql(f"SELECT {columns} FROM task_overview ORDER BY task_id").rows == [
            ("t1", "validated", "", "hard", "test", 1, 1),
            ("t2", "built", "", None, None, 1, 0),
        ]


def break_truncated(unit: Path) -> None:
    file = unit / "tasks.parquet"
    file.write_bytes(file.read_bytes()[:-20])


def break_garbage(unit: Path) -> None:
    (unit / "tasks.parquet").write_bytes(b"PAR1 this is not what it says PAR1")


def break_flipped(unit: Path) -> None:
    file = unit / "tasks.parquet"
    data = bytearray(file.read_bytes())
    data[4:200] = bytes(196)
    file.write_bytes(bytes(data))


def break_unknown_table(unit: Path) -> None:
    (unit / "tasks.parquet").rename(unit / "spells.parquet")


def break_missing_column(unit: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(unit / "tasks.parquet").drop_columns(["repo"]), unit / "tasks.parquet")


def break_not_a_folder(unit: Path) -> None:
    shutil.rmtree(unit)
    unit.write_text("a stray file")


@pytest.mark.parametrize(
    "damage",
    [
        break_truncated,
        break_garbage,
        break_flipped,
        break_unknown_table,
        break_missing_column,
        break_not_a_folder,
    ],
)
def test_broken_unit_is_set_aside_and_the_rest_loads(
    settings: Settings, damage: Callable[[Path], None]
) -> None:
    flush(settings, task("t1"))
    broken = flush(settings, task("t2"), event("validate", "t2"))
    flush(settings, task("t3"))
    damage(broken)
    report = load(settings)
    assert report.units == 2
    (sentence,) = report.problems
    assert sentence.startswith(f"Outbox unit {broken.name} was set aside under {settings.quarantine}: ")
    assert (settings.quarantine / broken.name).exists()
    assert (settings.quarantine / f"{broken.name}.txt").read_text().strip() == sentence
    with Reader(settings) as reader:
        assert reader.sql("SELECT task_id FROM tasks ORDER BY 1").rows == [("t1",), ("t3",)]
        assert reader.sql("SELECT item FROM events").rows == []  # nothing of the broken unit
    assert load(settings).problems == []


def test_paths_with_pattern_characters_and_quotes(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "it's [a] *home")
    flush(settings, task("t1"))
    assert load(settings).rows == 1


def test_home_that_duckdb_cannot_name(tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match="question mark"):
        load(Settings(home=tmp_path / "home?"))


def test_second_loader_waits_and_says_so(settings: Settings) -> None:
    load(settings)
    with (settings.home / "loader.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(FactoryError, match="Another loader has been at work"):
            load(settings, wait_seconds=0.1)
    assert load(settings, wait_seconds=0.1).units == 0


def test_stale_snapshot_is_noticed(settings: Settings) -> None:
    flush(settings, task("t1"))
    load(settings)
    flush(settings, task("t2"))
    load(settings, refresh="never")  # as if killed before the refresh
    with Reader(settings) as reader:
        assert reader.sql("SELECT count(*) FROM tasks").rows == [(1,)]
        assert load(settings).refreshed
        assert reader.sql("SELECT count(*) FROM tasks").rows == [(1,)]  # a reader keeps what it opened
    with Reader(settings) as reader:
        assert reader.sql("SELECT count(*) FROM tasks").rows == [(2,)]


def test_damaged_warehouse_is_one_sentence(settings: Settings) -> None:
    load(settings)
    settings.warehouse.write_bytes(b"this is no database, not any more" * 1000)
    with pytest.raises(FactoryError, match=r"DuckDB cannot open .*warehouse\.duckdb"):
        load(settings)


FULL_DISK = """
import sys, pathlib, random, shutil
sys.path.insert(0, {tests!r})
from made_records import task
from warehouse.errors import FactoryError
from warehouse.loader import archived, load
from warehouse.outbox import Outbox
from warehouse.query import Reader
from warehouse.settings import Settings
settings = Settings(home=pathlib.Path(sys.argv[1]) / "home")
load(settings)
noise = random.Random(0)
with Outbox(settings) as outbox:
    outbox.append(task(f"t{{n}}", gold_patch=noise.randbytes(100_000).hex()) for n in range(40))
ballast = pathlib.Path(sys.argv[1]) / "ballast"
ballast.write_bytes(bytes(shutil.disk_usage(sys.argv[1]).free - 2_000_000))
try:
    load(settings)
except FactoryError as error:
    print(error)
print(len(list(settings.outbox.iterdir())), [p for p in settings.home.iterdir() if p.name.startswith(".tmp")])
ballast.unlink()
(settings.home / "browse.duckdb").unlink()
print(load(settings).rows)
"""


def test_full_disk_is_one_sentence_and_loses_nothing(
    on_small_disk: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = on_small_disk(FULL_DISK.format(tests=str(Path(__file__).parent)), megabytes=24)
    assert done.returncode == 0, done.stderr
    sentence, left, loaded = done.stdout.splitlines()
    assert "No space left" in sentence or "is full" in sentence
    assert left == "1 []"
    assert loaded == "40"
