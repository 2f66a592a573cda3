"""A task's bundle, proved to be what was validated."""

from __future__ import annotations

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
