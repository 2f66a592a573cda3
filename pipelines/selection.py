"""Choosing tasks, by the start of an id or by SQL over `task_overview`; and the evidence behind one."""

from __future__ import annotations

from typing import Any

from warehouse.errors import FactoryError
from warehouse.query import Reader
from warehouse.records import Task
from warehouse.settings import Settings


def recorded_tasks(settings: Settings, condition: str, params: dict[str, Any] | None = None) -> list[Task]:
    """Tasks `t` for which an SQL condition holds, by id."""
    columns = ", ".join(f"t.{name}" for name in Task.model_fields)
    query = f"SELECT {columns} FROM tasks t WHERE {condition} ORDER BY t.task_id"
    result = Reader(settings).sql(query, params)
    return [Task.model_validate(dict(zip(result.columns, row, strict=True))) for row in result.rows]


def find_task(settings: Settings, prefix: str) -> Task:
    """The one task whose id starts with `prefix`."""
    found = recorded_tasks(settings, "starts_with(t.task_id, $prefix)", {"prefix": prefix})
    if not found:
        raise FactoryError(f"No task id starts with {prefix!r}; `verifactory tasks ls` lists them.")
    if len(found) > 1:
        raise FactoryError(f"{len(found)} task ids start with {prefix!r}; give more characters.")
    return found[0]


def select_tasks(settings: Settings, where: str) -> list[Task]:
    """Tasks that match a predicate over `task_overview`; at least one."""
    found = recorded_tasks(settings, f"t.task_id IN (SELECT task_id FROM task_overview WHERE ({where}))")
    if not found:
        raise FactoryError(f"No task matches {where!r}; `verifactory tasks ls` lists them.")
    return found


def evidence(settings: Settings, task_id: str) -> dict[str, list[list[Any]]]:
    """Control runs, certificate and stability of a task, as rows."""
    reader = Reader(settings)
    params = {"task": task_id}
    validations = reader.sql(
        "SELECT control, run, verdict, reward, expected, passed, seconds FROM validations "
        "WHERE task_id = $task AND NOT starts_with(control, 'cheat:') ORDER BY recorded_at, control, run",
        params,
    )
    flakes = reader.sql(
        "SELECT state, runs, wavered, upper FROM flaky WHERE task_id = $task ORDER BY state", params
    )
    certificates = reader.sql(
        "SELECT outcome, reason, cheats, succeeded, inverted, seconds, recorded_at FROM certified "
        "WHERE task_id = $task",
        params,
    )
    found = {"validations": validations, "certificates": certificates, "flakes": flakes}
    return {name: [list(row) for row in result.rows] for name, result in found.items()}
