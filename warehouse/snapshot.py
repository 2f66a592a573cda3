"""The snapshot: the copy of the warehouse that readers open, so that nobody waits for the loader.

It is current when its size and modification time are those of the warehouse file, which the copy takes over.
The caller holds the loader's lock and has closed the warehouse, so the file is whole. A reader that has the
old snapshot open keeps it; the next one opens the new file.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Literal

from warehouse.errors import storage_error
from warehouse.files import renamed_file
from warehouse.settings import Settings

Refresh = Literal["always", "auto", "never"]
"""`always`: whenever the snapshot is stale. `auto`: at once while copying is cheap, else so rarely that
copying takes at most a twentieth of the time, whatever the size of the warehouse. `never`: somebody else
will."""

_CHEAP_BYTES = 256 << 20
_BYTES_PER_SECOND = 200e6
_SHARE_OF_TIME = 1 / 20
# Linux FICLONE: the copy shares the blocks of the original (btrfs, XFS, bcachefs).
_FICLONE = 0x40049409


def is_current(settings: Settings) -> bool:
    """Whether the snapshot holds what the warehouse holds."""
    if (
        not settings.warehouse.exists()
        or settings.warehouse.with_name(settings.warehouse.name + ".wal").exists()
    ):
        return False
    return settings.snapshot.exists() and _stamp(settings.warehouse) == _stamp(settings.snapshot)


def refresh(settings: Settings, policy: Refresh = "always") -> bool:
    """Replace a stale snapshot as `policy` says; whether it was replaced. Raises FactoryError on a full
    disk.
    """
    if policy == "never" or is_current(settings) or (policy == "auto" and not _due(settings)):
        return False
    try:
        with renamed_file(settings.snapshot) as temporary:
            _copy(settings.warehouse, temporary)
            stat = settings.warehouse.stat()
            os.utime(temporary, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    except OSError as error:
        raise storage_error(error, settings.snapshot) from error
    return True


def _due(settings: Settings) -> bool:
    size = settings.warehouse.stat().st_size
    if size <= _CHEAP_BYTES or not settings.snapshot.exists():
        return True
    age = time.time() - settings.snapshot.stat().st_ctime
    return age * _SHARE_OF_TIME >= size / _BYTES_PER_SECOND


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _copy(source: Path, target: Path) -> None:
    """Copy, sharing blocks where the file system can."""
    if sys.platform == "linux":
        import fcntl

        with source.open("rb") as reader, target.open("wb") as writer:
            try:
                fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
                return
            except OSError:
                pass  # no shared blocks on this file system: copy them
    shutil.copyfile(source, target)
