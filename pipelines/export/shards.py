"""Rows as Parquet files, a split at a time, that `datasets` loads by their folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.export.selection import Selected


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
        count = -(-len(members) // rows_per_file)
        for i in range(count):
            part = members[i * rows_per_file : (i + 1) * rows_per_file]
            table = pa.Table.from_pylist([dict(row(member)) for member in part], schema=schema)
            name = f"data/{split}-{i:05d}-of-{count:05d}.parquet"
            pq.write_table(table, folder / name, compression="zstd")
            written[name] = len(part)
    return written


CARD = """---
license: other
license_name: mixed
license_link: NOTICE.md
configs:
- config_name: default
  data_files:
{data_files}
---

# {title}

{prose}

| split | rows |
|---|---|
{rows}

Licenses of the works the tasks come from: {licenses}. NOTICE.md names each work, LICENSES/ has the texts.
"""


def write_card(folder: Path, title: str, prose: str, tasks: Sequence[Selected]) -> None:
    """README.md; from its header `datasets` and dataset viewers learn the splits."""
    splits = {split: len(members) for split, members in by_split(tasks).items()}
    card = CARD.format(
        title=title,
        prose=prose,
        data_files="\n".join(f"  - split: {split}\n    path: data/{split}-*.parquet" for split in splits),
        rows="\n".join(f"| {split} | {rows} |" for split, rows in splits.items()),
        licenses=", ".join(sorted({selected.task.license for selected in tasks})),
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
