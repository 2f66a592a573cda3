"""The last look at a mined change, the same for every source: is it a benchmark's, can it be split, does
anything say what it is about, and is there another one like it?

A screen belongs to one mining; it knows the tasks of the warehouse and what it let through itself.
"""

from __future__ import annotations

import json
from typing import Any

from pipelines.family import Mined
from pipelines.swe import duplicates, statement
from pipelines.swe.change import Change, Refused
from pipelines.swe.compare import path_rule
from pipelines.swe.duplicates import Near, Signature
from pipelines.swe.exclusions import Exclusions
from pipelines.swe.filters import IsTest
from pipelines.swe.split import split
from pipelines.swe.trees import ObjectStore
from warehouse.records import to_json
from warehouse.settings import Settings


class Screen:
    """See the module."""

    def __init__(self, settings: Settings, exclusions: Exclusions) -> None:
        self._exclusions = exclusions
        self._seen = duplicates.tasks_of(settings)

    def __call__(self, mined: Mined, is_test: IsTest | None = None) -> Mined:
        """`mined` with its signature, or its rejection. Without `is_test`, the tree's own language tells.

        Reasons: `benchmark_overlap`, those of splitting, `no_statement`, `near_duplicate`.
        """
        if mined.change is None:
            return mined
        try:
            self._not_listed(mined)
            signature = _signature(mined.change, is_test)
            self._not_seen(mined, signature)
        except Refused as refused:
            return _noted(mined, {"why": refused.detail}, refused.reason)
        self._seen.add(
            f"candidate {mined.candidate.candidate_id}", signature, owner=mined.candidate.candidate_id
        )
        return _noted(mined, {"signature": signature.to_json()})

    def _not_listed(self, mined: Mined) -> None:
        candidate = mined.candidate
        number = json.loads(candidate.detail).get("pull_request")
        refs = candidate.base_ref, candidate.gold_ref
        if listed := self._exclusions.named(candidate.repo, number, *refs):
            raise Refused("benchmark_overlap", f"{listed} is on the list of what to leave out")

    def _not_seen(self, mined: Mined, signature: Signature) -> None:
        if near := self._exclusions.texts.near(signature):
            raise Refused("benchmark_overlap", _likeness(near))
        if near := self._seen.near(signature, owner=mined.candidate.candidate_id):
            raise Refused("near_duplicate", _likeness(near))


def _signature(change: Change, is_test: IsTest | None) -> Signature:
    store = ObjectStore.open(change.store)
    rule = is_test or path_rule(store, change.gold_tree)
    parts = split(store, change.base_tree, change.gold_tree, rule)
    base, gold = store.tree(change.base_tree), store.tree(change.gold_tree)
    told = statement.draft(change, base, gold, parts.gold_patch)
    return Signature.of(told.text, parts.gold_patch)


def _likeness(near: Near) -> str:
    return f"{near.name}: patch {near.patch:.0%}, statement {near.statement:.0%} alike"


def _noted(mined: Mined, told: dict[str, Any], reason: str = "") -> Mined:
    """`mined` with more in its detail; rejected if there is a reason."""
    detail = to_json({**json.loads(mined.candidate.detail), **told})
    if not reason:
        return Mined(mined.source, mined.candidate.model_copy(update={"detail": detail}), mined.change)
    update = {"verdict": "rejected", "reason": reason, "detail": detail}
    return Mined(mined.source, mined.candidate.model_copy(update=update))
