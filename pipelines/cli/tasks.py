"""`verifactory tasks ls | show | verify | …`: a task's instruction, tests, evidence; its controls run again.

Certifying and publishing are in `pipelines.cli.certify`.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pipelines.cli import certify
from pipelines.cli.terminal import err, heading, out, show_json, show_table
from warehouse.errors import FactoryError
from warehouse.settings import Settings

app = typer.Typer(help="Look at tasks, try them, certify and publish them.", no_args_is_help=True)

WHERE = typer.Option(help="SQL predicate over task_overview.")
CERTIFICATE = ("outcome", "reason", "cheats", "succeeded", "inverted", "seconds", "issued")
COLUMNS = "task_id, family, kind, repo, language, status, difficulty, license"


@app.command("ls")
def ls(
    where: Annotated[str, WHERE] = "true",
    limit: Annotated[int, typer.Option(min=1, help="Most tasks to list.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects.")] = False,
) -> None:
    """List tasks, newest source first.

    Example: verifactory tasks ls --where "status = 'validated' AND kind = 'bug_fix'"
    """
    from warehouse.query import Reader

    query = (
        f"SELECT {COLUMNS}, fail_to_pass, pass_to_pass, source_date FROM task_overview WHERE ({where}) "
        f"ORDER BY source_date DESC, task_id LIMIT {limit}"
    )
    result = Reader(Settings()).sql(query)
    if as_json:
        show_json([dict(zip(result.columns, row, strict=True)) for row in result.rows])
    else:
        show_table(result.columns, result.rows)


@app.command()
def show(
    task: Annotated[str, typer.Argument(help="Task id, or the first characters of one.")],
    as_json: Annotated[bool, typer.Option("--json", help="The whole record.")] = False,
) -> None:
    """Show a task: its instruction, what decides its reward, and the evidence that it does.

    Example: verifactory tasks show 3f2a
    """
    from pipelines.selection import evidence, find_task
    from warehouse.query import plain

    settings = Settings()
    record = find_task(settings, task)
    proof = evidence(settings, record.task_id)
    if as_json:
        show_json({**record.model_dump(mode="json"), "evidence": proof})
        return
    heading(f"{record.repo}  {record.kind}  {record.task_id}")
    out.print(plain(record.instruction), soft_wrap=True)
    heading("tests")
    for name in ("fail_to_pass", "new_tests", "quarantined"):
        ids: tuple[str, ...] = getattr(record, name)
        out.print(f"{name}: {len(ids)}")
        for test in ids[:20]:
            out.print(f"  {plain(test)}", soft_wrap=True)
    out.print(f"pass_to_pass: {len(record.pass_to_pass)}")
    heading("controls")
    show_table(("control", "run", "verdict", "reward", "expected", "passed", "seconds"), proof["validations"])
    heading("certificate")
    show_table(CERTIFICATE, proof["certificates"])
    heading("stability")
    show_table(("state", "runs", "wavered", "upper bound (95 %)"), proof["flakes"])
    out.print(f"licence {plain(record.license)}, bundle {settings.bundles / record.task_id}", soft_wrap=True)


@app.command()
def verify(
    task: Annotated[list[str] | None, typer.Argument(help="Task ids, or their first characters.")] = None,
    where: Annotated[str, WHERE] = "",
    runs: Annotated[int, typer.Option(min=1, help="Times each control is run.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects.")] = False,
) -> None:
    """Run the controls of tasks again from their bundles: gold must score 1, nop must score 0.

    Gold's runs are pooled with those of validation, so that the bound on wavering falls.

    Example: verifactory tasks verify --where "repo = 'humanize'" --runs 5
    """
    from pipelines.cli.stopping import run_stoppable
    from pipelines.selection import find_task, select_tasks
    from pipelines.verify import verify_tasks

    settings = Settings()
    if bool(task) == bool(where):
        raise FactoryError("Name tasks or give --where, one of the two.")
    records = [find_task(settings, prefix) for prefix in task or ()] or select_tasks(settings, where)

    def told(row: dict[str, Any]) -> None:
        if not as_json:
            word = "ok" if row["passed"] else "FAILED"
            control = f"{row['control']:5}  run {row['run']}"
            err.print(f"{row['task_id']}  {control}  {row['verdict']}  {row['reward']}  {word}")

    rows = run_stoppable(verify_tasks(settings, records, runs=runs, told=told))
    failed = [row for row in rows if not row["passed"]]
    if as_json:
        show_json(rows)
    else:
        out.print(f"{len(rows) - len(failed)} of {len(rows)} control runs as expected.")
    if failed:
        tasks = sorted({row["task_id"] for row in failed})
        raise FactoryError(f"{len(failed)} control runs were not as expected, of tasks: {', '.join(tasks)}.")


for command in (certify.lint, certify.certify, certify.publish, certify.revalidate):
    app.command()(command)
