"""Harbor layouts: what is handed over is the bundle that was validated, in the schema that Harbor reads."""

from __future__ import annotations

import importlib.util
import io
import json
import tarfile
import tomllib
from pathlib import Path

import pytest
from datasets import load_dataset
from harbor_schema import HarborDataset, HarborTask

from pipelines.export import EXPORTERS
from pipelines.export.bundles import content_hash, task_tar
from verifiers.tests import bundle
from warehouse.errors import FactoryError
from warehouse.settings import Settings

FIRST = f"{1:020x}"


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_bundles_are_copied_byte_for_byte(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "tasks"
    report = EXPORTERS["harbor"](settings, "true", out)
    assert (report.rows, report.splits, report.skipped) == (4, {"train": 4}, {})
    folders = sorted(p.name for p in out.iterdir() if p.is_dir() and p.name != "LICENSES")
    assert folders == [f"{n:020x}" for n in (1, 2, 3, 4)]
    for name in folders:
        assert files_of(out / name) == files_of(settings.bundles / name)
        assert bundle.load(out / name).task_id == name
        task = HarborTask.model_validate(tomllib.loads((out / name / "task.toml").read_text()))
        assert task.task.name == f"verifactory/{name}"
        assert task.verifier.network_mode == "no-network"
        assert (out / name / "solution/solve.sh").stat().st_mode & 0o111
        assert (out / name / "tests/test.sh").stat().st_mode & 0o111


def test_dataset_manifest_pins_each_task(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "My tasks"
    EXPORTERS["harbor"](settings, "repo = 'alpha'", out)
    dataset = HarborDataset.model_validate(tomllib.loads((out / "dataset.toml").read_text()))
    assert dataset.dataset.name == "verifactory/My-tasks"
    assert {t.name: t.digest for t in dataset.tasks} == {
        f"verifactory/{n:020x}": "sha256:" + content_hash(out / f"{n:020x}") for n in (1, 2)
    }
    # LICENSES/ and bundle.json travel with the folder but are no part of Harbor's package
    before = content_hash(out / FIRST)
    (out / FIRST / "bundle.json").write_text("{}")
    assert content_hash(out / FIRST) == before
    # whatever a hidden test is called, it is packaged; without .gitignore Harbor has names that it leaves out
    (out / FIRST / "tests" / "a.pyc").write_text("")
    assert content_hash(out / FIRST) != before
    (out / FIRST / ".gitignore").unlink()
    assert content_hash(out / FIRST) == before
    (out / FIRST / "tests" / "new").write_text("")
    assert content_hash(out / FIRST) != before


def test_bundles_ignore_nothing(settings: Settings) -> None:
    lines = (settings.bundles / FIRST / ".gitignore").read_text().splitlines()
    assert lines
    assert all(line.startswith("#") for line in lines)


@pytest.mark.skipif(not importlib.util.find_spec("harbor"), reason="harbor needs Python 3.12")
def test_harbor_reads_it(settings: Settings, tmp_path: Path) -> None:
    from harbor.models.dataset.manifest import DatasetManifest
    from harbor.models.task.task import Task
    from harbor.publisher.packager import Packager

    EXPORTERS["harbor"](settings, "true", tmp_path / "tasks")
    manifest = DatasetManifest.from_toml_file(tmp_path / "tasks/dataset.toml")
    for reference in manifest.tasks:
        folder = tmp_path / "tasks" / reference.short_name
        assert Task(folder).config.schema_version == "1.4"
        assert reference.digest == "sha256:" + Packager.compute_content_hash(folder)[0]


@pytest.mark.parametrize("layout", ["harbor", "harbor-parquet"])
def test_tasks_that_harbor_would_cut_are_left_out(settings: Settings, tmp_path: Path, layout: str) -> None:
    hidden = settings.bundles / FIRST / "tests" / "hidden" / "pkg"
    hidden.mkdir()
    (hidden / ".harborignore").write_text("*.py\n")
    report = EXPORTERS[layout](settings, "true", tmp_path / "out")
    assert list(report.skipped.values()) == [1]
    assert report.rows == 3
    assert not (tmp_path / "out" / FIRST).exists()


def test_rights_travel_with_the_tasks(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "tasks"
    EXPORTERS["harbor"](settings, "true", out)
    # two tasks of alpha ship one text, once; the other licence of beta differs and stays apart
    assert files_of(out / "LICENSES") == {
        "alpha/LICENSE": b"text of alpha",
        "gamma/LICENSE": b"text of gamma",
        "owner__beta/LICENSE": b"text of owner/beta",
    }
    notice = (out / "NOTICE.md").read_text()
    for repo in ("alpha", "owner/beta", "gamma"):
        assert f"| The authors of {repo} |" in notice


def test_parquet_holds_the_same_bytes(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "shard"
    report = EXPORTERS["harbor-parquet"](settings, "true", out)
    loaded = load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    rows = {row["path"]: row["task_binary"] for part in loaded.values() for row in part}
    assert len(rows) == report.rows == 4
    for name, binary in rows.items():
        with tarfile.open(fileobj=io.BytesIO(binary)) as tar:
            tar.extractall(tmp_path / "unpacked" / name, filter="data")
        assert files_of(tmp_path / "unpacked" / name) == files_of(settings.bundles / name)
        assert bundle.load(tmp_path / "unpacked" / name).task_id == name
        assert (tmp_path / "unpacked" / name / "instruction.md").exists()


def test_tar_depends_on_content_only(settings: Settings, tmp_path: Path) -> None:
    EXPORTERS["harbor"](settings, "true", tmp_path / "copy")
    assert task_tar(tmp_path / "copy" / FIRST) == task_tar(settings.bundles / FIRST)


@pytest.mark.parametrize("layout", ["harbor", "harbor-parquet", "swebench-tasks"])
def test_changed_bundles_are_not_exported(settings: Settings, tmp_path: Path, layout: str) -> None:
    (settings.bundles / FIRST / "tests" / "test.sh").write_text("echo 1 > /logs/verifier/reward.txt")
    with pytest.raises(FactoryError, match=r"was changed: tests/test\.sh"):
        EXPORTERS[layout](settings, "true", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", ["harbor", "harbor-parquet"])
def test_other_bundles_are_not_exported(settings: Settings, tmp_path: Path, layout: str) -> None:
    folder = settings.bundles / FIRST
    (folder / "instruction.md").write_text("Do something else.")
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["files"]["instruction.md"] = bundle._digests(folder)["instruction.md"]
    (folder / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(FactoryError, match=f"bundle of task {FIRST} .* is not the one that was validated"):
        EXPORTERS[layout](settings, "true", tmp_path / "out")


def test_missing_bundles_are_said(bundleless: Settings, tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match="is not a bundle"):
        EXPORTERS["harbor"](bundleless, "true", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["home"]
