"""How an export comes to lie on disk: whole or not at all, with the rights it carries and a manifest of its
files.

Every layout's folder has `NOTICE` (each work with its licence and authors), `LICENSES/<repository>/` (the
licence texts that the tasks' sources shipped) and `manifest.json` (query, snapshot, and rows and sha256 of
each data file). Each data file is also recorded as a `Shard`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.export.selection import Selected, Selection
from warehouse.errors import FactoryError, storage_error
from warehouse.files import renamed_folder
from warehouse.outbox import Outbox
from warehouse.query import plain
from warehouse.records import Shard
from warehouse.settings import Settings

FORMAT = 1
"""Version of manifest.json."""


@dataclass(frozen=True)
class ExportReport:
    """How many tasks were exported, and the data files that hold them."""

    rows: int
    files: tuple[Path, ...]


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
            _manifest(folder, layout, selection, shards, out)
    except OSError as error:
        raise storage_error(error, out) from error
    with Outbox(settings) as outbox:
        outbox.append(shards)
    return ExportReport(len(selection.tasks), tuple(Path(shard.path) for shard in shards))


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(folder: Path, layout: str, selection: Selection, shards: list[Shard], out: Path) -> None:
    content = {
        "format": FORMAT,
        "layout": layout,
        "query": selection.query,
        "snapshot": selection.snapshot,
        "rows": len(selection.tasks),
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
    """Write NOTICE and LICENSES/."""
    works: dict[tuple[str, str, str], list[Selected]] = {}
    for selected in selection.tasks:
        task = selected.task
        works.setdefault((task.repo, task.license, task.attribution), []).append(selected)
    notice = ["The tasks of this export are derived from these works. Each remains under its own license.\n"]
    for (repo, license_id, authors), members in sorted(works.items(), key=lambda item: item[0]):
        texts = Path("LICENSES") / _folder_name(repo)
        for member in members:
            _license_texts(settings.bundles / member.task.task_id / "LICENSES", folder / texts)
        revisions = ", ".join(sorted({member.candidate.gold_ref for member in members}))
        notice += [
            f"Work: {_line(repo)}, {_line(revisions)}",
            f"License: {license_id}",
            f"Authors: {_line(authors)}",
        ]
        notice += [f"Text: {texts.as_posix()}/\n" if (folder / texts).exists() else ""]
    (folder / "NOTICE").write_text("\n".join(notice), encoding="utf-8")


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


def _line(text: str) -> str:
    """Mined text on one line, without what could drive a terminal."""
    return " ".join(plain(text).split())
