"""Which tasks an export holds.

A layout that hands tasks to somebody else holds only verified ones: the user's predicate over `task_overview`
chooses among them, and cannot let in a task whose controls have not passed. They are split by repository, as
everywhere (`warehouse.export.split`); a `split` event on a task overrides that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from warehouse.errors import FactoryError
from warehouse.export.split import held_out
from warehouse.query import Reader
from warehouse.records import Candidate, Record, Source, Task
from warehouse.settings import Settings

# From validation on, gold has scored 1 and nop 0 through the task's own bundle.
VERIFIED = ("validated", "certified", "published")

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Selected:
    """A task, where it came from, and its split."""

    task: Task
    candidate: Candidate
    source: Source
    split: str


@dataclass(frozen=True)
class Selection:
    """The tasks, by id, that `query` gives on the snapshot of that id; never none."""

    query: str
    snapshot: str
    tasks: tuple[Selected, ...]


def select(settings: Settings, where: str) -> Selection:
    """The verified tasks for which `where` holds. Raises FactoryError if it is no predicate or none fits."""
    # the newline ends a comment that `where` may end with
    query = f"SELECT * FROM task_overview WHERE ({where}\n)"
    with Reader(settings) as reader:
        # status is looked up by id, in a query of our own: no way of writing `where` lets another task in
        named = [task_id for (task_id,) in reader.sql(f"SELECT task_id FROM ({query}\n)").rows]
        overview = "SELECT task_id, split, status FROM task_overview WHERE task_id IN (SELECT unnest($ids))"
        known = reader.sql(overview, {"ids": named}).rows
        splits = {task_id: split for task_id, split, status in known if status in VERIFIED}
        if not splits:
            raise FactoryError(
                f"No verified task fits {where!r}, so nothing was exported; "
                "`verifactory tasks ls` shows what there is."
            )
        tasks = _read(reader, Task, list(splits))
        candidates = {c.candidate_id: c for c in _read(reader, Candidate, [t.candidate_id for t in tasks])}
        sources = {s.source_id: s for s in _read(reader, Source, [c.source_id for c in candidates.values()])}
        snapshot = reader.snapshot_id()
    selected = []
    for task in tasks:
        candidate, source = _origin(task, candidates, sources)
        split = splits[task.task_id] or ("validation" if held_out(task.repo) else "train")
        selected.append(Selected(task, candidate, source, split))
    return Selection(f"{query} AND status IN {VERIFIED}", snapshot, tuple(selected))


def _read(reader: Reader, record: type[R], keys: list[str]) -> list[R]:
    """Records of one table by the values of their one-column key, in its order."""
    (key,) = record.key
    columns = ", ".join(f'"{name}"' for name in record.model_fields)
    query = f"SELECT {columns} FROM {record.table} WHERE {key} IN (SELECT unnest($keys)) ORDER BY {key}"
    result = reader.sql(query, {"keys": keys})
    return [record(**dict(zip(result.columns, row, strict=True))) for row in result.rows]


def _origin(
    task: Task, candidates: dict[str, Candidate], sources: dict[str, Source]
) -> tuple[Candidate, Source]:
    candidate = candidates.get(task.candidate_id)
    source = sources.get(candidate.source_id) if candidate else None
    if candidate is None or source is None:
        raise FactoryError(
            f"Task {task.task_id} has no recorded source, so its licence cannot be passed on; "
            "run `verifactory load` first, or leave the task out."
        )
    return candidate, source
