"""The `sft` layout: published tasks as conversations whose answer is the gold patch.

One row a task: `messages` (system, user, assistant), and what a trainer filters on. `weight` is what a row
counts for in the loss; a gold patch counts 1.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.export.patches import with_exact_patch
from pipelines.export.selection import Selected, select
from pipelines.export.shards import write_parquet
from warehouse.errors import FactoryError
from warehouse.export.card import Card
from warehouse.export.publication import ExportReport, publish, refuse_existing
from warehouse.records import Task
from warehouse.settings import Settings

CARD = Card(
    "Supervised fine-tuning shard",
    "Verified tasks as conversations: the instruction, and the patch that execution proved right.",
)

SYSTEM = (
    "You are given a change to make in a repository. Answer with one patch in unified diff format, "
    "in a fenced block, and nothing else."
)

SCHEMA = pa.schema(
    [
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("task_id", pa.string()),
        ("repo", pa.string()),
        ("language", pa.string()),
        ("kind", pa.string()),
        ("license", pa.string()),
        ("attribution", pa.string()),
        ("weight", pa.float64()),
    ]
)


def fenced(patch: str) -> str:
    """`patch` in a fenced block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", patch)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}diff\n{patch.removesuffix(chr(10))}\n{fence}\n"


def messages(task: Task) -> list[dict[str, str]]:
    """The conversation of one task."""
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": task.instruction},
        {"role": "assistant", "content": fenced(task.gold_patch)},
    ]


def row(selected: Selected) -> dict[str, Any]:
    """One row of the shard."""
    task = selected.task
    return {
        "messages": messages(task),
        "task_id": task.task_id,
        "repo": task.repo,
        "language": task.language,
        "kind": task.kind,
        "license": task.license,
        "attribution": task.attribution,
        "weight": 1.0,
    }


def export_sft(settings: Settings, where: str, out: Path) -> ExportReport:
    """Write the published tasks for which `where` holds as Parquet shards, split by repository."""
    refuse_existing(out)
    selection = select(settings, where, prepare=lambda task: with_exact_patch(settings, task))
    if "train" not in selection.contents.splits:
        raise FactoryError(
            f"All {len(selection.tasks)} published tasks that fit {where!r} are recorded as held out from "
            "training; choose more tasks."
        )
    return publish(
        settings,
        out,
        layout="sft",
        contents=selection.contents,
        card=CARD,
        write=lambda folder: write_parquet(folder, selection.tasks, row, SCHEMA),
    )
