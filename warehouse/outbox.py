"""The outbox: where workers leave records for the loader.

**A flush is the commit.** Everything appended since the last flush becomes one *unit*: a folder
`outbox/<time>-<process>-<random>/` with one Parquet file a table, written under a temporary name, synced and
renamed into place. A folder's rename is atomic, and the loader takes a unit whole or not at all, in one
transaction. So the invariant: *records flushed together become visible together*; an `Event` appended before
the same flush as the facts it stands for never appears without them. A process killed before the rename has
recorded nothing.

Units never change, no two have one name, and any number of processes and threads may write at once: they
share nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

import pyarrow.parquet as pq

from warehouse.errors import storage_error
from warehouse.files import renamed_folder
from warehouse.records import Record
from warehouse.schema import record_of, to_arrow
from warehouse.settings import Settings


class Outbox:
    """Buffers records and flushes them as one unit. Leaving it as a context manager flushes."""

    def __init__(self, where: Settings | Path) -> None:
        self.path = where if isinstance(where, Path) else where.outbox
        self._lock = threading.Lock()
        self._rows: dict[type[Record], list[Record]] = {}

    def append(self, records: Iterable[Record]) -> None:
        """Buffer records. All of one call go into the same unit, whatever other threads flush meanwhile."""
        arrived = list(records)
        for record in arrived:
            if record_of(record.table) is not type(record):
                raise TypeError(f"{type(record).__name__} is not a stored record")
        with self._lock:
            for record in arrived:
                self._rows.setdefault(type(record), []).append(record)

    def __len__(self) -> int:
        """Records not yet flushed."""
        return sum(map(len, self._rows.values()))

    def flush(self) -> Path | None:
        """Write what is buffered as one unit and return its folder; None if there was nothing.

        Raises FactoryError when the disk is full or not writable; then nothing was written and the records
        stay buffered, so that a later flush can write them.
        """
        with self._lock:
            if not self._rows:
                return None
            unit = self.path / _unit_name()
            try:
                with renamed_folder(unit) as folder:
                    for record, rows in self._rows.items():
                        pq.write_table(
                            to_arrow(record, rows), folder / f"{record.table}.parquet", compression="zstd"
                        )
            except OSError as error:
                raise storage_error(error, self.path) from error
            self._rows = {}
            return unit

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()


def _unit_name() -> str:
    """Sorts by time, tells a person who wrote it, and is like no other."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{os.getpid()}-{uuid4().hex[:12]}"
