"""A flush is one unit, whole or not there."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from made_records import event, status, task

from warehouse.outbox import Outbox
from warehouse.records import Record
from warehouse.settings import Settings


def units(settings: Settings) -> list[Path]:
    return sorted(settings.outbox.glob("[!.]*"))


def test_a_flush_is_one_unit_with_a_file_a_table(settings: Settings) -> None:
    outbox = Outbox(settings)
    outbox.append([task("t1"), status("t1", "validated")])
    outbox.append([event("validate", "t1"), task("t2")])
    assert len(outbox) == 4
    assert not settings.outbox.exists()
    unit = outbox.flush()
    assert units(settings) == [unit]
    assert unit is not None
    assert {file.stem: pq.read_metadata(file).num_rows for file in unit.iterdir()} == {
        "tasks": 2, "task_events": 1, "events": 1,
    }  # fmt: skip
    assert len(outbox) == 0
    assert outbox.flush() is None


def test_only_stored_records_are_taken(settings: Settings) -> None:
    class Other(Record):
        table = "tasks"

    with pytest.raises(TypeError, match="Other"):
        Outbox(settings).append([Other()])


def test_one_append_is_never_split_over_units(settings: Settings) -> None:
    outbox = Outbox(settings)

    def work(writer: int) -> None:
        for number in range(20):
            outbox.append([task(f"{writer}-{number}"), event("validate", f"{writer}-{number}")])
            outbox.flush()

    threads = [threading.Thread(target=work, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen: list[str] = []
    for unit in units(settings):
        tasks = pq.read_table(unit / "tasks.parquet")["task_id"].to_pylist()
        assert sorted(tasks) == sorted(pq.read_table(unit / "events.parquet")["item"].to_pylist())
        seen += tasks
    assert sorted(seen) == sorted(f"{writer}-{number}" for writer in range(4) for number in range(20))


FULL_DISK = """
import sys, pathlib
sys.path.insert(0, {tests!r})
from made_records import task
from warehouse.errors import FactoryError
from warehouse.outbox import Outbox
import random
home = pathlib.Path(sys.argv[1])
noise = random.Random(0)
outbox = Outbox(home / "outbox")
outbox.append([task(f"t{{n}}", gold_patch=noise.randbytes(200_000).hex()) for n in range(20)])
try:
    outbox.flush()
except FactoryError as error:
    print(error)
print(len(outbox), sorted(p.name for p in (home / "outbox").iterdir()))
"""


def test_full_disk_is_one_sentence_and_leaves_nothing(
    on_small_disk: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = on_small_disk(FULL_DISK.format(tests=str(Path(__file__).parent)), megabytes=1)
    assert done.returncode == 0, done.stderr
    sentence, left = done.stdout.splitlines()
    assert "is full; free some space" in sentence
    assert left == "20 []"  # the records are still buffered, and no part of a unit is there
