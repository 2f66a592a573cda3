"""How an export comes to lie on disk: whole or not at all, with its rights and a manifest of its files.

Every layout's folder has `NOTICE.md` (each work with its licence and authors), `LICENSES/<repository>/` (the
licence texts that the tasks' sources shipped) and `manifest.json` (query, snapshot, and rows and sha256 of
each data file). Each data file is also recorded as a `Shard`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from pipelines.export.selection import Selected, Selection
from pipelines.export.shards import by_split
from warehouse.errors import FactoryError, storage_error
from warehouse.export.card import table
from warehouse.export.parquet import ExportReport
from warehouse.files import renamed_folder
from warehouse.outbox import Outbox
from warehouse.records import Shard
from warehouse.settings import Settings

FORMAT = 1
"""Version of manifest.json."""


Written = Mapping[str, int]
"""Data files by path in the export, with the rows of each."""


def publish(
    settings: Settings, out: Path, *, layout: str, selection: Selection, write: Callable[[Path], Written]
) -> ExportReport:
    """Let `write` fill a folder with data files, complete it, and put it at `out`, which must not exist."""
    if out.exists():
        raise FactoryError(f"{out} is there already; name a folder that does not exist yet.")
    try:
        with renamed_folder(out) as folder:
            written = write(folder)
            _rights(settings, selection, folder)
            shards = [
                Shard(
                    sha256=file_sha256(folder / name),
                    path=str(out / name),
                    layout=layout,
                    query=selection.query,
                    snapshot=selection.snapshot,
                    rows=rows,
                )
                for name, rows in sorted(written.items())
            ]
            splits = {split: len(members) for split, members in by_split(selection.tasks).items()}
            _manifest(folder, layout, selection, splits, shards, out)
    except OSError as error:
        raise storage_error(error, out) from error
    with Outbox(settings) as outbox:
        outbox.append(shards)
    return ExportReport(len(selection.tasks), splits, tuple(Path(shard.path) for shard in shards))


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(
    folder: Path, layout: str, selection: Selection, splits: Mapping[str, int], shards: list[Shard], out: Path
) -> None:
    content = {
        "format": FORMAT,
        "layout": layout,
        "query": selection.query,
        "snapshot": selection.snapshot,
        "rows": len(selection.tasks),
        "splits": splits,
        "files": [
            {
                "path": Path(shard.path).relative_to(out).as_posix(),
                "rows": shard.rows,
                "bytes": (folder / Path(shard.path).relative_to(out)).stat().st_size,
                "sha256": shard.sha256,
            }
            for shard in shards
        ],
    }
    (folder / "manifest.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _rights(settings: Settings, selection: Selection, folder: Path) -> None:
    """Write NOTICE.md and LICENSES/."""
    works: dict[tuple[str, str, str], list[Selected]] = {}
    for selected in selection.tasks:
        task = selected.task
        works.setdefault((task.repo, task.license, task.attribution), []).append(selected)
    rows = []
    for work, members in sorted(works.items(), key=lambda item: item[0]):
        texts = Path("LICENSES") / _folder_name(work[0])
        for member in members:
            _license_texts(settings.bundles / member.task.task_id / "LICENSES", folder / texts)
        revisions = ", ".join(sorted({member.candidate.gold_ref for member in members}))
        rows.append((*work, revisions, f"{texts.as_posix()}/" if (folder / texts).exists() else ""))
    notice = [
        "The tasks of this export are derived from these works. Each remains under its own licence.",
        "",
    ]
    notice += table(("work", "licence", "authors", "revisions", "texts"), rows)
    (folder / "NOTICE.md").write_text("\n".join(notice) + "\n", encoding="utf-8")


def _license_texts(source: Path, target: Path) -> None:
    """Copy texts; two of one name that differ are told apart by a number."""
    for path in sorted(p for p in source.rglob("*") if p.is_file() and not p.is_symlink()):
        text = path.read_bytes()
        for number in range(1000):
            copy = target / (path.name if not number else f"{path.stem}-{number}{path.suffix}")
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(text)
            if copy.read_bytes() == text:
                break


def _folder_name(repo: str) -> str:
    """A repository as a folder's name."""
    return repo.replace("/", "__").lstrip(".") or "_"
