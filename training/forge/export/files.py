"""A pool's trajectories as files of another trainer: one for each training step, in its order.

`slime` gets `N.pt`, which it reads with `--load-debug-rollout-data OUT/{rollout_id}.pt`. The others get
`step-N.parquet`: a row is the keyword arguments of their type, and for SkyRL the columns are its dictionary.
A pool without batches (a gateway's own) is one file of all that has ended and is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.forge.export.branches import branches
from training.forge.export.peers import RECORDS, Record
from training.forge.pool.pool import Pool
from warehouse.errors import FactoryError, storage_error
from warehouse.export.publication import refuse_existing
from warehouse.files import renamed_folder


@dataclass(frozen=True)
class Exported:
    """What was written."""

    steps: int
    trajectories: int
    samples: int
    left_out: int


def export_trajectories(pool: Pool, layout: str, out: Path) -> Exported:
    """Writes the folder `out`, whole or not at all. Raises FactoryError."""
    refuse_existing(out)
    record, steps, names, samples, left_out = RECORDS[layout], 0, 0, 0, 0
    try:
        with renamed_folder(out) as folder:
            for step, trajectories in _steps(pool):
                found = branches([pool.trajectory(name) for name in trajectories])
                names, left_out = names + len(trajectories), left_out + found.left_out
                if not found.branches:
                    continue
                rows = [record(branch, samples + place) for place, branch in enumerate(found.branches)]
                _write(folder, layout, step, rows)
                steps, samples = steps + 1, samples + len(rows)
            if not samples:
                raise FactoryError(
                    f"The {pool.name} has no trajectory that has ended and is judged: wait for one."
                )
    except OSError as error:
        raise storage_error(error, out) from error
    return Exported(steps, names - left_out, samples, left_out)


def _steps(pool: Pool) -> Iterator[tuple[int, list[str]]]:
    step = 0
    while (batch := pool.batch(step)) is not None:
        yield step, [name for group in batch.trajectories for name in group]
        step += 1
    if step == 0:
        yield 0, pool.ended()


def _write(folder: Path, layout: str, step: int, rows: Sequence[Record]) -> None:
    if layout == "slime":
        import torch

        torch.save({"rollout_id": step, "samples": [dict(row) for row in rows]}, folder / f"{step}.pt")
        return
    columns = {name: pa.array([row[name] for row in rows], type=_type(rows, name)) for name in rows[0]}
    pq.write_table(pa.table(columns), folder / f"step-{step:06}.parquet", compression="zstd")


def _type(rows: Sequence[Record], name: str) -> pa.DataType | None:
    """Arrays keep their type; None leaves it to be inferred."""
    first = rows[0][name]
    return pa.list_(pa.from_numpy_dtype(first.dtype)) if isinstance(first, np.ndarray) else None
