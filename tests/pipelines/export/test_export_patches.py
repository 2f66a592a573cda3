"""Layouts that are text: the patch is the bundle's, and what is no text is left out and counted."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from made_tasks import certificate_of, records_of, rendered, task_of
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.export import EXPORTERS
from warehouse.errors import FactoryError
from warehouse.loader import load
from warehouse.outbox import Outbox
from warehouse.records import TaskEvent
from warehouse.settings import Settings

LATIN = b"--- a/m.py\n+++ b/m.py\n@@ -1 +1 @@\n-# caf\xe9\n+# th\xe9\n"
TEXT_LAYOUTS = ("sft", "swebench", "swebench-tasks")
GOLD, TEST = (f"{side} patch is not UTF-8, and this layout is text" for side in ("gold", "test"))


def stored(settings: Settings, folder: Path, patches: dict[int, tuple[bytes, str]]) -> Settings:
    """The tasks of `patches` (number → gold patch, recorded test patch) with their bundles."""
    with Outbox(settings) as outbox:
        for n, (gold, test) in patches.items():
            # as validation records a patch
            fields = {"gold_patch": gold.decode("utf-8", "replace"), "test_patch": test}
            task = task_of(n).model_copy(update=fields)
            digest = rendered(settings, task, n, gold, folder)
            made = task.model_copy(update={"bundle": digest})
            outbox.append([*records_of(made, n), certificate_of(settings, made)])
    load(settings)
    return settings


@pytest.fixture
def mixed(tmp_path: Path) -> Settings:
    """Task 2 has a Latin-1 gold patch, 3 U+FFFD in its test patch, 4 upstream's U+FFFD in its gold patch."""
    good = task_of(1).gold_patch.encode()
    plain = task_of(1).test_patch
    upstream = good.replace("é".encode(), "\ufffd".encode())
    patches = {1: (good, plain), 2: (LATIN, plain), 3: (good, f"{plain}+\ufffd\n"), 4: (upstream, plain)}
    return stored(Settings(home=tmp_path / "home"), tmp_path, patches)


@pytest.mark.parametrize("layout", TEXT_LAYOUTS)
def test_what_is_no_text_is_left_out_and_counted(mixed: Settings, tmp_path: Path, layout: str) -> None:
    out = tmp_path / "out"
    report = EXPORTERS[layout](mixed, "true", out)
    wanted = {GOLD: 1} if layout == "sft" else {GOLD: 1, TEST: 1}
    assert report.skipped == wanted
    assert report.rows == 4 - sum(wanted.values())
    manifest = json.loads((out / "manifest.json").read_text())
    assert {"reason": GOLD, "tasks": [f"{2:020x}"]} in manifest["skipped"]
    assert f"| {GOLD} | 1 |" in (out / "README.md").read_text()
    # the work of the task that was left out is not among the works
    assert "1.2" not in (out / "NOTICE.md").read_text()


def test_harbor_keeps_every_byte(mixed: Settings, tmp_path: Path) -> None:
    assert EXPORTERS["harbor"](mixed, "true", tmp_path / "out").skipped == {}
    assert (tmp_path / "out" / f"{2:020x}" / "solution" / "gold.patch").read_bytes() == LATIN


def test_what_upstream_wrote_as_ufffd_is_kept(mixed: Settings, tmp_path: Path) -> None:
    EXPORTERS["swebench"](mixed, "repo = 'gamma'", tmp_path / "out")
    (row,) = pq.read_table(tmp_path / "out" / "data").to_pylist()
    assert row["patch"].encode() == (mixed.bundles / f"{4:020x}" / "solution" / "gold.patch").read_bytes()


@pytest.mark.parametrize("layout", TEXT_LAYOUTS)
def test_nothing_left_is_said(mixed: Settings, tmp_path: Path, layout: str) -> None:
    with pytest.raises(FactoryError, match=r"had to be left out \(gold patch is not UTF-8.*: 1\)"):
        EXPORTERS[layout](mixed, f"task_id = '{2:020x}'", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_record_is_not_asked(mixed: Settings, tmp_path: Path) -> None:
    """A record may say what it likes: the patch that was validated is the bundle's."""
    task = task_of(1)
    digest = (mixed.bundles / task.task_id / "solution" / "gold.patch").read_text()
    EXPORTERS["sft"](mixed, f"task_id = '{task.task_id}'", tmp_path / "out")
    (row,) = pq.read_table(tmp_path / "out" / "data").to_pylist()
    assert digest.removesuffix("\n") in row["messages"][2]["content"]


def test_two_held_out_packages_still_train(settings: Settings, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("warehouse.export.split.held_out", lambda repo, share: True)
    report = EXPORTERS["sft"](settings, "repo IN ('alpha', 'gamma')", tmp_path / "out")
    assert report.splits == {"train": 3}
    assert report.split_note.startswith("All 2 repositories")
    assert [path.name for path in report.files] == ["train-00000-of-00001.parquet"]


def test_the_command_line_tells_splits_and_what_was_left_out(
    mixed: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = TaskEvent(task_id=f"{4:020x}", event="split", value="validation", run_id="run")
    with Outbox(mixed) as outbox:
        outbox.append([held])
    load(mixed)
    monkeypatch.setenv("VERIFACTORY_HOME", str(mixed.home))
    done = CliRunner().invoke(app, ["export", "swebench", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "2 tasks in 4 files under" in done.output
    assert "train 1, validation 1" in done.output
    assert f"1 tasks left out: {GOLD}" in done.output
    assert f"1 tasks left out: {TEST}" in done.output
    told = CliRunner().invoke(app, ["export", "--help"]).output
    assert "of any status" in " ".join(told.split())
