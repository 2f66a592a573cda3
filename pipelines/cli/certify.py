"""`verifactory tasks certify | publish | revalidate | lint`: what a task withstood, and if it goes out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli.terminal import err, out, show_json, show_table
from warehouse.errors import FactoryError
from warehouse.settings import Settings

TASKS = typer.Argument(help="Task ids, or their first characters.")
WHERE = typer.Option(help="SQL predicate over task_overview.")
JSON = typer.Option("--json", help="A list of objects.")

ENDINGS = (
    "task_id",
    "repo",
    "outcome",
    "reason",
    "cheats",
    "succeeded",
    "seconds",
    "validation_seconds",
    "of_allowed",
)


def _chosen(settings: Settings, tasks: list[str] | None, where: str) -> list[Any]:
    from pipelines.selection import find_task, select_tasks

    if bool(tasks) == bool(where):
        raise FactoryError("Name tasks or give --where, one of the two.")
    return [find_task(settings, prefix) for prefix in tasks or ()] or select_tasks(settings, where)


def certify(
    tasks: Annotated[list[str] | None, TASKS] = None,
    where: Annotated[str, WHERE] = "",
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Try everything known against tasks' graders, and give those that withstand it a certificate.

    Gold must score 1 twice with the same checks, nop 0; no cheat of the catalogue may be paid; the answer may
    lie nowhere in the image or the instruction. A published task that no longer holds is retired.

    Example: verifactory tasks certify --where "status = 'validated'"
    """
    from pipelines.certification import certify_tasks
    from pipelines.cli.stopping import run_stoppable

    settings = Settings()
    chosen = _chosen(settings, tasks, where)
    with _progress(as_json) as (told, ended):
        endings = run_stoppable(certify_tasks(settings, chosen, told=told, ended=ended))
    _show(endings, as_json, expected="certified")


def publish(
    tasks: Annotated[list[str] | None, TASKS] = None,
    where: Annotated[str, WHERE] = "",
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Publish tasks that carry their own certificate; exports for others hold published tasks only.

    Refused, with the reason: no certificate, an edited one, one of another task or of another bundle, an
    image that is gone.

    Example: verifactory tasks publish --where "status = 'certified'"
    """
    from pipelines.certification import publish_tasks
    from pipelines.cli.stopping import run_stoppable

    settings = Settings()
    _show(
        run_stoppable(publish_tasks(settings, _chosen(settings, tasks, where))), as_json, expected="published"
    )


def revalidate(
    where: Annotated[str, WHERE] = "true",
    limit: Annotated[
        int, typer.Option(min=1, help="Most tasks to take, the oldest certificates first.")
    ] = 20,
    older_than: Annotated[
        float,
        typer.Option(min=0, help="Days; a certificate of another catalogue than the last is due at once."),
    ] = 30.0,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Certify published tasks again; those that decayed are retired with the reason, and leave exports.

    Example: verifactory tasks revalidate --older-than 30 --limit 100
    """
    from pipelines.certification import certify_tasks, due
    from pipelines.cli.stopping import run_stoppable

    settings = Settings()
    chosen = due(settings, limit=limit, older_than_days=older_than, where=where)
    if not chosen:
        if as_json:
            show_json([])
        else:
            out.print("No published task is due.")
        return
    with _progress(as_json) as (told, ended):
        endings = run_stoppable(certify_tasks(settings, chosen, told=told, ended=ended))
    _show(endings, as_json, expected="certified")


def lint(
    tasks: Annotated[
        list[str] | None, typer.Argument(help="Task ids, their first characters, or folders of bundles.")
    ] = None,
    where: Annotated[str, WHERE] = "",
    fix: Annotated[bool, typer.Option("--fix", help="Mend what a program can mend.")] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Read tasks and tell what is wrong with them: where, what, how bad, and whether --fix mends it.

    Nothing of a task is run. The exit status is 1 when an error is left.

    Example: verifactory tasks lint --where "status = 'published'"
    """
    from pipelines.lint import lint_folder, lint_task

    settings = Settings()
    folders = [Path(name) for name in tasks or () if Path(name).is_dir()]
    names = [name for name in tasks or () if not Path(name).is_dir()]
    records = _chosen(settings, names, where) if names or where or not folders else []
    found = [
        (str(folder), problem) for folder in folders for problem in lint_folder(settings, folder, fix=fix)
    ]
    found += [(task.task_id, problem) for task in records for problem in lint_task(settings, task, fix=fix)]
    if as_json:
        show_json([{"task": task, **problem.model_dump(mode="json")} for task, problem in found])
    else:
        show_table(
            ("task", "severity", "code", "where", "message", "fixable"),
            [(t, p.severity, p.code, p.where, p.message, "yes" if p.fixable else "") for t, p in found],
        )
        out.print(f"{len(found)} problems in {len(folders) + len(records)} tasks.")
    if errors := sum(problem.severity == "error" for _, problem in found):
        raise FactoryError(f"{errors} of the problems are errors: tasks with them are not certified.")


class _Quiet:
    def __enter__(self) -> tuple[Any, Any]:
        return (lambda *_: None), (lambda _: None)

    def __exit__(self, *_: object) -> None: ...


class _Lines(_Quiet):
    """One line a task on stderr, and above it, while it runs, how many gradings have ended."""

    def __enter__(self) -> tuple[Any, Any]:
        counts: dict[str, int] = {}
        status = err.status("Certifying …")
        status.start()
        self.stop = status.stop

        def told(task: str, control: str, verdict: str) -> None:
            counts[task] = counts.get(task, 0) + 1
            status.update(f"{sum(counts.values())} gradings; {task}: {control} {verdict}")

        def ended(ending: Any) -> None:
            err.print(f"{ending.task.task_id}  {ending.task.repo}  {ending.outcome}  {ending.reason}")

        return told, ended

    def __exit__(self, *_: object) -> None:
        self.stop()


def _progress(as_json: bool) -> _Quiet:
    return _Quiet() if as_json else _Lines()


def _show(endings: list[Any], as_json: bool, *, expected: str) -> None:
    rows = sorted((ending.row() for ending in endings), key=lambda row: row["task_id"])
    if as_json:
        show_json(rows)
    else:
        show_table(ENDINGS, [[row.get(name) for name in ENDINGS] for row in rows])
    if others := [row for row in rows if row["outcome"] != expected]:
        raise ExceptionGroup(
            "tasks",
            [
                FactoryError(f"Task {r['task_id']}: {r['outcome']}: {r['reason']}: {r['detail']}")
                for r in others
            ],
        )
