"""The rights that travel with an export: NOTICE.md names each work, LICENSES/<repository>/ has its texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from warehouse.export.choice import Work
from warehouse.export.markdown import table

INTRODUCTION = "The tasks of this export are derived from these works. Each remains under its own licence."


def write_rights(folder: Path, works: Sequence[Work], bundles: Path) -> None:
    """Write both. The texts are those that the tasks' bundles carry, where there are bundles."""
    rows = []
    for work in works:
        texts = Path("LICENSES") / _folder_name(work.repo)
        for task in work.tasks:
            _copy_texts(bundles / task / "LICENSES", folder / texts)
        where = f"{texts.as_posix()}/" if (folder / texts).exists() else ""
        facts = (work.repo, work.license, work.attribution, work.source, work.revisions)
        rows.append((*facts, len(work.tasks), where))
    notice = [INTRODUCTION, ""]
    notice += table(("work", "licence", "authors", "source", "revisions", "tasks", "texts"), rows)
    (folder / "NOTICE.md").write_text("\n".join(notice) + "\n", encoding="utf-8")


def _copy_texts(source: Path, target: Path) -> None:
    """Copy texts; two of one name that differ are told apart by a number. Links are not followed."""
    if not source.is_dir():
        return
    for path in sorted(p for p in source.rglob("*") if p.is_file() and not p.is_symlink()):
        text = path.read_bytes()
        copy, number = target / path.name, 0
        while copy.exists() and copy.read_bytes() != text:
            number += 1
            copy = target / f"{path.stem}-{number}{path.suffix}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(text)


def _folder_name(repo: str) -> str:
    """A repository as a folder's name."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", repo.replace("/", "__")).lstrip(".") or "_"
