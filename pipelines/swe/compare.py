"""Two trees of one store become a change, or the reason why not: the same for every source that has commits.

Cheap questions come first: which paths differ is one tree comparison and settles most changes; then how many
bytes differ; only then is each tree read through, and its licence as of that revision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import pygit2

from envs.languages import detect, toolchain
from envs.languages.tree import Tree
from pipelines.family import Mined
from pipelines.swe import licenses
from pipelines.swe.change import Change, Refused, candidate
from pipelines.swe.filters import Facts, IsTest, disqualified, sort_paths
from pipelines.swe.trees import ObjectStore, admit
from warehouse.records import Source
from warehouse.settings import Settings


@dataclass(frozen=True)
class About:
    """What a source says of a change besides its trees. `texts` is asked only when the change qualifies."""

    kind: str
    repo: str
    base_ref: str
    gold_ref: str
    title: str
    source_date: datetime
    author: str
    texts: Callable[[], tuple[str, ...]]
    linked: Callable[[], tuple[tuple[str, str], ...]] = tuple


@dataclass(frozen=True)
class Compared:
    """The outcome, with the facts and the licence as far as they were found."""

    about: About
    facts: Facts
    license: licenses.License
    outcome: Change | Refused

    def mined(self, source: Source) -> Mined:
        return candidate(
            source,
            repo=self.about.repo,
            base_ref=self.about.base_ref,
            gold_ref=self.about.gold_ref,
            title=self.about.title[:200],
            source_date=self.about.source_date,
            facts=self.facts,
            outcome=self.outcome,
        )


UNREAD = licenses.License("", "not read", "")


def qualify(facts: Facts) -> Facts:
    """The facts themselves. Raises Refused with the first rule that they break."""
    if reason := disqualified(facts):
        raise Refused(reason)
    return facts


def path_rule(store: ObjectStore, tree_id: str) -> IsTest:
    """Which paths are tests, by the toolchain that a tree is of; by Python's where it is of none."""
    view = store.tree(tree_id)
    found = detect(Tree(files=view, modes=view.modes))
    return (found or toolchain("python")).is_test


def compare(
    store: ObjectStore,
    trees: tuple[str, str],
    about: About,
    facts: Facts,
    *,
    is_test: IsTest,
    settings: Settings,
) -> Compared:
    """Compare a base and a gold tree, whose files are all there."""
    license = UNREAD
    try:
        facts = replace(facts, paths=sort_paths(store.changed_paths(*trees), is_test))
        qualify(facts)
        facts = qualify(replace(facts, changed_bytes=store.changed_bytes(*trees)))
        base, gold = admit(store, trees[0]), admit(store, trees[1])
        license = licenses.permitted(store, (base.tree, gold.tree), settings.licenses)
        outcome: Change | Refused = Change(
            store=store.path,
            base_tree=base.tree,
            gold_tree=gold.tree,
            repo=about.repo,
            base_ref=about.base_ref,
            gold_ref=about.gold_ref,
            source_date=about.source_date,
            kind=about.kind,
            license=license.spdx,
            attribution=license.attribution or about.author,
            texts=about.texts(),
            linked=about.linked(),
            notes=tuple(dict.fromkeys((*base.notes, *gold.notes))),
        )
    except Refused as refused:
        outcome = refused
    except (KeyError, pygit2.GitError) as error:
        outcome = Refused("missing_objects", str(error))
    return Compared(about, facts, license, outcome)
