"""A task's bundle, proved to be what was validated; and the project in it."""

from __future__ import annotations

import tarfile
from pathlib import Path, PurePosixPath

from pipelines.swe.trees import EXECUTABLE, FILE, LINK, Entry
from verifiers.tests import bundle
from warehouse.errors import FactoryError
from warehouse.records import Task
from warehouse.settings import Settings


def verified_bundle(settings: Settings, task: Task) -> bundle.Bundle:
    """The task's bundle, checked: every file against its manifest, the manifest against the task's record."""
    path = settings.bundles / task.task_id
    loaded = bundle.load(path)
    if loaded.sha256 != task.bundle:
        raise FactoryError(
            f"The bundle of task {task.task_id} at {path} is not the one that was validated "
            f"(sha256 {task.bundle[:12]}…); put that one back, or leave the task out."
        )
    return loaded


def project(tar: Path) -> dict[str, Entry]:
    """The files of `app.tar`, which the factory packed itself."""
    files: dict[str, Entry] = {}
    with tarfile.open(tar) as packed:
        for entry in packed:
            path = PurePosixPath(entry.name).as_posix()
            if entry.issym():
                files[path] = Entry(LINK, entry.linkname.encode("utf-8", "surrogateescape"))
            elif entry.isfile():
                content = packed.extractfile(entry)
                assert content is not None
                files[path] = Entry(EXECUTABLE if entry.mode & 0o100 else FILE, content.read())
    return files
