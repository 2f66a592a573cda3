"""Which repositories are mined: those named, or those a search finds under a permitted licence.

A search of GitHub tells at most 1,000 results, so one with more is cut into windows of creation dates until
each part fits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pipelines.swe.change import SourceError
from pipelines.swe.github.client import PER_PAGE, GitHub, NotFound
from warehouse.settings import Settings
from warehouse.spdx import permits

FOUND_AT_MOST = 1000
FIRST_DAY = date(2007, 10, 1)  # GitHub has no older repository
NOT_TOLD = ("", "NOASSERTION", "OTHER")


@dataclass(frozen=True)
class Repository:
    """A repository that may be mined. `name` is its present owner/name, however it was asked for."""

    name: str
    clone_url: str
    url: str
    license: str


def repository(github: GitHub, name: str, settings: Settings) -> Repository:
    """The repository called `name`.

    Raises SourceError: `repository_gone`, `repository_private`, `repository_disabled`,
    `repository_too_large`, `license_not_permitted`.
    """
    try:
        told = github.get(f"/repos/{name}")
    except NotFound as error:
        why = (
            "was taken down"
            if error.status == 451
            else "is not there: deleted, renamed without a trace, or private"
        )
        raise SourceError(
            f"The repository {name} {why} ({error}); check the name.", "repository_gone"
        ) from error
    if told.get("private"):
        raise SourceError(
            f"The repository {name} is private: clone it, and mine the clone with --source git.",
            "repository_private",
        )
    if told.get("disabled"):
        raise SourceError(f"The repository {name} is disabled by GitHub.", "repository_disabled")
    if told["size"] > settings.github_repository_mb * 1024:
        raise SourceError(
            f"The repository {name} has {told['size'] // 1024} MiB, more than the setting "
            f"github_repository_mb ({settings.github_repository_mb}) allows.",
            "repository_too_large",
        )
    license = spdx(told)
    if license not in NOT_TOLD and not permits(license, settings.licenses):
        raise SourceError(
            f"The repository {name} is under {license}, which the setting licenses does not allow.",
            "license_not_permitted",
        )
    return Repository(told["full_name"], told["clone_url"], told["html_url"], license)


def search(github: GitHub, query: str, allowed: Collection[str], wanted: int) -> list[str]:
    """Names of repositories that `query` finds and whose licence is allowed, most stars first.

    Raises SourceError `query_invalid`.
    """
    found: dict[str, int] = {}
    for told in _all(github, query, wanted):
        if permits(spdx(told) or "none", allowed) and not told.get("private"):
            found.setdefault(told["full_name"], told["stargazers_count"])
    return sorted(found, key=lambda name: (-found[name], name))[:wanted]


def spdx(told: dict[str, Any]) -> str:
    return str((told.get("license") or {}).get("spdx_id") or "")


def _all(github: GitHub, query: str, wanted: int) -> Iterator[dict[str, Any]]:
    first = _page(github, query, 1)
    if first["total_count"] <= FOUND_AT_MOST or wanted <= PER_PAGE or "created:" in query:
        yield from _pages(github, query, first)
        return
    today = datetime.now(UTC).date()
    yield from _window(github, query, FIRST_DAY, today)


def _window(github: GitHub, query: str, since: date, until: date) -> Iterator[dict[str, Any]]:
    """Everything created from `since` to `until`, both included."""
    dated = f"{query} created:{since:%Y-%m-%d}..{until:%Y-%m-%d}"
    first = _page(github, dated, 1)
    if first["total_count"] > FOUND_AT_MOST and since < until:
        middle = since + timedelta(days=(until - since).days // 2)
        yield from _window(github, query, since, middle)
        yield from _window(github, query, middle + timedelta(days=1), until)
    else:
        yield from _pages(github, dated, first)


def _pages(github: GitHub, query: str, first: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from first["items"]
    pages = -(-min(first["total_count"], FOUND_AT_MOST) // PER_PAGE)
    for number in range(2, pages + 1):
        yield from _page(github, query, number)["items"]


def _page(github: GitHub, query: str, number: int) -> dict[str, Any]:
    asked = {"q": query, "sort": "stars", "order": "desc", "per_page": PER_PAGE, "page": number}
    try:
        return github.get("/search/repositories", asked, resource="search")
    except NotFound as error:
        raise SourceError(
            f"GitHub cannot search for {query!r} ({error}): write it as on its search page, e.g. "
            "'language:python stars:>500'.",
            "query_invalid",
        ) from error
