"""Files that are either wholly there or not at all: written under a temporary name, synced, then renamed.

Temporary names start with `.tmp-`; nothing in the program reads such a name, and what a killed process left
under one is removed once it is a day old.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

TEMPORARY = ".tmp-"
_ABANDONED_SECONDS = 24 * 3600


@contextmanager
def renamed_file(target: Path) -> Generator[Path]:
    """A path to write to; it becomes `target` when the block ends well, and vanishes when it does not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f"{TEMPORARY}{uuid4().hex}"
    try:
        yield temporary
        sync(temporary)
        temporary.replace(target)
        sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def renamed_folder(target: Path) -> Generator[Path]:
    """A folder to fill; it becomes `target`, which must not exist, when the block ends well, and vanishes
    otherwise.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f"{TEMPORARY}{uuid4().hex}"
    temporary.mkdir()
    try:
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                sync(Path(folder) / name)
            sync(Path(folder))
        temporary.rename(target)
        sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sync(path: Path) -> None:
    """Flush a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_abandoned(folder: Path) -> None:
    """Remove what killed processes left in `folder` under temporary names more than a day ago."""
    for entry in folder.glob(f"{TEMPORARY}*"):
        try:
            if time.time() - entry.stat().st_mtime < _ABANDONED_SECONDS:
                continue
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        except FileNotFoundError:
            continue  # its own process, or another loader, was quicker
