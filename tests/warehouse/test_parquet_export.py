"""An export is whole, the same each time, split by repository, and what `datasets` reads."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from made_records import candidate, source, status, task

from warehouse.errors import FactoryError
from warehouse.export.parquet import export_parquet
from warehouse.export.publication import ExportReport
from warehouse.export.split import held_out
from warehouse.loader import load
from warehouse.outbox import Outbox
from warehouse.query import Reader
from warehouse.settings import Settings

VALIDATED = "status = 'validated'"


@pytest.fixture
def full(settings: Settings) -> Settings:
    """120 validated tasks of 30 repositories, one not validated; one licence's authors are hostile."""
    with Outbox(settings) as outbox:
        outbox.append([source()])
        for n in range(120):
            repo = f"repo-{n % 30}"
            authors = "Eve <script> | **x**\n\x1b[31m" if n % 30 == 7 else f"authors of {repo}"
            outbox.append([candidate(f"c{n}", repo=repo, gold_ref=f"1.{n}")])
            one = task(f"t{n:03}", repo=repo, candidate_id=f"c{n}", attribution=authors, license="MIT")
            outbox.append([one, status(one.task_id, "validated")])
        outbox.append([task("t999", repo="repo-1")])
    load(settings)
    return settings


def rows_of(out: Path, split: str) -> list[dict[str, object]]:
    return [row for file in sorted(out.glob(f"data/{split}-*")) for row in pq.read_table(file).to_pylist()]


def test_files_rows_and_manifest(full: Settings, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = export_parquet(full, VALIDATED, out, rows_per_file=50)
    assert report.rows == 120
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["rows"] == 120
    assert VALIDATED in manifest["query"]
    assert manifest["schema"]["fail_to_pass"].startswith("list")
    with Reader(full) as reader:
        assert manifest["snapshot"] == reader.snapshot_id()
    assert [out / file["path"] for file in manifest["files"]] == list(report.files)
    for file in manifest["files"]:
        data = (out / file["path"]).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (file["sha256"], file["bytes"])
        assert pq.read_metadata(out / file["path"]).num_rows == file["rows"]
    count = -(-report.splits["train"] // 50)
    names = sorted(path.name for path in out.glob("data/train-*"))
    assert names == [f"train-{i:05d}-of-{count:05d}.parquet" for i in range(count)]
    assert not [*tmp_path.glob(".tmp*"), *full.home.glob(".tmp*")]


def test_split_is_by_repository(full: Settings, tmp_path: Path) -> None:
    export_parquet(full, VALIDATED, tmp_path / "out", validation_share=0.3)
    for split in ("train", "validation"):
        rows = rows_of(tmp_path / "out", split)
        assert rows
        assert {row["split"] for row in rows} == {split}
        assert {held_out(str(row["repo"]), 0.3) for row in rows} == {split == "validation"}
    ids = [row["task_id"] for split in ("train", "validation") for row in rows_of(tmp_path / "out", split)]
    assert sorted(map(str, ids)) == [f"t{n:03}" for n in range(120)]


def test_recorded_split_comes_first(full: Settings, tmp_path: Path) -> None:
    with Outbox(full) as outbox:
        outbox.append([status("t003", "test", event="split")])
    load(full)
    export_parquet(full, VALIDATED, tmp_path / "out")
    assert [row["task_id"] for row in rows_of(tmp_path / "out", "test")] == ["t003"]


def test_a_selection_that_is_held_out_as_a_whole_is_trained_on(full: Settings, tmp_path: Path) -> None:
    report = export_parquet(full, "repo IN ('repo-7', 'repo-8')", tmp_path / "out", validation_share=1.0)
    assert report.splits == {"train": 8}
    assert "held-out side" in report.split_note
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["split_note"] == report.split_note
    assert report.split_note in (tmp_path / "out" / "README.md").read_text()


def test_a_recorded_split_can_be_exported_alone(full: Settings, tmp_path: Path) -> None:
    with Outbox(full) as outbox:
        outbox.append([status("t003", "test", event="split")])
    load(full)
    assert export_parquet(full, "split = 'test'", tmp_path / "out").splits == {"test": 1}


def test_recorded_splits_have_known_names(full: Settings, tmp_path: Path) -> None:
    with Outbox(full) as outbox:
        outbox.append([status("t003", "dev", event="split")])
    load(full)
    with pytest.raises(FactoryError, match="recorded split is 'dev'"):
        export_parquet(full, VALIDATED, tmp_path / "out")


def test_a_clone_s_path_stays_here(full: Settings, tmp_path: Path) -> None:
    with Outbox(full) as outbox:
        outbox.append([source("local", kind="git", url="/home/somebody/clone")])
        outbox.append([source("far", kind="git", url="https://example.org/clone")])
        for n, origin in enumerate(("local", "far")):
            outbox.append([candidate(f"cc{n}", source_id=origin, repo=f"clone-{n}")])
            outbox.append([task(f"x{n}", repo=f"clone-{n}", candidate_id=f"cc{n}")])
    load(full)
    export_parquet(full, "repo LIKE 'clone-%'", tmp_path / "out")
    notice = (tmp_path / "out" / "NOTICE.md").read_text()
    assert "| clone-0 | MIT | A. Author |  | 1.1 | 1 |" in notice
    assert "https://example.org/clone" in notice
    assert "/home" not in notice


def test_same_snapshot_gives_the_same_bytes(full: Settings, tmp_path: Path) -> None:
    def digests(report: ExportReport) -> list[str]:
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in report.files]

    one = export_parquet(full, VALIDATED, tmp_path / "one", rows_per_file=30)
    other = export_parquet(full, VALIDATED, tmp_path / "other", rows_per_file=30)
    assert digests(one) == digests(other)


def test_shards_are_recorded(full: Settings, tmp_path: Path) -> None:
    report = export_parquet(full, VALIDATED, tmp_path / "out")
    load(full)
    with Reader(full) as reader:
        rows = reader.sql("SELECT path, layout, rows FROM shards ORDER BY path").rows
    assert [Path(path) for path, _, _ in rows] == list(report.files)
    assert {layout for _, layout, _ in rows} == {"parquet"}
    assert sum(count for _, _, count in rows) == 120


def test_rights_come_along_and_mined_text_is_tame(full: Settings, tmp_path: Path) -> None:
    texts = full.bundles / "t000" / "LICENSES"
    texts.mkdir(parents=True)
    (texts / "MIT.txt").write_text("Permission is hereby granted")
    (texts / "link").symlink_to("/etc/passwd")
    out = tmp_path / "out"
    export_parquet(full, VALIDATED, out)
    notice = (out / "NOTICE.md").read_text()
    assert "| repo-3 | MIT | authors of repo-3 | calc | 1.3, 1.33, 1.63, 1.93 | 4 |" in notice
    assert "| repo-7 | MIT | Eve &lt;script&gt; \\| \\*\\*x\\*\\* |" in notice
    assert "\x1b" not in notice
    assert [path.name for path in (out / "LICENSES" / "repo-0").iterdir()] == ["MIT.txt"]
    assert "license: mit\n" in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("no_such_column = 1", "no_such_column"),
        ("status = 'gone'", "No task fits"),
        ("true) UNION ALL (SELECT content FROM read_text('/etc/passwd')", "cannot be run"),
        ("true); DROP TABLE tasks; --", "cannot be run|Only one SELECT"),
        ("", "cannot be run"),
    ],
)
def test_bad_predicates_write_nothing(full: Settings, tmp_path: Path, where: str, says: str) -> None:
    with pytest.raises(FactoryError, match=says):
        export_parquet(full, where, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not [*tmp_path.glob(".tmp*"), *full.home.glob(".tmp*")]
    assert list(full.outbox.iterdir()) == []


def test_existing_folder_is_left_alone(full: Settings, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(FactoryError, match="is there already"):
        export_parquet(full, VALIDATED, tmp_path / "out")


LOAD = """
import sys, json, datasets
loaded = datasets.load_dataset(sys.argv[1])
row = loaded["train"][0]
splits = {name: len(rows) for name, rows in loaded.items()}
print(json.dumps({"splits": splits, "f2p": row["fail_to_pass"], "when": str(row["source_date"])}))
"""


def test_datasets_reads_it_offline(full: Settings, tmp_path: Path) -> None:
    report = export_parquet(full, VALIDATED, tmp_path / "out", validation_share=0.3, rows_per_file=50)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "out")],
        capture_output=True, text=True, timeout=300,
        env=os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout.splitlines()[-1])
    assert read["splits"] == report.splits
    assert read["f2p"] == ["tests/test_calc.py::test_add"]
    assert read["when"].startswith("2024-05-01 12:00:00")
