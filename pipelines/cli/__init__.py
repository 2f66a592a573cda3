"""The command line: thin commands over the rooms. Importing it imports neither prefect, docker nor torch.

Every error a user can mend arrives as a `FactoryError` and leaves as one sentence on stderr and exit status 1;
Ctrl-C leaves as 130 with a word on how to go on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer
from pydantic import ValidationError
from rich.console import Console

from pipelines.cli import data, doctor, run, tasks, train
from warehouse.errors import FactoryError

app = typer.Typer(
    name="verifactory",
    help="A factory for verifiable environments: real sources in, Dockerized tasks with executed rewards out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

app.command("doctor")(doctor.doctor)
app.add_typer(run.app, name="run")
app.add_typer(tasks.app, name="tasks")
app.command("load")(data.load_outbox)
app.command("funnel")(data.funnel)
app.command("sql")(data.sql)
app.command("export")(data.export)
app.add_typer(train.app, name="train")


def main() -> None:
    """Entry point: turns errors into sentences and exit codes."""
    errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        if sys.argv[1:2] == ["run"]:
            run.add_families()
        app()
    except KeyboardInterrupt:
        errors.print("Stopped. Nothing is lost: run the same command again to go on.")
        sys.exit(130)
    except Exception as error:
        sentences = list(user_sentences(error))
        if not sentences:
            raise
        for sentence in sentences:
            errors.print(f"verifactory: {sentence}")
        sys.exit(1)


def user_sentences(error: BaseException) -> Iterator[str]:
    """The sentences of the user's errors in `error`, groups and causes unwrapped; none if it is a bug of ours."""
    match error:
        case FactoryError():
            yield str(error)
        case ValidationError():
            for fault in error.errors():
                yield _setting_sentence(fault, error.title)
        case BaseExceptionGroup(exceptions=parts):
            for part in dict.fromkeys(map(str, (s for p in parts for s in user_sentences(p)))):
                yield part


def _setting_sentence(fault: Any, model: str) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    return (
        f"{model} {where!r}: {fault['msg'][:1].lower()}{fault['msg'][1:]} (got {fault.get('input')!r:.80})."
    )
