"""Bundles as an export needs them: hashed as Harbor does, or as one tar."""

from __future__ import annotations

import hashlib
import io
import tarfile
from fnmatch import fnmatchcase
from pathlib import Path

from warehouse.export.publication import file_sha256

# What Harbor's packager takes of a task directory, and the names it leaves out of one without .gitignore. A
# bundle has one, which leaves out nothing.
PACKAGED_FILES = ("task.toml", "instruction.md", "README.md", "trajectory.json")
PACKAGED_FOLDERS = ("environment", "tests", "solution", "steps")
LEFT_OUT = ("__pycache__", "*.pyc", ".DS_Store", "*.swp", "*.swo", "*~")


def content_hash(task: Path) -> str:
    """Harbor's digest of a task directory, as `harbor.publisher.packager` of 0.25 computes it."""
    packaged = [task / name for name in PACKAGED_FILES if (task / name).exists()]
    for name in PACKAGED_FOLDERS:
        packaged += [path for path in (task / name).rglob("*") if path.is_file()]
    left_out = () if (task / ".gitignore").exists() else LEFT_OUT
    digest = hashlib.sha256()
    for path in sorted(p.relative_to(task).as_posix() for p in packaged):
        if not any(fnmatchcase(part, pattern) for part in path.split("/") for pattern in left_out):
            digest.update(f"{path}\0{file_sha256(task / path)}\n".encode())
    return digest.hexdigest()


def task_tar(task: Path) -> bytes:
    """A tar of a task directory that depends on its bytes and modes only."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(task.rglob("*"), key=lambda p: p.relative_to(task).as_posix()):
            info = tar.gettarinfo(path, arcname=path.relative_to(task).as_posix())
            info.mtime = info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
            if info.isreg():
                with path.open("rb") as file:
                    tar.addfile(info, file)
            else:
                tar.addfile(info)
    return buffer.getvalue()
