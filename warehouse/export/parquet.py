"""`export_parquet`: tasks as the warehouse knows them, one row each, as Parquet that trainers and `datasets`
read.

    OUT/ data/train-00000-of-00002.parquet …  data/validation-00000-of-00001.parquet
         README.md      dataset card; its header tells `datasets` the splits
         NOTICE.md      works, licences and authors;  LICENSES/<repository>/ their texts, where bundles have
         them manifest.json  query, snapshot, schema, and rows, bytes and sha256 of every data file

The folder appears whole or not at all. The same snapshot, predicate and share give the same bytes. The user's
predicate runs only in a locked reader and yields task ids; what writes files never sees it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa

from warehouse.database import first_line, literal, open_snapshot
from warehouse.errors import FactoryError, storage_error
from warehouse.export import card
from warehouse.export.split import HELD_OUT_SHARE, held_out
from warehouse.files import TEMPORARY, renamed_folder
from warehouse.outbox import Outbox
from warehouse.query import Reader
from warehouse.records import Shard, Task
from warehouse.schema import columns
from warehouse.settings import Settings

ROWS_PER_FILE = 20_000
ROWS_PER_GROUP = 5_000
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class ExportReport:
    """How many tasks were exported, how they were split, and the data files that hold them."""

    rows: int
    splits: dict[str, int]
    files: tuple[Path, ...]


def export_parquet(
    settings: Settings,
    where: str,
    out: Path,
    *,
    validation_share: float = HELD_OUT_SHARE,
    rows_per_file: int = ROWS_PER_FILE,
) -> ExportReport:
    """Write the tasks for which `where`, a predicate over `task_overview`, holds to `out`, which must not
    exist.

    Raises FactoryError, and writes nothing, if `where` is no predicate, no task fits, or nothing is left to
    train on.
    """
    if out.exists():
        raise FactoryError(f"{out} is there already; name a folder that does not exist yet.")
    query = f"SELECT task_id FROM task_overview WHERE ({where}\n)"  # the newline ends a comment in `where`
    try:
        with _pinned(settings) as snapshot:
            with Reader(snapshot) as reader:
                ids, snapshot_id = (
                    reader.arrow(f"SELECT DISTINCT task_id FROM ({query}\n)"),
                    reader.snapshot_id(),
                )
            with closing(open_snapshot(snapshot, locked=False)) as con:
                splits = _choose(con, ids, where, validation_share)
                with renamed_folder(out) as folder:
                    parts = _write(con, folder, splits, rows_per_file)
                    shards = [_shard(part, rows, folder, out, query, snapshot_id) for part, rows in parts]
                    card.write(con, folder, splits, shards, settings.bundles)
    except OSError as error:
        raise storage_error(error, out) from error
    except duckdb.Error as error:
        raise FactoryError(
            f"The export to {out} failed: {first_line(error)}; nothing was written."
        ) from error
    with Outbox(settings) as outbox:
        outbox.append(shards)
    return ExportReport(sum(splits.values()), splits, tuple(Path(shard.path) for shard in shards))


@contextmanager
def _pinned(settings: Settings) -> Generator[Path]:
    """The snapshot under a second name, so that a loader that replaces it does not change it under an
    export.
    """
    pin = settings.home / f"{TEMPORARY}{uuid4().hex}.duckdb"
    if settings.snapshot.exists():
        os.link(settings.snapshot, pin)
    try:
        yield pin if pin.exists() else settings.snapshot
    finally:
        pin.unlink(missing_ok=True)


def _choose(con: duckdb.DuckDBPyConnection, ids: pa.Table, where: str, share: float) -> dict[str, int]:
    """Fill the table `chosen` with whole rows in their final order; returns the rows of each split."""
    con.register("ids", ids)
    found = con.execute("SELECT DISTINCT repo FROM ids JOIN task_state USING (task_id)").fetchall()
    if not found:
        raise FactoryError(
            f"No task fits {where!r}, so nothing was exported; `verifactory tasks ls` shows what there is."
        )
    repos = [repo for (repo,) in found]
    names = ["validation" if held_out(repo, share) else "train" for repo in repos]
    con.register("repo_splits", pa.table({"repo": repos, "by_hash": names}))
    fields = ", ".join(_exported(column.name, column.sql) for column in columns(Task))
    con.execute(
        "CREATE TEMP TABLE chosen AS "
        "SELECT *, row_number() OVER (ORDER BY split, task_id) - 1 AS position FROM ("
        f"SELECT {fields}, s.status, s.difficulty, coalesce(s.split, by_hash) AS split "
        "FROM ids JOIN tasks t USING (task_id) JOIN task_state s USING (task_id) "
        "JOIN repo_splits r ON r.repo = t.repo) ORDER BY position"
    )
    splits = dict(con.execute("SELECT split, count(*) FROM chosen GROUP BY split ORDER BY split").fetchall())
    for name in splits:
        if name not in SPLITS:
            raise FactoryError(f"A task's recorded split is {name!r}; an export knows {', '.join(SPLITS)}.")
    if "train" not in splits:
        raise FactoryError(
            f"All {sum(splits.values())} tasks that fit {where!r} come from repositories that are held out; "
            f"choose more tasks, or a validation share below {share:.3g}."
        )
    return splits


def _exported(name: str, sql: str) -> str:
    """A task's column as exported: JSON as the text it is."""
    return f"t.{name}::VARCHAR AS {name}" if sql == "JSON" else f"t.{name}"


def _write(
    con: duckdb.DuckDBPyConnection, folder: Path, splits: dict[str, int], rows_per_file: int
) -> list[tuple[Path, int]]:
    """The data files and their rows. Rows lie in `chosen` split by split, so a file is a range of
    positions.
    """
    (folder / "data").mkdir()
    parts: list[tuple[Path, int]] = []
    first = 0
    for split, rows in splits.items():
        count = -(-rows // rows_per_file)
        for index in range(count):
            path = folder / "data" / f"{split}-{index:05d}-of-{count:05d}.parquet"
            start = first + index * rows_per_file
            end = min(start + rows_per_file, first + rows)
            con.execute(
                "COPY (SELECT * EXCLUDE (position) FROM chosen "
                f"WHERE position >= {start} AND position < {end} ORDER BY position) TO {literal(path)} "
                f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROWS_PER_GROUP})"
            )
            parts.append((path, end - start))
        first += rows
    return parts


def _shard(part: Path, rows: int, folder: Path, out: Path, query: str, snapshot: str) -> Shard:
    with part.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    path = out / part.relative_to(folder)
    return Shard(sha256=sha256, path=str(path), layout="parquet", query=query, snapshot=snapshot, rows=rows)
