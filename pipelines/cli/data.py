"""`verifactory sql | funnel | load | export`: the warehouse from the outside."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.terminal import err, out, show_json, show_table
from warehouse.errors import FactoryError
from warehouse.settings import Settings

LAYOUTS = "parquet | harbor | harbor-parquet | swebench | swebench-tasks | sft"
POOL_LAYOUTS = "prime-rl | skyrl | slime | trl | verl"


PUBLISHED = "status = 'published'"


def sql(
    query: Annotated[
        str,
        typer.Argument(
            help="One SELECT; views: funnel, task_overview, yield_by_source, flaky, cost, certified, "
            "exploits, decay."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects.")] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="CSV; cells that a spreadsheet would run are quoted.")
    ] = False,
) -> None:
    """Query the warehouse's snapshot, read-only.

    Example: verifactory sql "SELECT repo, count(*) FROM task_overview WHERE status = 'built' GROUP BY ALL"
    """
    from warehouse.query import Reader, spreadsheet_safe

    if as_json and as_csv:
        raise FactoryError("Choose one of --json and --csv.")
    result = Reader(Settings()).sql(query)
    if as_json:
        show_json([dict(zip(result.columns, row, strict=True)) for row in result.rows])
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(result.columns)
        writer.writerows([spreadsheet_safe(value) for value in row] for row in result.rows)
    else:
        show_table(result.columns, result.rows)


def funnel(
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects.")] = False,
) -> None:
    """Show what became of every candidate, stage by stage, with the reasons.

    Example: verifactory funnel
    """
    sql("SELECT * FROM funnel", as_json=as_json)


def load_outbox() -> None:
    """Load what workers left in the outbox and refresh the snapshot.

    Example: verifactory load
    """
    from warehouse.loader import load
    from warehouse.query import plain

    report = load(Settings())
    out.print(f"{report.rows} rows loaded from {report.units} units.")
    for sentence in report.problems:
        err.print(plain(sentence), soft_wrap=True)


def export(
    layout: Annotated[str, typer.Argument(help=f"{LAYOUTS}; with --pool: {POOL_LAYOUTS}")],
    out_dir: Annotated[Path, typer.Argument(metavar="OUT", help="A folder that does not exist yet.")],
    where: Annotated[
        str,
        typer.Option(help="SQL predicate over task_overview; nothing is exported that it does not select."),
    ] = PUBLISHED,
    pool: Annotated[
        Path | None,
        typer.Option(help="An RL run's or gateway's pool.sqlite: its trajectories, for another trainer."),
    ] = None,
) -> None:
    """Export tasks for trainers and other harnesses, or an RL run's trajectories for another trainer.

    parquet takes whatever --where selects, of any status. The other layouts are made from bundles and take
    only published tasks, which have a certificate, among those. Repositories, not tasks, are split into
    train and validation; a recorded split wins, and a selection that would leave train empty goes to train.

    With --pool, each branch of a trajectory is a sample of that trainer's own type, a file for each step.

    Example: verifactory export harbor tasks/ --where "repo = 'humanize'"
    """
    from pipelines.export import EXPORTERS

    if pool is not None:
        _export_pool(pool, layout, out_dir, where)
        return
    if layout not in EXPORTERS:
        raise FactoryError(
            f"There is no layout called {layout!r}; choose one of: {', '.join(sorted(EXPORTERS))}. "
            "Trainers' layouts want --pool."
        )
    report = EXPORTERS[layout](Settings(), where, out_dir)
    splits = ", ".join(f"{split} {tasks}" for split, tasks in report.splits.items())
    out.print(f"{report.rows} tasks in {len(report.files)} files under {out_dir}: {splits}")
    if report.split_note:
        out.print(report.split_note)
    for reason, tasks in report.skipped.items():
        out.print(f"{tasks} tasks left out: {reason}")


def _export_pool(pool: Path, layout: str, out_dir: Path, where: str) -> None:
    """Trajectories of a pool, which knows no tasks to choose among."""
    from training.forge.export.files import export_trajectories
    from training.forge.export.peers import RECORDS
    from training.forge.pool.sqlite import SqlitePool

    if layout not in RECORDS:
        raise FactoryError(
            f"There is no layout of trajectories called {layout!r}; choose one of: {', '.join(RECORDS)}."
        )
    if where != PUBLISHED:
        raise FactoryError("--where chooses tasks; a pool is exported whole. Leave one of the two out.")
    opened = SqlitePool(pool, create=False)
    try:
        report = export_trajectories(opened, layout, out_dir)
    finally:
        opened.close()
    made = f"{report.samples} samples of {report.trajectories} trajectories"
    out.print(f"{made} in {report.steps} files under {out_dir}")
    if report.left_out:
        out.print(f"{report.left_out} trajectories left out: without an outcome, or nothing of them is whole")
