"""Mined text as Markdown: cut to one line, stripped of escapes, and escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from warehouse.query import plain


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table."""
    lines = [header, ["---"] * len(header), *([cell(value) for value in row] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def cell(value: object) -> str:
    """One value, with nothing in it that Markdown or HTML would act on."""
    text = " ".join(plain("" if value is None else str(value)).split())
    return re.sub(r"([\\`*_\[\]|!])", r"\\\1", html.escape(text, quote=False))
