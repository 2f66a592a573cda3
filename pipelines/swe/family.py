"""The SWE family: changes of real projects become tasks whose hidden tests fail before and pass after.

Three sources: `releases`, consecutive source releases of a package from the configured index, `git`, a local
clone's merges and squashed pull requests, and `github`, merged pull requests with their issues. All yield the
same `Change`; everything after mining is shared, and so is the screen that mined changes pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from envs.languages import toolchain
from pipelines.family import Attempts, Context, Control, Done, Mined, Rejected
from pipelines.grading import BundleVerifier
from pipelines.swe import evidence, git, kinds, releases
from pipelines.swe.build import Built, build
from pipelines.swe.change import SourceError
from pipelines.swe.compose import Draft, compose
from pipelines.swe.exclusions import Exclusions
from pipelines.swe.github.archive import closed_pulls
from pipelines.swe.routes import routed
from pipelines.swe.screen import Screen
from pipelines.swe.validate import controls, validate
from verifiers.problems import Problem
from verifiers.verdict import Submission, Verifier
from warehouse.records import Task
from warehouse.settings import Settings

REPOSITORY_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,38}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}$")

# What each source is told to mine.
INPUTS: Mapping[str, tuple[str, ...]] = {
    "releases": ("package",),
    "git": ("repo",),
    "github": ("repo_name", "query", "archive"),
}


class SweOptions(BaseModel):
    """Make SWE tasks from upstream releases, a local git clone, or GitHub.

    Examples:

    verifactory run swe --source releases --package cachetools --limit 5

    verifactory run swe --source git --repo ~/src/project --limit 50

    verifactory run swe --source github --repo-name tkem/cachetools --limit 50

    verifactory run swe --source github --query 'language:python stars:>500' --repositories 100 --limit 20
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Literal["releases", "git", "github"] = Field(
        "releases", description="releases of a package, a local git clone, or pull requests on GitHub."
    )
    package: tuple[str, ...] = Field((), description="Package on the configured index; repeat for more.")
    version: tuple[str, ...] = Field((), description="Only these releases, e.g. 2.1.0; repeat for more.")
    repo: tuple[Path, ...] = Field((), description="Local clone, bare or not; repeat for more.")
    repo_name: tuple[str, ...] = Field((), description="Repository on GitHub, owner/name; repeat for more.")
    query: str | None = Field(None, description="GitHub search for repositories, as on its search page.")
    archive: tuple[Path, ...] = Field(
        (), description="Hour of GH Archive (.json.gz): only pull requests closed in it; repeat for more."
    )
    repositories: int = Field(20, ge=1, description="Most repositories taken from a search or an archive.")
    exclude: tuple[Path, ...] = Field(
        (), description="Benchmark ids or repositories to leave out: a list, or a Parquet, JSON or CSV table."
    )
    branch: str | None = Field(
        None,
        description="Branch to mine. If not given: a clone's default branch; on GitHub, every branch.",
    )
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

    @field_validator("repo_name")
    @classmethod
    def _known_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [name for name in names if not REPOSITORY_NAME.match(name)]:
            raise ValueError(f"{wrong[0]!r} is no repository on GitHub; write it as owner/name")
        return names

    @model_validator(mode="after")
    def _inputs_fit_the_source(self) -> SweOptions:
        needed = INPUTS[self.source]
        others = [name for names in INPUTS.values() for name in names if name not in needed]
        if not any(getattr(self, name) for name in needed) or any(getattr(self, name) for name in others):
            takes, none = (
                " or ".join(f"--{name.replace('_', '-')}" for name in names) for names in (needed, others)
            )
            raise ValueError(f"--source {self.source} takes {takes} (at least one) and no {none}")
        if self.version and self.source != "releases":
            raise ValueError("--version goes with --source releases")
        return self

    def identity(self) -> dict[str, Any]:
        """What makes a run another run; asking for more of the same source is the same run."""
        asked = {name for names in INPUTS.values() for name in names} | {"limit", "repositories"}
        return self.model_dump(mode="json", exclude=asked if self.exclude else asked | {"exclude"})


class SweFamily:
    """See `pipelines.family.Family`."""

    name: ClassVar[str] = "swe"
    Options: ClassVar[type[BaseModel]] = SweOptions

    def inputs(self, options: SweOptions) -> list[str]:
        match options.source:
            case "releases":
                return list(options.package)
            case "git":
                return [str(path) for path in options.repo]
            case _:
                return _repositories(options)

    def mine(self, source: str, options: SweOptions, settings: Settings) -> Iterator[Mined]:
        """The candidates; those that the screen does not let through are rejected here."""
        screen = Screen(settings, Exclusions.read(options.exclude))
        if options.source == "github":
            for mined in self._mine_github(source, options, settings):
                yield kinds.tagged(screen(mined))
            return
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
        for mined in found:
            yield kinds.tagged(screen(mined, is_test), is_test)

    def _mine_github(self, source: str, options: SweOptions, settings: Settings) -> Iterator[Mined]:
        # PyGithub takes a third of a second to import, which no other command should pay
        from pipelines.swe.github import source as github

        numbers = closed_pulls(options.archive).get(source, ()) if options.archive else None
        return github.mine(
            source, settings,
            since=options.since, until=options.until, branch=options.branch, numbers=numbers,
        )  # fmt: skip

    async def build(self, mined: Mined, context: Context) -> Done[Built] | Rejected:
        return await build(mined, context)

    async def compose(self, built: Built, context: Context) -> Done[Draft] | Rejected:
        composed = await compose(built, context)
        return await routed(composed.value, context) if isinstance(composed, Done) else composed

    async def validate(self, draft: Draft, context: Context) -> Done[Task] | Rejected:
        return await validate(draft, context, self.verifier(context.settings))

    def verifier(self, settings: Settings) -> Verifier:
        return BundleVerifier(settings)

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


def _repositories(options: SweOptions) -> list[str]:
    """Names of the repositories to mine, in the order they were given or found; each once."""
    names = list(options.repo_name)
    settings = Settings()
    if options.query:
        from pipelines.swe.github import repositories
        from pipelines.swe.github.client import GitHub

        asked = GitHub(settings)
        names += repositories.search(asked, options.query, settings.licenses, options.repositories)
    if options.archive:
        hours = closed_pulls(options.archive)
        busiest = [name for name in hours if REPOSITORY_NAME.match(name)]
        names = [name for name in names if name in hours] if names else busiest[: options.repositories]
    if not names:
        raise SourceError(
            "No repository is left to mine: nothing was found under a permitted licence, or the archive has "
            "no pull request of those named. Widen --query, or name repositories with --repo-name.",
            "nothing_found",
        )
    return list(dict.fromkeys(names))
