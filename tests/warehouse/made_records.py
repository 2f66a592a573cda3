"""Records for tests: whole, small, and varied by what a test names."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from warehouse.records import Candidate, Event, Source, Task, TaskEvent

DAY = datetime(2024, 5, 1, 12, tzinfo=UTC)


def task(task_id: str = "t1", **fields: Any) -> Task:
    values: dict[str, Any] = {
        "task_id": task_id,
        "candidate_id": f"c-{task_id}",
        "environment_id": "e1",
        "family": "swe",
        "kind": "bug_fix",
        "repo": "calc",
        "language": "python",
        "license": "MIT",
        "attribution": "A. Author",
        "source_date": DAY,
        "instruction": "Mend the sum.",
        "verifier": '{"kind":"tests"}',
        "gold_patch": "+ return a + b\n",
        "test_patch": "+ assert add(1, 2) == 3\n",
        "fail_to_pass": ("tests/test_calc.py::test_add",),
        "pass_to_pass": ("tests/test_calc.py::test_sub",),
        "new_tests": (),
        "quarantined": (),
        "statement_check": "rules",
        "bundle": "",
        "run_id": "r1",
        "recorded_at": DAY,
    }
    return Task(**values | fields)


def status(task_id: str, value: str, **fields: Any) -> TaskEvent:
    return TaskEvent(
        **{"task_id": task_id, "event": "status", "value": value, "run_id": "r1", "recorded_at": DAY} | fields
    )


def event(stage: str, item: str, outcome: str = "ok", **fields: Any) -> Event:
    values = {
        "run_id": "r1",
        "flow": "swe",
        "stage": stage,
        "item": item,
        "source": "calc",
        "outcome": outcome,
    }
    return Event(**{**values, "recorded_at": DAY} | fields)


def source(source_id: str = "s1", **fields: Any) -> Source:
    values = {
        "kind": "releases",
        "url": "calc",
        "revision": "1.1",
        "license": "MIT",
        "attribution": "A. Author",
    }
    return Source(**{"source_id": source_id, **values, "recorded_at": DAY} | fields)


def candidate(candidate_id: str, **fields: Any) -> Candidate:
    values = {
        "source_id": "s1", "family": "swe", "repo": "calc", "base_ref": "1.0", "gold_ref": "1.1",
        "title": "fix", "source_date": DAY, "verdict": "accepted", "recorded_at": DAY,
    }  # fmt: skip
    return Candidate(**{"candidate_id": candidate_id, **values} | fields)
