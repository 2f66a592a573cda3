"""Harbor layouts: the bundles themselves with a dataset manifest, or one Parquet row a bundle.

A bundle is already a Harbor 1.4 task, so nothing is rendered here: what validation graded is handed over
byte for byte, with its certificate.json. A bundle whose bytes are no longer those that were validated, or
whose certificate is not the recorded one, is not exported.
"""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import Any

import pyarrow as pa
import tomli_w

from pipelines.export.bundles import content_hash, task_tar
from pipelines.export.selection import LeftOut, Selected, Selection, select
from pipelines.export.shards import write_parquet
from pipelines.publish import certified, last_certificates
from warehouse.export.card import Card
from warehouse.export.publication import ExportReport, Written, publish, refuse_existing
from warehouse.records import Task
from warehouse.settings import Settings

CARD = Card(
    "Harbor tasks", "One folder a task, in Harbor 1.4's layout; dataset.toml pins each by its digest."
)
PARQUET_CARD = Card(
    "Harbor tasks in Parquet",
    "Harbor 1.4 tasks: `path` is a task's name, `task_binary` a tar of its directory.",
)

PARQUET_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("task_binary", pa.binary()),
        ("task_id", pa.string()),
        ("repo", pa.string()),
        ("license", pa.string()),
        ("attribution", pa.string()),
    ]
)


def select_whole(settings: Settings, where: str) -> Selection:
    """As `select`, without tasks of which Harbor would lose files.

    It obeys a `.harborignore` wherever it lies in tests/ or solution/, so a project's own hides hidden tests.
    """

    def prepare(task: Task) -> Task:
        if any((settings.bundles / task.task_id / "tests").rglob(".harborignore")):
            raise LeftOut("its tests have a .harborignore, by which Harbor would leave out others")
        return task

    return select(settings, where, prepare=prepare)


def certified_bundle(settings: Settings, task: Task) -> Path:
    """The task's bundle, proved, with the certificate that was recorded for it."""
    return certified(settings, task, last_certificates(settings, [task]).get(task.task_id))


def dataset_manifest(name: str, snapshot: str, tasks: dict[str, str]) -> str:
    """dataset.toml: Harbor's list of tasks by name, each pinned by its content hash."""
    content: dict[str, Any] = {
        "dataset": {
            "name": name,
            "version": snapshot[:12],
            "description": "Tasks whose gold solution scores 1 and whose empty one scores 0, by execution.",
            "keywords": ["verifactory"],
        },
        "tasks": [{"name": task, "digest": f"sha256:{digest}"} for task, digest in sorted(tasks.items())],
    }
    return tomli_w.dumps(content)


def _dataset_name(out: Path) -> str:
    """`out` as a Harbor name: letters, digits, dots, hyphens and underscores, not a dot first."""
    letters = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in out.resolve().name)
    return "verifactory/" + (letters.lstrip("-_.").replace("..", "-") or "tasks")


def export_harbor(settings: Settings, where: str, out: Path) -> ExportReport:
    """Copy the published tasks for which `where` holds to `out/<task_id>/`, with dataset.toml."""
    refuse_existing(out)
    selection = select_whole(settings, where)

    def write(folder: Path) -> Written:
        hashes = {}
        for selected in selection.tasks:
            copy = folder / selected.task.task_id
            shutil.copytree(certified_bundle(settings, selected.task), copy, symlinks=True)
            config = tomllib.loads((copy / "task.toml").read_text(encoding="utf-8"))
            hashes[config["task"]["name"]] = content_hash(copy)
        manifest = dataset_manifest(_dataset_name(out), selection.contents.snapshot, hashes)
        (folder / "dataset.toml").write_text(manifest, encoding="utf-8")
        return {"dataset.toml": len(hashes)}

    return publish(settings, out, layout="harbor", contents=selection.contents, card=CARD, write=write)


def export_harbor_parquet(settings: Settings, where: str, out: Path) -> ExportReport:
    """Write the published tasks for which `where` holds as rows of `path` and `task_binary` (a tar)."""
    refuse_existing(out)
    selection = select_whole(settings, where)

    def row(selected: Selected) -> dict[str, Any]:
        task = selected.task
        return {
            "path": task.task_id,
            "task_binary": task_tar(certified_bundle(settings, task)),
            "task_id": task.task_id,
            "repo": task.repo,
            "license": task.license,
            "attribution": task.attribution,
        }

    def write(folder: Path) -> Written:
        return write_parquet(folder, selection.tasks, row, PARQUET_SCHEMA, rows_per_file=16)

    return publish(
        settings, out, layout="harbor-parquet", contents=selection.contents, card=PARQUET_CARD, write=write
    )
