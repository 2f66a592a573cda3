"""What a person sees: tables and JSON. Mined text is hostile on display too, so every cell is stripped of escapes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from warehouse.query import plain

out = Console(highlight=False, soft_wrap=False)
err = Console(stderr=True, highlight=False)

CELL = 200


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """A table fitted to the terminal; piped output keeps whole lines."""
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(escape(column), overflow="fold")
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    out.print(table)


def cell(value: Any) -> str:
    """One value as table text: escapes stripped, markup escaped, long text cut."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1e5 else f"{value:,.0f}"
    text = plain(str(value))
    return escape(text if len(text) <= CELL else text[: CELL - 1] + "…")


def show_json(value: Any) -> None:
    """JSON on stdout, ASCII only: no escape sequence survives it."""
    sys.stdout.write(json.dumps(value, default=str, ensure_ascii=True, indent=None) + "\n")
