"""Shards as `verifactory export sft` writes them, small enough to train on in seconds."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

# Before torch is loaded: threads that wait by spinning stand in each other's way on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# What each column of a shard holds; a shard has other columns too.
COLUMNS = {
    "messages": pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
    "task_id": pa.string(),
    "weight": pa.float64(),
}

PATCH = "```diff\n--- a/{name}.py\n+++ b/{name}.py\n@@ -1 +1 @@\n-    return {n}\n+    return {n} + 1\n```\n"


def _row(n: int, patch: str | None = None) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "system", "content": "Answer with a patch."},
            {"role": "user", "content": f"Function number {n} is off by one."},
            {"role": "assistant", "content": patch or PATCH.format(name=f"module_{n}", n=n)},
        ],
        "task_id": f"task{n}",
        "weight": 1.0,
    }


@pytest.fixture
def row() -> Callable[..., dict[str, Any]]:
    """`row(n, patch=…)` is the n-th example, as a row."""
    return _row


@pytest.fixture
def write_shard(tmp_path: Path) -> Callable[[Sequence[dict[str, Any]]], Path]:
    """Writes rows as one shard file and returns it."""

    def write(rows: Sequence[dict[str, Any]], schema: dict[str, pa.DataType] = COLUMNS) -> Path:
        path = tmp_path / "train-00000-of-00001.parquet"
        pq.write_table(pa.Table.from_pylist(list(rows), schema=pa.schema(list(schema.items()))), path)
        return path

    return write


@pytest.fixture
def shard(write_shard: Callable[[Sequence[dict[str, Any]]], Path]) -> Path:
    """Twelve examples of about 200 tokens."""
    return write_shard([_row(n) for n in range(12)])
