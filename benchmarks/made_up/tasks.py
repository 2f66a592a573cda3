"""Made-up tasks for the warehouse benchmarks: about 2 KB of text each, shaped like mined ones.

Text is drawn from a vocabulary, so that it compresses about as code and prose do (3 to 4 times).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from warehouse.records import Task, to_json

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
LICENSES = ("MIT", "Apache-2.0", "BSD-3-Clause", "ISC")
LANGUAGES = ("python", "go", "rust", "javascript")


def made_up_tasks(count: int, *, first: int = 0, seed: int = 0) -> list[Task]:
    """`count` tasks with ids task-<first>…; the same arguments give the same tasks."""
    draw = random.Random(f"{seed}:{first}")
    words = [f"{draw.choice('abcdefgh')}{draw.getrandbits(24):x}" for _ in range(4000)]

    def text(size: int) -> str:
        return " ".join(draw.choices(words, k=size // 8))

    return [_task(number, draw, text) for number in range(first, first + count)]


def _task(number: int, draw: random.Random, text: Callable[[int], str]) -> Task:
    repo = f"repo-{draw.randrange(500)}"
    when = EPOCH + timedelta(minutes=number)
    return Task(
        task_id=f"task-{number:08d}",
        candidate_id=f"candidate-{number}",
        environment_id=f"environment-{number % 1000}",
        family="swe",
        kind=draw.choice(("bug_fix", "feature")),
        repo=repo,
        language=draw.choice(LANGUAGES),
        license=draw.choice(LICENSES),
        attribution=f"authors of {repo}",
        source_date=when,
        instruction=text(600),
        verifier=to_json({"kind": "tests", "runner": "pytest", "limits": {"test": 60, "suite": 600}}),
        gold_patch=text(900),
        test_patch=text(500),
        fail_to_pass=(f"tests/test_{repo}.py::test_{number}",),
        pass_to_pass=(f"tests/test_{repo}.py::test_a", f"tests/test_{repo}.py::test_b"),
        new_tests=(),
        quarantined=(),
        statement_check="rules",
        bundle="",
        run_id="made-up",
        recorded_at=when,
    )
