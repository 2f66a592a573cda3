"""The `swebench` layout: verified SWE tasks as SWE-bench rows, in Parquet and in JSON lines.

The twelve columns of SWE-bench, under their names and in their types: the two lists of tests are JSON
*strings*. A test that is new with the change (absent or uncollectable before it) counts as FAIL_TO_PASS,
as it does there. `base_commit` is a commit where the task was mined from a repository's history, and the
release that the change starts from where it was mined from releases, which have no commits.
"""

from __future__ import annotations

import json
from datetime import UTC
from pathlib import Path

import pyarrow as pa

from pipelines.export.patches import with_exact_patches
from pipelines.export.selection import LeftOut, Selected, Selection, select
from pipelines.export.shards import by_split, write_parquet
from warehouse.errors import FactoryError
from warehouse.export.card import Card
from warehouse.export.publication import ExportReport, Written, publish, refuse_existing
from warehouse.records import Task
from warehouse.settings import Settings

CARD = Card("SWE-bench rows", "Verified tasks as SWE-bench rows; the two lists of tests are JSON strings.")

COLUMNS = (
    "repo", "instance_id", "base_commit", "patch", "test_patch", "problem_statement", "hints_text",
    "created_at", "version", "FAIL_TO_PASS", "PASS_TO_PASS", "environment_setup_commit",
)  # fmt: skip

SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])


def instance_id(task: Task) -> str:
    """`owner__repo-<task id>`; a package without an owner stands for both."""
    owner, _, name = task.repo.rpartition("/")
    return f"{(owner or name).replace('/', '__')}__{name}-{task.task_id}"


def row(selected: Selected) -> dict[str, str]:
    """One SWE-bench row."""
    task, base = selected.task, selected.candidate.base_ref
    return {
        "repo": task.repo,
        "instance_id": instance_id(task),
        "base_commit": base,
        "patch": task.gold_patch,
        "test_patch": task.test_patch,
        "problem_statement": task.instruction,
        "hints_text": "",
        "created_at": task.source_date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "version": base if selected.source.kind == "releases" else "",
        "FAIL_TO_PASS": json.dumps([*task.fail_to_pass, *task.new_tests]),
        "PASS_TO_PASS": json.dumps(list(task.pass_to_pass)),
        "environment_setup_commit": base,
    }


def select_swe(settings: Settings, where: str) -> Selection:
    """As `select`; every task among them is of family swe, decided by tests, and has exact patches."""

    def prepare(task: Task) -> Task:
        if task.family != "swe":
            raise FactoryError(
                f"Task {task.task_id} is of family {task.family!r}, and only 'swe' tasks are SWE-bench rows; "
                "add family = 'swe' to --where."
            )
        if not (task.fail_to_pass or task.new_tests):
            raise LeftOut("more than tests decides its reward, which SWE-bench rows cannot say")
        return with_exact_patches(settings, task)

    return select(settings, where, prepare=prepare)


def export_swebench(settings: Settings, where: str, out: Path) -> ExportReport:
    """Write the verified SWE tasks for which `where` holds as rows, in Parquet and in JSON lines."""
    refuse_existing(out)
    selection = select_swe(settings, where)

    def write(folder: Path) -> Written:
        files = write_parquet(folder, selection.tasks, row, SCHEMA)
        for split, members in by_split(selection.tasks).items():
            lines = "".join(json.dumps(row(member), ensure_ascii=False) + "\n" for member in members)
            (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
            files[f"{split}.jsonl"] = len(members)
        return files

    return publish(settings, out, layout="swebench", contents=selection.contents, card=CARD, write=write)
