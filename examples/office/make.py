"""Writes the files of this example: one task of the walk, as its bundle holds it, and a forged answer to it.

python examples/office/make.py
"""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.office.walk import walk
from verifiers.spreadsheet.forgeries import Forger, cached

HERE = Path(__file__).resolve().parent


def files() -> dict[str, bytes]:
    """Name → content of every generated file."""
    task = next(walk("statements", 0))
    forger = Forger(task.original, task.reference, task.spec)
    return {
        "instruction.md": task.instruction.encode(),
        task.file: task.original,
        "reference.xlsx": task.reference,
        "forged.xlsx": cached(forger),
        "spreadsheet.json": (json.dumps(task.spec.document(), indent=1) + "\n").encode(),
    }


if __name__ == "__main__":
    for name, data in files().items():
        (HERE / name).write_bytes(data)
