"""What a parent's instruction says, taken apart again: the statement and the names it gives. Pure."""

from __future__ import annotations

WHAT = "## What to change\n\n"
NAMES = "\n\n## Interface\n\n"
JUDGED = "\n\n## How it is judged"


def statement(instruction: str) -> str:
    """The statement alone."""
    return _body(instruction).partition(NAMES)[0].strip()


def names(instruction: str) -> str:
    """The list of names that tests use and that do not exist yet; '' when there is none."""
    return _body(instruction).partition(NAMES)[2].partition("\n\n")[2].strip()


def _body(instruction: str) -> str:
    return instruction.partition(WHAT)[2].rpartition(JUDGED)[0]
