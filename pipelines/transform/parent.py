"""A parent: a validated task with its three trees, read from its own bundle and nothing else.

*base* is what the solver was given, *solved* is base with the gold patch, *gold* is solved with the hidden
tests. All are trees of one bare object store, so that whatever is derived of them is git's diff again.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pygit2
from pygit2.enums import ApplyLocation

from envs.languages import toolchain
from pipelines.bundles import project, verified_bundle
from pipelines.swe.change import Change, Refused
from pipelines.swe.filters import IsTest
from pipelines.swe.trees import Entry, ObjectStore, Tree
from verifiers.tests.bundle import Bundle, HiddenFiles
from warehouse.errors import FactoryError
from warehouse.query import Reader
from warehouse.records import Candidate, Environment, Record, Source, Task
from warehouse.settings import Settings


@dataclass(frozen=True)
class Parent:
    """A task to derive others from, and where its trees are."""

    task: Task
    source: Source
    candidate: Candidate
    environment: Environment
    bundle: Bundle
    store: Path
    base_tree: str
    solved_tree: str
    gold_tree: str

    @cached_property
    def objects(self) -> ObjectStore:
        return ObjectStore.open(self.store)

    @cached_property
    def solved(self) -> Tree:
        return self.objects.tree(self.solved_tree)

    @cached_property
    def gold(self) -> Tree:
        return self.objects.tree(self.gold_tree)

    @property
    def revision(self) -> str:
        """What upstream calls the gold state; draws depend on it, not on how or where the task was made."""
        return self.candidate.gold_ref

    @property
    def is_test(self) -> IsTest:
        return toolchain(self.task.language).is_test

    @property
    def deciding(self) -> tuple[str, ...]:
        """Tests that tell the solved state from the base."""
        return (*self.task.fail_to_pass, *self.task.new_tests)

    @property
    def steady(self) -> frozenset[str]:
        """Every test that has a role: it passes on the gold state, run after run."""
        return frozenset((*self.deciding, *self.task.pass_to_pass))

    def hidden(self) -> HiddenFiles:
        folder = self.bundle.tests / "hidden"
        return {file.path: (file.mode, (folder / file.path).read_bytes()) for file in self.bundle.spec.hidden}

    def touched(self) -> dict[str, set[int]]:
        """Lines of the solved tree that the gold patch added, or before which it removed some, by path."""
        return changed_lines(self.bundle.gold_patch)

    def change(self, base_tree: str, gold_tree: str, *, store: Path | None = None) -> Change:
        """A change between two trees derived of this parent, with the parent's rights."""
        return Change(
            store=store or self.store,
            base_tree=base_tree,
            gold_tree=gold_tree,
            repo=self.task.repo,
            base_ref=self.candidate.gold_ref,
            gold_ref=self.candidate.gold_ref,
            source_date=self.task.source_date,
            kind=self.source.kind,
            license=self.task.license,
            attribution=self.task.attribution,
        )


def load_parents(settings: Settings, tasks: Iterable[Task]) -> list[Parent]:
    """The parents with their records and trees; FactoryError for a bundle that is not the validated one."""
    reader = Reader(settings)
    return [_load(settings, task, reader) for task in tasks]


def _load(settings: Settings, task: Task, reader: Reader) -> Parent:
    bundle = verified_bundle(settings, task)
    candidate = _row(reader, Candidate, task.candidate_id)
    store = ObjectStore.create(settings.cache / "objects" / "tasks" / f"{task.bundle[:40]}.git")
    try:
        base = store.write_tree(project(bundle.environment / "app.tar"))
        solved = patched(store, base, bundle.gold_patch)
        hidden = {
            file.path: Entry(int(file.mode, 8), (bundle.tests / "hidden" / file.path).read_bytes())
            for file in bundle.spec.hidden
        }
        gold = store.replace(solved, {**hidden, **dict.fromkeys(bundle.spec.deleted)})
    except (Refused, pygit2.GitError) as error:
        raise FactoryError(
            f"The trees of task {task.task_id} cannot be made from its bundle: {error}."
        ) from error
    return Parent(
        task=task,
        source=_row(reader, Source, candidate.source_id),
        candidate=candidate,
        environment=_row(reader, Environment, task.environment_id),
        bundle=bundle,
        store=store.path,
        base_tree=base,
        solved_tree=solved,
        gold_tree=gold,
    )


def patched(store: ObjectStore, tree: str, patch: bytes) -> str:
    """The tree that a patch in git format makes of `tree`. Raises GitError when it does not apply."""
    if not patch.strip():
        return tree
    repository = store.repository
    with (store.path / "verifactory.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a store has one index
        index = repository.index
        index.read_tree(tree)
        index.write()
        repository.apply(pygit2.Diff.parse_diff(patch), ApplyLocation.INDEX)
        index.read(True)
        return str(index.write_tree())


def changed_lines(patch: bytes) -> dict[str, set[int]]:
    """Line numbers of the new files that a patch adds; where it only removes, the line that follows."""
    found: dict[str, set[int]] = {}
    for part in pygit2.Diff.parse_diff(patch) if patch.strip() else ():
        if part is None or part.delta.is_binary:
            continue
        lines = found.setdefault(os.fsdecode(part.delta.new_file.raw_path), set())
        for hunk in part.hunks:
            at = hunk.new_start
            for line in hunk.lines:
                if line.origin in "+-":
                    lines.add(at)
                at += line.origin in "+ "
    return found


def _row(reader: Reader, record: type[Record], key: str) -> Any:
    columns = ", ".join(record.model_fields)
    rows = reader.sql(f"SELECT {columns} FROM {record.table} WHERE {record.key[0]} = $key", {"key": key}).rows
    if not rows:
        raise FactoryError(f"The warehouse has no {record.table} row {key!r}; run the parent's source again.")
    return record.model_validate(dict(zip(record.model_fields, rows[0], strict=True)))
