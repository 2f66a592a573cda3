"""How an export comes to lie on disk: whole or not at all, with its rights, its card and its manifest.

    OUT/ <data files of the layout>; Parquet lies in data/<split>-<i>-of-<n>.parquet
         README.md      card
         NOTICE.md      works, licences and authors;  LICENSES/<repository>/ their texts
         manifest.json  query, snapshot, splits, what was left out, schema; rows and sha256 of each data file

Each data file is also recorded as a `Shard`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from warehouse.errors import FactoryError, storage_error
from warehouse.export.card import Card, write_card
from warehouse.export.choice import Contents
from warehouse.export.rights import write_rights
from warehouse.files import renamed_folder
from warehouse.outbox import Outbox
from warehouse.records import Shard
from warehouse.settings import Settings

FORMAT = 2
"""Version of manifest.json."""

Written = Mapping[str, int]
"""Data files by path in the export, with the tasks in each."""


@dataclass(frozen=True)
class ExportReport:
    """What was exported: tasks by split, the data files that hold them, and what was left out and why."""

    splits: dict[str, int]
    split_note: str
    skipped: dict[str, int]
    files: tuple[Path, ...]

    @property
    def rows(self) -> int:
        return sum(self.splits.values())


def publish(
    settings: Settings,
    out: Path,
    *,
    layout: str,
    contents: Contents,
    card: Card,
    write: Callable[[Path], Written],
) -> ExportReport:
    """Let `write` fill a folder with data files, complete it, and put it at `out`, which must not exist."""
    refuse_existing(out)
    try:
        with renamed_folder(out) as folder:
            written = write(folder)
            write_rights(folder, contents.works, settings.bundles)
            write_card(folder, card, contents)
            files = [_file(folder, name, rows) for name, rows in sorted(written.items())]
            _manifest(folder, layout, contents, files)
    except OSError as error:
        raise storage_error(error, out) from error
    shards = [
        Shard(
            sha256=file["sha256"],
            path=str(out / file["path"]),
            layout=layout,
            query=contents.query,
            snapshot=contents.snapshot,
            rows=file["rows"],
        )
        for file in files
    ]
    with Outbox(settings) as outbox:
        outbox.append(shards)
    return ExportReport(
        splits=contents.splits,
        split_note=contents.split_note,
        skipped={reason: len(ids) for reason, ids in contents.skipped.items()},
        files=tuple(Path(shard.path) for shard in shards),
    )


def refuse_existing(out: Path) -> None:
    """Raise FactoryError if there is something at `out`."""
    if out.exists():
        raise FactoryError(f"{out} is there already; name a folder that does not exist yet.")


def data_files(split: str, rows: int, rows_per_file: int) -> Iterator[tuple[str, int, int]]:
    """The Parquet files of one split: path in the export, first row, row after the last."""
    count = -(-rows // rows_per_file)
    for index in range(count):
        first = index * rows_per_file
        name = f"data/{split}-{index:05d}-of-{count:05d}.parquet"
        yield name, first, min(first + rows_per_file, rows)


def file_sha256(path: Path) -> str:
    """The digest of a file, in lower-case hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file(folder: Path, name: str, rows: int) -> dict[str, Any]:
    path = folder / name
    return {"path": name, "rows": rows, "bytes": path.stat().st_size, "sha256": file_sha256(path)}


def _manifest(folder: Path, layout: str, contents: Contents, files: list[dict[str, Any]]) -> None:
    """`schema` is the columns of the Parquet files; None for a layout that has none."""
    parquet = [file["path"] for file in files if file["path"].endswith(".parquet")]
    schema = pq.read_schema(folder / parquet[0]) if parquet else None
    content = {
        "format": FORMAT,
        "layout": layout,
        "query": contents.query,
        "snapshot": contents.snapshot,
        "rows": contents.rows,
        "splits": contents.splits,
        "split_note": contents.split_note,
        "skipped": [{"reason": reason, "tasks": list(ids)} for reason, ids in contents.skipped.items()],
        "schema": {name: str(schema.field(name).type) for name in schema.names} if schema else None,
        "files": files,
    }
    (folder / "manifest.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
