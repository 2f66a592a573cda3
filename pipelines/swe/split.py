"""Splitting a change into what a solver has to write and what it is judged by.

A file is test or source by the toolchain's path rule. The gold patch leads from the base tree to the
*solved* tree: the gold tree with the base's test files. It holds everything upstream changed outside the
tests, documentation, changelog and version numbers included, because tests do read those; only metadata
that packaging tools generate (`PKG-INFO`, `*.egg-info`) keeps its base state. The hidden tests are the
gold tree's added and changed test files, kept whole, and the list of those it deleted; nothing of them is
in the gold patch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.swe.change import Refused
from pipelines.swe.filters import ChangeLimits, IsTest, kind_of
from pipelines.swe.trees import Blob, Entry, ObjectStore


@dataclass(frozen=True)
class SplitChange:
    """A change, split: base tree → gold patch → solved tree; with the hidden tests that is the gold tree."""

    solved_tree: str
    gold_patch: bytes
    test_patch: bytes
    hidden: Mapping[str, Entry]
    deleted_tests: tuple[str, ...]


def split(
    store: ObjectStore, base_tree: str, gold_tree: str, is_test: IsTest, limits: ChangeLimits | None = None
) -> SplitChange:
    """Split the change from `base_tree` to `gold_tree`.

    Raises Refused: `no_test_change`, `no_source_change`, `too_large`, `path_conflict`.
    """
    limits = limits or ChangeLimits()
    base, gold = _blobs(store, base_tree), _blobs(store, gold_tree)
    differing = sorted(path for path in base.keys() | gold.keys() if base.get(path) != gold.get(path))
    kinds = {path: kind_of(path, is_test) for path in differing}
    tests = [path for path in differing if kinds[path] == "test"]
    sources = [path for path in differing if kinds[path] not in ("test", "generated")]
    if not tests:
        raise Refused("no_test_change", "no test file differs")
    if not any(kinds[path] in ("source", "vendored") for path in sources):
        raise Refused("no_source_change", "only tests and documentation differ")

    solved_tree = store.replace(base_tree, {path: gold.get(path) for path in sources})
    hidden_blobs = {path: gold.get(path) for path in tests}
    tested_tree = store.replace(base_tree, hidden_blobs)
    gold_patch, test_patch = store.diff(base_tree, solved_tree), store.diff(base_tree, tested_tree)
    if len(gold_patch) > limits.patch_bytes:
        raise Refused("too_large", f"the gold patch has {len(gold_patch)} bytes")
    hidden = {path: Entry(blob.mode, store.read(blob.oid)) for path, blob in hidden_blobs.items() if blob}
    return SplitChange(
        solved_tree=solved_tree,
        gold_patch=gold_patch,
        test_patch=test_patch,
        hidden=hidden,
        deleted_tests=tuple(path for path, blob in hidden_blobs.items() if blob is None),
    )


def _blobs(store: ObjectStore, tree_id: str) -> dict[str, Blob]:
    return dict(store.walk(tree_id))
