"""Pull requests of one repository, with what is asked about them: listed once, detailed in batches, kept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from pipelines.swe.change import SourceError
from pipelines.swe.github.client import GitHub, Unanswered
from pipelines.swe.github.pulls import Detailed, Listed
from pipelines.swe.github.queries import DETAILED_AT_A_TIME, LISTED_AT_A_TIME, LISTING, details
from pipelines.swe.github.shelf import Page, Shelf


class CursorUnknown(Exception):
    """GitHub no longer knows the cursor where a listing stopped."""


class PullRequests:
    """The pull requests of one repository, asked of GitHub where the shelf does not have them."""

    def __init__(self, github: GitHub, name: str, shelf: Shelf) -> None:
        self._github = github
        self._name = name
        self._shelf = shelf

    def listed(self, since: datetime | None = None) -> Iterator[tuple[Listed, ...]]:
        """Every merged pull request, in pages: new ones, then those known before, then older ones.

        Those that were last updated before `since` may be missing.
        """
        known, told = self._shelf.all(), set[int]()
        try:
            yield from self._listing(known, told, since)
        except CursorUnknown:
            self._shelf.forget_cursors()
            yield from self._listing(known, told, since)

    def detailed(self, numbers: Sequence[int]) -> Iterator[tuple[int, Detailed | None]]:
        """(number, pull request), in order; None where GitHub has no such pull request."""
        for start in range(0, len(numbers), DETAILED_AT_A_TIME):
            batch = numbers[start : start + DETAILED_AT_A_TIME]
            asked = [number for number in batch if not isinstance(self._shelf.get(number), Detailed)]
            self._shelf.add(self._ask(asked))
            for number in batch:
                found = self._shelf.get(number)
                yield number, found if isinstance(found, Detailed) else None

    def _listing(
        self, known: list[Listed], told: set[int], since: datetime | None
    ) -> Iterator[tuple[Listed, ...]]:
        """See `listed`. `told` are the numbers that went out already; none goes out twice."""
        for fresh, met in self._shelf.listing(self._page):
            page = tuple(pull for pull in fresh if pull.number not in told)
            told.update(pull.number for pull in page)
            yield page
            if met:
                yield self._before(known, told)
            # merging is an update, so nothing below was merged later
            if since is not None and fresh and fresh[-1].updated_at < since:
                break
        yield self._before(known, told)

    def _before(self, known: list[Listed], told: set[int]) -> tuple[Listed, ...]:
        """Those of `known` that were not told yet, newest first."""
        left = [pull for pull in known if pull.number not in told]
        told.update(pull.number for pull in left)
        return tuple(sorted(left, key=lambda pull: (pull.updated_at, pull.number), reverse=True))

    def _page(self, after: str | None) -> Page:
        variables = self._variables() | {"first": LISTED_AT_A_TIME, "after": after}
        data, errors = self._github.graphql(LISTING, variables)
        if after and any("cursor" in str(error.get("message", "")).lower() for error in errors):
            raise CursorUnknown
        repository = self._repository(data, errors)
        if repository.get("isEmpty"):
            raise SourceError(
                f"The repository {self._name} is empty: there is nothing to mine.", "repository_empty"
            )
        told = repository["pullRequests"]
        pulls = tuple(Listed.model_validate(node) for node in told["nodes"] or () if node)
        info = told["pageInfo"]
        return Page(pulls, info["endCursor"], not info["hasNextPage"])

    def _ask(self, numbers: Sequence[int]) -> list[Detailed]:
        """The details that GitHub has of `numbers`; a batch too heavy for it is asked for in halves."""
        if not numbers:
            return []
        try:
            data, errors = self._github.graphql(details(numbers), self._variables())
        except Unanswered:
            if len(numbers) == 1:
                raise
            middle = len(numbers) // 2
            return self._ask(numbers[:middle]) + self._ask(numbers[middle:])
        repository = self._repository(data, errors)
        found = []
        for alias, node in repository.items():
            if node is not None and re.fullmatch(r"p\d+", alias):
                found.append(self._valid(node))
        return found

    def _valid(self, node: Any) -> Detailed:
        try:
            return Detailed.model_validate(node)
        except ValidationError as error:
            raise SourceError(
                f"What GitHub tells of {self._name} has not the shape that its schema promises "
                f"({error.error_count()} faults): is VERIFACTORY_GITHUB_URL a GitHub?",
                "answer_unreadable",
            ) from error

    def _repository(self, data: dict[str, Any], errors: list[dict[str, Any]]) -> dict[str, Any]:
        if found := data.get("repository"):
            return found
        said = str(errors[0].get("message", "no answer"))[:300] if errors else "no answer"
        raise SourceError(
            f"GitHub tells nothing of the pull requests of {self._name}: {said}", "repository_gone"
        )

    def _variables(self) -> dict[str, Any]:
        owner, _, name = self._name.partition("/")
        return {"owner": owner, "name": name}
