"""Mining as tests do it: without pauses, and as a list."""

from __future__ import annotations

from itertools import islice
from typing import Any

from pipelines.family import Mined
from pipelines.swe.github.client import GitHub
from pipelines.swe.github.source import mine
from warehouse.settings import Settings


def mined(
    settings: Settings, name: str = "ann/calc", limit: int | None = None, **options: Any
) -> list[Mined]:
    github = GitHub(settings, pause=0, backoff=0.01)
    return list(islice(mine(name, settings, github=github, **options), limit))


def reasons(found: list[Mined]) -> dict[str, str]:
    return {item.candidate.title: item.candidate.reason for item in found}
