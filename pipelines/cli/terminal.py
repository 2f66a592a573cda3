"""What a person sees: tables and JSON.

Mined text is hostile on display too: escapes are stripped from it, and nothing that is printed is markup.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from warehouse.query import plain

# A pipe has no width: lines there are as long as they need to be.
PIPE = 400
CELL = 200


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPE
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, width=width)


out, err = _console(stderr=False), _console(stderr=True)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """A table fitted to the terminal; piped output keeps whole lines."""
    if title:
        heading(title)
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(plain(column), overflow="fold")
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    out.print(table)


def heading(text: str) -> None:
    """A line that parts one section from the next."""
    out.print(f"\n{plain(text)}", style="bold")


def cell(value: Any) -> str:
    """One value as table text: escapes stripped, long text cut."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1e5 else f"{value:,.0f}"
    text = plain(str(value))
    return text if len(text) <= CELL else text[: CELL - 1] + "…"


def show_json(value: Any) -> None:
    """JSON on stdout, ASCII only: no escape sequence survives it."""
    sys.stdout.write(json.dumps(value, default=str, ensure_ascii=True, indent=None) + "\n")
