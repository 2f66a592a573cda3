"""Programs that run suites inside environments, in the language of the suite; recipes carry their text."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def driver(name: str) -> str:
    """Text of a driver."""
    return (FOLDER / name).read_text(encoding="utf-8")
