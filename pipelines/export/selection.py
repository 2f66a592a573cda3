"""Which tasks a layout made from bundles holds.

Such a layout hands tasks to somebody else, so it holds only published ones: the user's predicate over
`task_overview` chooses among them, and cannot let in a task that has no certificate, or that was retired.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import duckdb

from warehouse.errors import FactoryError
from warehouse.export.choice import Contents, choose
from warehouse.records import Candidate, Record, Source, Task
from warehouse.settings import Settings

PUBLISHED = ("published",)

R = TypeVar("R", bound=Record)


class LeftOut(Exception):
    """A task cannot be told in a layout; the message is the reason, the same for all such tasks."""


@dataclass(frozen=True)
class Selected:
    """A task, where it came from, and its split."""

    task: Task
    candidate: Candidate
    source: Source
    split: str


@dataclass(frozen=True)
class Selection:
    """The tasks, by id; never none."""

    contents: Contents
    tasks: tuple[Selected, ...]


def select(
    settings: Settings, where: str, *, prepare: Callable[[Task], Task] = lambda task: task
) -> Selection:
    """The published tasks for which `where` holds, each as `prepare` returns it or left out if it raises
    LeftOut.

    Raises FactoryError if `where` is no predicate or no task is left.
    """
    with choose(settings, where, statuses=PUBLISHED) as choice:
        tasks = []
        for task in _read(choice.con, Task, choice.ids()):
            try:
                tasks.append(prepare(task))
            except LeftOut as reason:
                choice.leave_out(str(reason), [task.task_id])
        contents = choice.settle()
        splits = dict(choice.con.execute("SELECT task_id, split FROM chosen").fetchall())
        candidates = {
            c.candidate_id: c for c in _read(choice.con, Candidate, [t.candidate_id for t in tasks])
        }
        sources = {
            s.source_id: s for s in _read(choice.con, Source, [c.source_id for c in candidates.values()])
        }
    selected = (Selected(task, *_origin(task, candidates, sources), splits[task.task_id]) for task in tasks)
    return Selection(contents, tuple(selected))


def _read(con: duckdb.DuckDBPyConnection, record: type[R], keys: list[str]) -> list[R]:
    """Records of one table by the values of their one-column key, in its order."""
    (key,) = record.key
    columns = ", ".join(f'"{name}"' for name in record.model_fields)
    query = f"SELECT {columns} FROM {record.table} WHERE {key} IN (SELECT unnest($keys)) ORDER BY {key}"
    rows = con.execute(query, {"keys": keys}).fetchall()
    return [record(**dict(zip(record.model_fields, row, strict=True))) for row in rows]


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
