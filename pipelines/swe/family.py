"""The SWE family: changes of real projects become tasks whose hidden tests fail before and pass after.

Two sources: `releases`, consecutive source releases of a package from the configured index, and `git`, a
local clone's merges and squashed pull requests. Both yield the same `Change`; everything after mining is
shared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from envs.languages import toolchain
from envs.sandbox import BuiltImage, SandboxBackend
from pipelines.family import Attempts, Context, Control, Done, Mined, Rejected
from pipelines.swe import evidence, git, releases, statement
from pipelines.swe.build import Built, build
from pipelines.swe.change import Change, Refused
from pipelines.swe.compose import Draft, compose, limits
from pipelines.swe.filters import IsTest
from pipelines.swe.image import bundle_image
from pipelines.swe.split import split
from pipelines.swe.trees import ObjectStore
from pipelines.swe.validate import controls, validate
from verifiers.problems import Problem
from verifiers.tests.bundle import Bundle
from verifiers.tests.grader import TestsVerifier
from verifiers.verdict import Haste, Submission, Verdict, Verifier
from warehouse.records import Task, to_json
from warehouse.settings import Settings


class SweOptions(BaseModel):
    """Make SWE tasks from upstream releases or from a local git clone.

    Examples:

    verifactory run swe --source releases --package cachetools --limit 5

    verifactory run swe --source git --repo ~/src/project --limit 50
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Literal["releases", "git"] = Field(
        "releases", description="releases of a package, or a local git clone."
    )
    package: tuple[str, ...] = Field((), description="Package on the configured index; repeat for more.")
    version: tuple[str, ...] = Field((), description="Only these releases, e.g. 2.1.0; repeat for more.")
    repo: tuple[Path, ...] = Field((), description="Local clone, bare or not; repeat for more.")
    branch: str | None = Field(None, description="Branch to mine; the clone's default branch if not given.")
    kinds: tuple[str, ...] = Field(
        git.DEFAULT_KINDS, description="Commits to mine: merge, squash, commit; repeat."
    )
    since: datetime | None = Field(None, description="Only changes published at or after this time.")
    until: datetime | None = Field(None, description="Only changes published before this time.")
    limit: int | None = Field(None, ge=1, description="Accepted candidates per source; none by default.")

    @field_validator("kinds")
    @classmethod
    def _known_kinds(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(kinds) - {"merge", "squash", "commit"}:
            raise ValueError(
                f"there is no kind {', '.join(sorted(unknown))}; choose of merge, squash, commit"
            )
        return kinds

    @field_validator("since", "until")
    @classmethod
    def _aware(cls, when: datetime | None) -> datetime | None:
        return when.replace(tzinfo=UTC) if when is not None and when.tzinfo is None else when

    @model_validator(mode="after")
    def _inputs_fit_the_source(self) -> SweOptions:
        needed, other = ("package", "repo") if self.source == "releases" else ("repo", "package")
        if not getattr(self, needed) or getattr(self, other):
            raise ValueError(f"--source {self.source} takes --{needed} (at least one) and no --{other}")
        if self.version and self.source != "releases":
            raise ValueError("--version goes with --source releases")
        return self

    def identity(self) -> dict[str, Any]:
        """What makes a run another run; asking for more of the same source is the same run."""
        return self.model_dump(mode="json", exclude={"package", "repo", "limit"})


class SweFamily:
    """See `pipelines.family.Family`."""

    name: ClassVar[str] = "swe"
    Options: ClassVar[type[BaseModel]] = SweOptions

    def inputs(self, options: SweOptions) -> list[str]:
        return list(options.package) if options.source == "releases" else [str(path) for path in options.repo]

    def mine(self, source: str, options: SweOptions, settings: Settings) -> Iterator[Mined]:
        """The candidates; those that their licence, size, split or statement rules out are rejected here."""
        is_test = toolchain("python").is_test
        if options.source == "git":
            is_test = git.path_rule(source, settings, options.branch)
        if options.source == "releases":
            found = releases.mine(
                source,
                settings,
                is_test=is_test,
                since=options.since,
                until=options.until,
                versions=options.version,
            )
        else:
            found = git.mine(
                source, settings, is_test=is_test,
                since=options.since, until=options.until, kinds=options.kinds, branch=options.branch,
            )  # fmt: skip
        return (screened(mined, is_test) for mined in found)

    async def build(self, mined: Mined, context: Context) -> Done[Built] | Rejected:
        return await build(mined, context)

    async def compose(self, built: Built, context: Context) -> Done[Draft] | Rejected:
        return await compose(built, context)

    async def validate(self, draft: Draft, context: Context) -> Done[Task] | Rejected:
        return await validate(draft, context, self.verifier(context.settings))

    def verifier(self, settings: Settings) -> Verifier:
        return SweVerifier(settings)

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


class SweVerifier:
    """Hidden tests in the bundle's own environment, built again from the bundle where its image is gone."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def grade(
        self, bundle: Path, submission: Submission, sandboxes: SandboxBackend, haste: Haste | None = None
    ) -> Verdict:
        async def image_for(loaded: Bundle) -> BuiltImage:
            return await bundle_image(loaded, sandboxes, self.settings)

        verifier = TestsVerifier(image_for, limits=limits(self.settings), runtime=self.settings.runtime)
        return await verifier.grade(bundle, submission, sandboxes, haste)


def screened(mined: Mined, is_test: IsTest) -> Mined:
    """`mined`, or its rejection when it cannot be split or nothing says what it is about."""
    if mined.change is None:
        return mined
    change: Change = mined.change
    store = ObjectStore.open(change.store)
    try:
        parts = split(store, change.base_tree, change.gold_tree, is_test)
        base, gold = store.tree(change.base_tree), store.tree(change.gold_tree)
        statement.draft(change, base, gold, parts.gold_patch)
    except Refused as refused:
        detail = to_json({**json.loads(mined.candidate.detail), "why": refused.detail})
        update = {"verdict": "rejected", "reason": refused.reason, "detail": detail}
        return Mined(mined.source, mined.candidate.model_copy(update=update))
    return mined
