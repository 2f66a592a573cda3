"""Exports: tasks in the layouts that trainers and other harnesses read.

`EXPORTERS` is the one list of layouts. Each is a function of settings, a predicate over `task_overview`
and a folder that does not exist yet; it leaves that folder whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipelines.export.harbor import export_harbor, export_harbor_parquet
from pipelines.export.sft import export_sft
from pipelines.export.swebench import export_swebench
from pipelines.export.swebench_tasks import export_swebench_tasks
from warehouse.export.parquet import export_parquet
from warehouse.export.publication import ExportReport
from warehouse.settings import Settings

EXPORTERS: dict[str, Callable[[Settings, str, Path], ExportReport]] = {
    "parquet": export_parquet,
    "harbor": export_harbor,
    "harbor-parquet": export_harbor_parquet,
    "swebench": export_swebench,
    "swebench-tasks": export_swebench_tasks,
    "sft": export_sft,
}
