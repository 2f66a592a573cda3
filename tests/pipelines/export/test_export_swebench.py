"""SWE-bench rows: columns and types as SWE-bench has them, content as the task's record has it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import load_dataset

from pipelines.export import EXPORTERS
from warehouse.errors import FactoryError
from warehouse.export.split import held_out
from warehouse.loader import load
from warehouse.outbox import Outbox
from warehouse.query import Reader
from warehouse.records import Task, TaskEvent
from warehouse.settings import Settings

# princeton-nlp/SWE-bench_Verified's row, in its order
COLUMNS = [
    "repo", "instance_id", "base_commit", "patch", "test_patch", "problem_statement", "hints_text",
    "created_at", "version", "FAIL_TO_PASS", "PASS_TO_PASS", "environment_setup_commit",
]  # fmt: skip


def tasks(settings: Settings) -> dict[str, Task]:
    with Reader(settings) as reader:
        result = reader.sql("SELECT * FROM tasks")
    rows = [Task(**dict(zip(result.columns, row, strict=True))) for row in result.rows]
    return {task.task_id: task for task in rows}


def test_round_trip_through_datasets(settings: Settings, tmp_path: Path) -> None:
    report = EXPORTERS["swebench"](settings, "true", tmp_path / "rows")
    loaded = load_dataset(str(tmp_path / "rows"), cache_dir=str(tmp_path / "cache"))
    stored = tasks(settings)
    seen = 0
    for split, part in loaded.items():
        assert part.column_names == COLUMNS
        assert {str(feature.dtype) for feature in part.features.values()} == {"string"}
        for row in part:
            task = stored[row["instance_id"].rpartition("-")[2]]
            assert split == ("validation" if held_out(task.repo) else "train")
            assert row["patch"] == task.gold_patch
            assert row["test_patch"] == task.test_patch
            assert row["problem_statement"] == task.instruction
            assert json.loads(row["FAIL_TO_PASS"]) == [*task.fail_to_pass, *task.new_tests]
            assert json.loads(row["PASS_TO_PASS"]) == list(task.pass_to_pass)
            assert row["created_at"] == "2024-05-06T07:08:09Z"
            seen += 1
    assert seen == report.rows == 4


def test_json_lines_are_the_same_rows(settings: Settings, tmp_path: Path) -> None:
    EXPORTERS["swebench"](settings, "true", tmp_path / "rows")
    loaded = load_dataset(str(tmp_path / "rows"), cache_dir=str(tmp_path / "cache"))
    for split, part in loaded.items():
        lines = (tmp_path / "rows" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in lines] == list(part)


def test_ids_and_bases(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "rows"
    EXPORTERS["swebench"](settings, "true", out)
    rows = [json.loads(line) for file in out.glob("*.jsonl") for line in file.read_text().splitlines()]
    by_repo = {row["repo"]: row for row in rows}
    assert by_repo["owner/beta"]["instance_id"] == f"owner__beta-{3:020x}"
    assert by_repo["gamma"]["instance_id"] == f"gamma__gamma-{4:020x}"
    # a release has a version and no commit, a commit no version
    assert (by_repo["gamma"]["base_commit"], by_repo["gamma"]["version"]) == ("1.3", "1.3")
    assert (by_repo["owner/beta"]["base_commit"], by_repo["owner/beta"]["version"]) == ("c0ffee" * 6, "")


def test_other_families_are_refused(settings: Settings, tmp_path: Path) -> None:
    with Outbox(settings) as outbox:
        task = tasks(settings)[f"{7:020x}"]
        outbox.append([task.model_copy(update={"task_id": "f" * 20, "family": "office"})])
        outbox.append([TaskEvent(task_id="f" * 20, event="status", value="published", run_id="run")])
    load(settings)
    with pytest.raises(FactoryError, match="family 'office'"):
        EXPORTERS["swebench"](settings, "true", tmp_path / "rows")
    assert EXPORTERS["swebench"](settings, "family = 'swe'", tmp_path / "rows").rows == 4


def test_what_more_than_tests_decides_is_left_out(settings: Settings, tmp_path: Path) -> None:
    """A row of such a task would pay for doing nothing."""
    with Outbox(settings) as outbox:
        task = tasks(settings)[f"{7:020x}"]
        measured = {"task_id": "f" * 20, "kind": "performance", "fail_to_pass": (), "new_tests": ()}
        outbox.append([task.model_copy(update=measured)])
        outbox.append([TaskEvent(task_id="f" * 20, event="status", value="published", run_id="run")])
    load(settings)
    assert EXPORTERS["swebench"](settings, "true", tmp_path / "rows").rows == 4
