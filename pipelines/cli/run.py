"""`verifactory run FAMILY`: one command per installed family, its options read off the family's own model."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from types import GenericAlias
from typing import Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipelines.cli.sentences import user_sentences
from pipelines.cli.terminal import err, out, show_json, show_table
from pipelines.family import Family, families
from warehouse.errors import FactoryError
from warehouse.settings import Settings

app = typer.Typer(help="Make tasks: mine a source, build environments, validate by execution. Resumable.")


def add_families() -> None:
    """Register a command for every installed family, once."""
    known = {command.name for command in app.registered_commands}
    for name, kind in sorted(families().items()):
        if name not in known:
            app.command(name, help=inspect.getdoc(kind.Options))(_command(name, kind))


def _command(name: str, kind: type[Family]) -> Callable[..., None]:
    """A function whose signature is the family's options, as typer reads it."""

    def command(again: str, as_json: bool, **values: Any) -> None:
        options = kind.Options.model_validate(
            {key: value for key, value in values.items() if value is not None}
        )
        run(name, kind(), options, again=again, as_json=as_json)

    parameters = [_parameter(key, info) for key, info in kind.Options.model_fields.items()]
    parameters += [
        inspect.Parameter(
            "again", inspect.Parameter.KEYWORD_ONLY, annotation=str,
            default=typer.Option("", help="A label that makes this a new run instead of resuming the last."),
        ),
        inspect.Parameter(
            "as_json", inspect.Parameter.KEYWORD_ONLY, annotation=bool,
            default=typer.Option(False, "--json", help="Print the funnel as JSON."),
        ),
    ]  # fmt: skip
    vars(command)["__signature__"] = inspect.Signature(parameters)
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _parameter(key: str, info: FieldInfo) -> inspect.Parameter:
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    if isinstance(default, tuple):
        default = list(default)
    flag = f"--{key.replace('_', '-')}"
    return inspect.Parameter(
        key,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=_typer_type(info.annotation),
        default=typer.Option(default, flag, help=info.description),
    )


def _typer_type(annotation: Any) -> Any:
    """Options models write tuple[X, ...]; a command line repeats the flag, which typer calls list[X]."""
    args = getattr(annotation, "__args__", ())
    if getattr(annotation, "__origin__", None) is tuple and args[1:] == (Ellipsis,):
        return GenericAlias(list, args[:1])
    return annotation


def run(name: str, chosen: Family, options: BaseModel, *, again: str, as_json: bool) -> None:
    """Run every source of the options; a bad one is told, the rest goes on, and the exit status is 1."""
    sources = chosen.inputs(options)
    settings = Settings()
    err.print("Starting Prefect …")
    # What went wrong is told by us, in a sentence; Prefect would tell it again, as a traceback.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    from pipelines.cli.progress import SourceProgress, bars
    from pipelines.cli.stopping import run_stoppable
    from pipelines.flows import shard_flow, tally_rows

    faults: list[str] = []
    tallies = []
    with bars() as bar:
        for source in sources:
            progress = SourceProgress(bar, source)
            shard = shard_flow(name, source, options, settings, progress, again)
            try:
                tallies.append(run_stoppable(shard, before_leaving=bar.stop))
            except Exception as error:
                sentences = list(user_sentences(error))
                if not sentences:
                    raise
                faults += sentences
            progress.close()
    if as_json:
        show_json([vars(tally) for tally in tallies])
    else:
        for tally in tallies:
            show_tally(tally, tally_rows(tally))
    failed = sum(stage.get("failed", 0) for tally in tallies for stage in tally.stages.values())
    if failed:
        faults.append(f"{failed} items failed for infrastructure; run the same command again to retry them.")
    if faults:
        raise ExceptionGroup("run", [FactoryError(fault) for fault in faults])


def show_tally(tally: Any, rows: list[dict[str, Any]]) -> None:
    """The funnel of one source."""
    title = f"{tally.source}  (run {tally.run_id})"
    if tally.resumed:
        title += f", {tally.resumed} decided before"
    show_table(
        ("stage", "ok", "rejected", "failed", "reasons"), [tuple(row.values()) for row in rows], title=title
    )
    out.print()
