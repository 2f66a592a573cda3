"""Rows as Parquet files, a split at a time, that `datasets` loads by their folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.export.selection import Selected
from warehouse.export.publication import data_files


def by_split(tasks: Sequence[Selected]) -> dict[str, list[Selected]]:
    """Tasks by split; an empty split is absent."""
    splits: dict[str, list[Selected]] = {}
    for selected in tasks:
        splits.setdefault(selected.split, []).append(selected)
    return dict(sorted(splits.items()))


def write_parquet(
    folder: Path,
    tasks: Sequence[Selected],
    row: Callable[[Selected], Mapping[str, Any]],
    schema: pa.Schema,
    rows_per_file: int = 5000,
) -> dict[str, int]:
    """`data/<split>-<i>-of-<n>.parquet` files in zstd, with their rows. One file at a time is in memory."""
    written = {}
    (folder / "data").mkdir()
    for split, members in by_split(tasks).items():
        for name, first, end in data_files(split, len(members), rows_per_file):
            part = members[first:end]
            table = pa.Table.from_pylist([dict(row(member)) for member in part], schema=schema)
            pq.write_table(table, folder / name, compression="zstd")
            written[name] = len(part)
    return written
