"""Whether a text repeats code: runs of tokens in common. One rule for linting and for statements."""

from __future__ import annotations

import re
from collections.abc import Iterable

TOKEN = re.compile(r"\w+|[^\w\s]")


def added_lines(patch: bytes) -> list[str]:
    """Lines that a patch adds."""
    text = patch.decode("utf-8", "replace")
    return [line[1:] for line in text.splitlines() if line.startswith("+") and line[:3] != "+++"]


def repeated(text: str, lines: Iterable[str], tokens: int) -> str:
    """The first run of so many tokens of `lines`, end to end, that `text` has too; '' if there is none."""
    told, code = TOKEN.findall(text), TOKEN.findall("\n".join(lines))
    known = {tuple(code[i : i + tokens]) for i in range(len(code) - tokens + 1)}
    for start in range(len(told) - tokens + 1):
        run = told[start : start + tokens]
        if tuple(run) in known:
            return " ".join(run)
    return ""
