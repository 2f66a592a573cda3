"""A folder that a run works in: environments being made, suites being drafted; nothing that is kept.

It lies under `home/work/`, on the disk that the user chose for large things, and its process holds a lock on
it that the kernel drops whichever way the process ends. So the next run knows what a killed one left behind,
and removes that and nothing else.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from warehouse.errors import storage_error
from warehouse.settings import Settings


@contextmanager
def work_folder(settings: Settings) -> Generator[Path]:
    """A fresh folder, gone when the block ends; those of dead processes go first."""
    parent = settings.home.resolve() / "work"
    folder = parent / uuid4().hex
    try:
        parent.mkdir(parents=True, exist_ok=True)
        # Nobody looks for dead ones before the new one has its lock.
        with _locked(parent, fcntl.LOCK_EX):
            _remove_abandoned(parent)
            folder.mkdir()
            lock = _open_locked(folder, fcntl.LOCK_EX)
    except OSError as error:
        raise storage_error(error, parent) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_abandoned(parent: Path) -> None:
    for left in filter(Path.is_dir, parent.iterdir()):  # a file there is none of ours
        # Its process is alive, or has just removed it itself.
        with suppress(BlockingIOError, FileNotFoundError), _locked(left, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(left)


@contextmanager
def _locked(folder: Path, how: int) -> Generator[None]:
    lock = _open_locked(folder, how)
    try:
        yield
    finally:
        os.close(lock)


def _open_locked(folder: Path, how: int) -> int:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, how)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
