"""The sft layout, read back by its two consumers: `datasets` and the trainer."""

from __future__ import annotations

import hashlib
import json
import resource
from pathlib import Path

import pytest
from datasets import load_dataset

from pipelines.export import EXPORTERS
from pipelines.export.sft import SYSTEM, fenced
from training.corpus.corpus import read_corpus
from training.settings import SftConfig
from warehouse.errors import FactoryError
from warehouse.export.split import held_out
from warehouse.loader import load
from warehouse.outbox import Outbox
from warehouse.query import Reader
from warehouse.records import TaskEvent
from warehouse.settings import Settings

export = EXPORTERS["sft"]
PUBLISHED = {f"{n:020x}" for n in (1, 2, 3, 4)}


def rows_of(out: Path, cache: Path) -> list[dict]:
    loaded = load_dataset(str(out), cache_dir=str(cache))
    return [row | {"split": split} for split, part in loaded.items() for row in part]


def test_datasets_reads_every_published_task(settings: Settings, tmp_path: Path) -> None:
    report = export(settings, "true", tmp_path / "shard")
    rows = {row["task_id"]: row for row in rows_of(tmp_path / "shard", tmp_path / "cache")}
    assert report.rows == 4
    assert set(rows) == PUBLISHED
    row = rows[f"{1:020x}"]
    system, user, assistant = row["messages"]
    assert system == {"role": "system", "content": SYSTEM}
    assert user == {"role": "user", "content": "x must be one more than 1.\nIt is not."}
    assert assistant["content"].startswith("````diff\ndiff --git a/m.py b/m.py\n")
    assert assistant["content"].endswith("+x = 1 + 1\n````\n")
    assert (row["repo"], row["license"], row["attribution"]) == ("alpha", "MIT", "The authors of alpha")
    assert {row["repo"]: row["split"] for row in rows.values()} == {
        repo: "validation" if held_out(repo) else "train" for repo in ("alpha", "owner/beta", "gamma")
    }


def test_the_trainer_reads_it(settings: Settings, tmp_path: Path) -> None:
    export(settings, "true", tmp_path / "shard")
    corpus = read_corpus(SftConfig(data=str(tmp_path / "shard"), too_long="error"))
    assert len(corpus.examples["all"]) == 4
    example = corpus.examples["all"][0]
    answer = bytes(token for token in example.tokens_S[example.learnt_S].tolist() if token < 256)
    assert answer.decode().startswith("````diff\n")


def test_manifest_shard_records_and_notice(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "shard"
    report = export(settings, "repo = 'alpha'", out)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["rows"] == report.rows == 2
    assert manifest["schema"]["messages"].startswith("list")
    assert (manifest["splits"], manifest["skipped"]) == ({"train": 2}, [])
    assert "repo = 'alpha'" in manifest["query"]
    with Reader(settings) as reader:
        assert manifest["snapshot"] == reader.snapshot_id()
    for file in manifest["files"]:
        content = (out / file["path"]).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    load(settings)
    with Reader(settings) as reader:
        shards = reader.sql("SELECT sha256, path, layout, rows FROM shards").rows
    assert shards == [(manifest["files"][0]["sha256"], str(report.files[0]), "sft", 2)]
    notice = (out / "NOTICE.md").read_text()
    assert (
        "| alpha | MIT | The authors of alpha | https://example.org/alpha | 1.1, 1.2 | 2 | LICENSES/alpha/ |"
        in notice
    )
    assert (out / "LICENSES/alpha/LICENSE").read_text() == "text of alpha"


def test_same_snapshot_same_bytes(settings: Settings, tmp_path: Path) -> None:
    a, b = export(settings, "true", tmp_path / "a"), export(settings, "true", tmp_path / "b")
    assert [f.read_bytes() for f in a.files] == [f.read_bytes() for f in b.files]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("repo = 'nobody'", "No published task fits"),
        ("status = 'rejected'", "No published task fits"),
        ("no_such_column = 1", "no_such_column"),
        ("repo = ", "query cannot be run"),
        ("true; DROP TABLE tasks", "query cannot be run"),
    ],
)
def test_bad_predicates(settings: Settings, tmp_path: Path, where: str, said: str) -> None:
    with pytest.raises(FactoryError, match=said):
        export(settings, where, tmp_path / "shard")
    assert [p.name for p in tmp_path.iterdir()] == ["home"]
    assert not list(settings.outbox.iterdir())


@pytest.mark.parametrize(
    "where", ["true -- ", "true) OR (true", "false) UNION ALL (SELECT task_id FROM task_overview"]
)
def test_no_predicate_lets_unpublished_tasks_in(settings: Settings, tmp_path: Path, where: str) -> None:
    assert export(settings, where, tmp_path / "shard").rows == 4


def test_out_that_exists_is_left_alone(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "shard").mkdir()
    (tmp_path / "shard" / "mine").write_text("keep")
    with pytest.raises(FactoryError, match="is there already"):
        export(settings, "true", tmp_path / "shard")
    assert [p.name for p in (tmp_path / "shard").iterdir()] == ["mine"]


def test_out_that_cannot_be_written(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FactoryError, match=r"Cannot write .*file/shard"):
        export(settings, "true", tmp_path / "file" / "shard")


@pytest.mark.parametrize("patch", ["-a\n+b\n", "-a\n+b", "-```\n+````x`\n", ""])
def test_the_fence_is_longer_than_any_in_the_patch(patch: str) -> None:
    lines = fenced(patch).splitlines()
    fence = lines[-1]
    assert lines[0] == f"{fence}diff"
    assert fence not in "\n".join(lines[1:-1])
    assert "\n".join(lines[1:-1]) == patch.removesuffix("\n")


def test_full_disk_leaves_nothing(settings: Settings, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # a file that may not grow fails a write as a full disk does
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))
    try:
        with pytest.raises(FactoryError, match=r"disk that holds .*shard is full"):
            export(settings, "true", tmp_path / "shard")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p.name for p in tmp_path.iterdir()] == ["home"]
    assert not list(settings.outbox.iterdir())


def test_nothing_to_train_on_is_said(settings: Settings, tmp_path: Path) -> None:
    held = f"{4:020x}"
    with Outbox(settings) as outbox:
        outbox.append([TaskEvent(task_id=held, event="split", value="test", run_id="run")])
    load(settings)
    with pytest.raises(FactoryError, match="recorded as held out from training"):
        export(settings, "repo = 'gamma'", tmp_path / "shard")
    report = export(settings, "true", tmp_path / "shard")
    assert report.splits["test"] == 1
