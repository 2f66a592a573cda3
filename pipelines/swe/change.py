"""A change: what both SWE sources yield, and what every later step starts from.

A change is two git trees in one bare object store of our own, with the texts that describe it. It holds only
ids and paths, so it travels between processes; the bytes stay in the store. Both trees were admitted
(`trees.admit`): no escaping link, no submodule, bounded size.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from warehouse.errors import FactoryError


@dataclass(frozen=True)
class Text:
    """Something upstream wrote about the change. `source` is `commit` or `pull_request`."""

    source: str
    text: str


@dataclass(frozen=True)
class Change:
    """A base tree and a gold tree, their refs (versions or commits) and what upstream wrote."""

    store: Path
    base_tree: str
    gold_tree: str
    repo: str
    base_ref: str
    gold_ref: str
    source_date: datetime
    kind: str
    license: str = ""
    attribution: str = ""
    texts: tuple[Text, ...] = ()
    notes: tuple[str, ...] = ()


class Refused(Exception):
    """This one item cannot become a task; mining records it as rejected with `reason` and goes on."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class SourceError(FactoryError):
    """The input as a whole cannot be mined: no such package, no network, not a repository."""
