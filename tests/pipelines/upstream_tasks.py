"""Two validated upstream tasks to transform, of which one starts where the other ended."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from calc_repo import make

from envs.docker.backend import DockerBackend
from pipelines.factory import Quiet, Tally, mine, process_batch, run_id
from pipelines.family import Context, Family
from pipelines.swe.family import SweFamily, SweOptions
from warehouse.loader import load
from warehouse.settings import Settings


def place(folder: Path, settings: Settings) -> None:
    """Put them into the home of `settings`: made once for all folders beside `folder`, then copied."""
    made = folder.parent / "upstream-tasks"
    if not made.exists():
        part = settings.model_copy(update={"home": folder.parent / "upstream-part"})
        options = SweOptions(
            source="git",
            repo=(make(folder.parent / "upstream-calc"),),
            since=datetime(2024, 3, 4, tzinfo=UTC),
        )
        asyncio.run(run(SweFamily(), options, part, folder.parent / "upstream-work"))
        part.home.rename(made)
    shutil.copytree(made, settings.home)


async def run(family: Family, options: Any, settings: Settings, folder: Path) -> Tally:
    """Take every candidate of the options' one source through every stage."""
    (source,) = family.inputs(options)
    name = run_id(family.name, source, options.identity())
    tally = Tally(source, name)
    todo = mine(family, source, options, settings, name, tally)
    backend = DockerBackend(settings)
    try:
        context = Context(settings=settings, sandboxes=backend, run_id=name, workdir=folder)
        await process_batch(family, todo, context, source, tally, Quiet())
    finally:
        await backend.close()
    load(settings)
    return tally
