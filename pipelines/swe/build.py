"""Build: a mined change becomes an environment image, with its split into gold patch and hidden tests."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from envs.builder import BuildFailure, BuiltEnvironment, build_environment
from envs.languages import Toolchain, Upstream, detect
from envs.languages.tree import Tree
from envs.sandbox import SandboxError
from pipelines.family import Context, Done, Mined, Rejected
from pipelines.swe.change import Change, Refused
from pipelines.swe.split import SplitChange, split
from pipelines.swe.trees import ObjectStore
from warehouse.artifacts import ArtifactStore
from warehouse.records import Artifact

# Reasons of a build that say nothing about the change: it is tried again.
TRANSIENT = ("network_failed", "disk_full", "model_unavailable")


@dataclass(frozen=True)
class Built:
    """A change in an environment."""

    mined: Mined
    change: Change
    split: SplitChange
    environment: BuiltEnvironment
    toolchain: Toolchain
    base_paths: frozenset[str]
    touched: frozenset[str]


async def build(mined: Mined, context: Context) -> Done[Built] | Rejected:
    """Split the change and build the environment of its base tree."""
    change: Change = mined.change
    store = ObjectStore.open(change.store)
    base, gold = _tree(store, change.base_tree), _tree(store, change.gold_tree)
    toolchain = detect(gold)
    if toolchain is None:
        return Rejected("unsupported_language", "no toolchain claims the tree")
    try:
        parts = await asyncio.to_thread(split, store, change.base_tree, change.gold_tree, toolchain.is_test)
    except Refused as refused:
        return Rejected(refused.reason, refused.detail)
    touched = frozenset(
        path
        for _, old, new in store.deltas(change.base_tree, parts.solved_tree)
        for path in (old, new)
        if path
    )
    pattern = toolchain.compiled
    if compiled := sorted(path for path in touched if pattern and re.search(pattern, path)):
        return Rejected(
            "compiled_change", f"{', '.join(compiled[:3])} would have to be compiled after a patch"
        )
    upstream = Upstream(
        name=PurePosixPath(change.repo).name,
        version=change.base_ref if change.kind == "releases" else "",
        date=change.source_date,
        base=base,
        gold=gold,
    )
    outcome = await build_environment(
        upstream,
        backend=context.sandboxes,
        settings=context.settings,
        workdir=context.workdir / "environments",
        toolchain=toolchain,
    )
    said, log = _stored(outcome, ArtifactStore(context.settings))
    if isinstance(outcome, BuildFailure):
        if outcome.reason in TRANSIENT:
            raise SandboxError(outcome.detail)
        return Rejected(outcome.reason, outcome.detail, records=(*said, log))
    built = Built(mined, change, parts, outcome, toolchain, frozenset(base), touched)
    return Done(built, records=(outcome.record(log.sha256), *said, log))


def _stored(
    outcome: BuiltEnvironment | BuildFailure, store: ArtifactStore
) -> tuple[tuple[Artifact, ...], Artifact]:
    """What a model said, if anything, and the build log, which names it."""
    if not outcome.transcript:
        return (), store.put(outcome.log.encode(), kind="build_log")
    said = store.put(outcome.transcript, kind="repair_transcript")
    log = f"{outcome.log}\n=== what the model said\nartifact {said.sha256}\n"
    return (said,), store.put(log.encode(), kind="build_log")


def _tree(store: ObjectStore, tree_id: str) -> Tree:
    view = store.tree(tree_id)
    return Tree(files=view, modes=view.modes)
