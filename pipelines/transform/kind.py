"""A kind of transformation: how its tasks are made, and what its bundles show.

`HiddenTests` is what kinds have in common whose tasks are judged by hidden tests, as their parents are.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pipelines.family import Attempts, Context, Control, Done, Mined, Rejected
from pipelines.grading import BundleVerifier
from pipelines.swe import evidence
from pipelines.swe.compose import Draft
from pipelines.swe.validate import Origin, controls, validate
from pipelines.transform.parent import Parent
from verifiers.problems import Problem
from verifiers.verdict import Submission
from warehouse.records import Candidate, Task, content_id, to_json
from warehouse.settings import Settings

FAMILY = "transform"


class Wanted(Protocol):
    """What of the options a kind reads."""

    @property
    def variants(self) -> int: ...

    @property
    def mutants(self) -> int: ...

    @property
    def seed(self) -> int: ...


@dataclass(frozen=True)
class Item:
    """What goes from step to step: the kind, and the kind's own value."""

    kind: Kind
    value: Any


class Kind(Protocol):
    """One way of deriving tasks from parents."""

    name: ClassVar[str]

    def mine(self, parents: Sequence[Parent], options: Wanted) -> Iterator[Mined]: ...

    async def build(self, found: Mined, value: Any, context: Context) -> Done[Any] | Rejected: ...

    async def compose(self, built: Any, context: Context) -> Done[Any] | Rejected: ...

    async def validate(self, draft: Any, context: Context) -> Done[Task] | Rejected: ...

    def controls(self, bundle: Path) -> list[Control]: ...

    def partial(self, bundle: Path) -> Submission | None: ...

    def problems(self, bundle: Path, settings: Settings) -> tuple[Problem, ...]: ...

    async def leaked(self, bundle: Path, context: Context) -> tuple[Problem, ...]: ...

    def attempts(self, bundle: Path) -> Attempts: ...


def mined(
    kind: Kind,
    parents: Sequence[Parent],
    title: str,
    value: Any,
    *,
    key: object,
    detail: Mapping[str, object],
    reason: str = "",
) -> Mined:
    """A candidate made of `parents`, the first of which gives its rights; or why there is none."""
    first = parents[0]
    ids = [parent.task.task_id for parent in parents]
    record = Candidate(
        candidate_id=content_id(FAMILY, kind.name, ids, key),
        source_id=first.source.source_id,
        family=FAMILY,
        repo=first.task.repo,
        base_ref=first.candidate.base_ref,
        gold_ref=parents[-1].candidate.gold_ref,
        title=title,
        source_date=max(parent.task.source_date for parent in parents),
        verdict="rejected" if reason else "accepted",
        reason=reason,
        detail=to_json({"kind": kind.name, "parents": ids, **detail}),
    )
    return Mined(first.source, record, None if reason else Item(kind, value))


def kind_name(bundle: Path) -> str:
    """Which transformation a bundle is of."""
    with (bundle / "task.toml").open("rb") as file:
        return str(tomllib.load(file)["metadata"]["transformation"])


def lineage(kind: Kind, parents: Sequence[Parent], told: Mapping[str, Any]) -> dict[str, Any]:
    """What a bundle's metadata says of where it comes from."""
    return {
        "transformation": kind.name,
        "parents": [parent.task.task_id for parent in parents],
        **told,
    }


class HiddenTests:
    """Kinds whose tasks are graded as tasks of upstream changes are."""

    async def validated(self, draft: Draft, context: Context, origin: Origin) -> Done[Task] | Rejected:
        return await validate(draft, context, BundleVerifier(context.settings), origin)

    def controls(self, bundle: Path) -> list[Control]:
        return controls(bundle)

    def partial(self, bundle: Path) -> Submission | None:
        return evidence.partial(bundle)

    def problems(self, bundle: Path, settings: Settings) -> tuple[Problem, ...]:
        return evidence.problems(bundle, settings)

    async def leaked(self, bundle: Path, context: Context) -> tuple[Problem, ...]:
        return await evidence.leaked(bundle, context)

    def attempts(self, bundle: Path) -> Attempts:
        return evidence.attempts(bundle)
