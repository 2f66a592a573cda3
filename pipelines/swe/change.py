"""A change: what both SWE sources yield, and what every later step starts from.

A change is two git trees in one bare object store of our own, with the texts that describe it. It holds only
ids and paths, so it travels between processes; the bytes stay in the store. Both trees were admitted
(`trees.admit`): no escaping link, no submodule, bounded size.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipelines.family import Mined
from pipelines.swe.filters import Facts
from warehouse.errors import FactoryError
from warehouse.records import Candidate, Source, content_id, to_json


@dataclass(frozen=True)
class Change:
    """A base tree and a gold tree, their refs (versions or commits) and what commits say, oldest first.

    `linked` is what was written about it elsewhere, as (source, text), the best first.
    """

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
    texts: tuple[str, ...] = ()
    linked: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


class Refused(Exception):
    """This one item cannot become a task; mining records it as rejected with `reason` and goes on."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class SourceError(FactoryError):
    """The input as a whole cannot be mined: no such package, no network, not a repository.

    `reason` is its code where a program would tell cases apart: `repository_gone`, `rate_limited`, …
    """

    def __init__(self, sentence: str, reason: str = "source_unreadable") -> None:
        super().__init__(sentence)
        self.reason = reason


def candidate(
    source: Source,
    *,
    repo: str,
    base_ref: str,
    gold_ref: str,
    title: str,
    source_date: datetime,
    facts: Facts,
    outcome: Change | Refused,
) -> Mined:
    """What mining yields: the change with its records, or the records that say why there is none."""
    refused = isinstance(outcome, Refused)
    detail: dict[str, object] = {"paths": {kind: len(paths) for kind, paths in (facts.paths or {}).items()}}
    if facts.number is not None:
        detail["pull_request"] = facts.number
    if refused:
        detail["why"] = outcome.detail
    elif outcome.notes:
        detail["notes"] = outcome.notes
    record = Candidate(
        candidate_id=content_id("swe", source.kind, repo, base_ref, gold_ref),
        source_id=source.source_id,
        family="swe",
        repo=repo,
        base_ref=base_ref,
        gold_ref=gold_ref,
        title=title,
        source_date=source_date,
        verdict="rejected" if refused else "accepted",
        reason=outcome.reason if refused else "",
        detail=to_json(detail),
    )
    return Mined(source, record, None if refused else outcome)
