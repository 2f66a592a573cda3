"""A factory's home with seven tasks of three repositories, stored through the real outbox and loader."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_tasks import TASKS, certificate_of, records_of, rendered, task_of

from warehouse.loader import load
from warehouse.outbox import Outbox
from warehouse.settings import Settings


@pytest.fixture
def bundleless(tmp_path: Path) -> Settings:
    """The home, loaded; its tasks have no bundles."""
    settings = Settings(home=tmp_path / "home")
    with Outbox(settings) as outbox:
        for n in TASKS:
            outbox.append(records_of(task_of(n), n))
    load(settings)
    return settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The home, loaded, with the rendered bundle of every task."""
    settings = Settings(home=tmp_path / "home")
    with Outbox(settings) as outbox:
        for n in TASKS:
            task = task_of(n)
            digest = rendered(settings, task, n, task.gold_patch.encode(), tmp_path)
            made = task_of(n, digest)
            outbox.append([*records_of(made, n), certificate_of(settings, made)])
    load(settings)
    return settings
