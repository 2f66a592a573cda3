"""The command line: thin commands over the rooms. Importing it imports neither prefect, docker nor torch.

Every error a user can mend arrives as a `FactoryError` and leaves as one sentence on stderr and exit
status 1; Ctrl-C leaves as 130 with a word on how to go on.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

import typer
from rich.console import Console

from pipelines.cli import data, doctor, model, run, tasks, train
from pipelines.cli.gateway import gateway
from pipelines.cli.rollout import rollout
from pipelines.cli.sentences import stopped_by, user_sentences
from pipelines.cli.stopping import STOPPED
from warehouse.query import plain

INTERRUPTED = 130  # what shells call ended by Ctrl-C

app = typer.Typer(
    name="verifactory",
    help=(
        "A factory for verifiable environments: real sources in, Dockerized tasks with executed rewards out."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

app.command("doctor")(doctor.doctor)
app.add_typer(run.app, name="run")
app.add_typer(tasks.app, name="tasks")
app.command("rollout")(rollout)
app.command("load")(data.load_outbox)
app.command("funnel")(data.funnel)
app.command("sql")(data.sql)
app.command("export")(data.export)
app.add_typer(train.app, name="train")
app.add_typer(model.app, name="model")
app.command("gateway")(gateway)


def main() -> None:
    """Entry point: turns errors into sentences and exit codes."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        if sys.argv[1:2] == ["run"]:
            run.add_families()
        app()
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # typer's way with Ctrl-C
            _tell(STOPPED)
        raise
    except BaseException as error:
        if stopped_by(error):
            _tell(STOPPED)
            sys.exit(INTERRUPTED)
        sentences = list(dict.fromkeys(user_sentences(error)))
        if not sentences:
            raise
        for sentence in sentences:
            _tell(sentence)
        sys.exit(1)


def _tell(sentence: str) -> None:
    text = " ".join(plain(sentence).split())
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(f"verifactory: {text}")


def _terminated(number: int, _frame: Any) -> None:
    """SIGTERM ends a command through its exit handlers: what was started is removed on the way out."""
    _tell(STOPPED)
    sys.exit(128 + number)
