"""Which repositories are mined: searches, GH Archive hours, and the options that name them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from github_server import FakeGitHub
from github_upstream import Upstream
from pydantic import ValidationError

from pipelines.swe.change import SourceError
from pipelines.swe.family import SweFamily, SweOptions
from pipelines.swe.github.archive import closed_pulls
from pipelines.swe.github.client import GitHub
from pipelines.swe.github.repositories import search
from warehouse.settings import PERMISSIVE, Settings


def _listed(server: FakeGitHub, count: int, folder: Path, **facts: Any) -> None:
    shared = Upstream(folder, "ann/shared")
    for i in range(count):
        created = f"20{10 + i % 15:02}-{1 + i % 12:02}-{1 + i % 28:02}T00:00:00Z"
        made = Upstream.__new__(Upstream)
        made.folder, made.pulls, made.day = shared.folder, [], 0
        made.name, made.facts = f"ann/r{i:04}", {"stars": i, "created": created, **facts}
        server.add(made)


def test_a_search_keeps_what_is_permitted_most_stars_first(
    server: FakeGitHub, settings: Settings, tmp_path: Path
) -> None:
    _listed(server, 120, tmp_path / "x")
    for i, license in ((7, "GPL-3.0"), (119, None), (118, "NOASSERTION")):
        server.upstreams[f"ann/r{i:04}"].facts["license"] = license
    server.upstreams["ann/r0117"].facts["private"] = True
    found = search(GitHub(settings, pause=0), "calc", PERMISSIVE, 1000)
    assert found[:2] == ["ann/r0116", "ann/r0115"]
    assert len(found) == 116
    assert server.times("/search") == 2


def test_a_search_with_too_many_results_is_cut_by_date(
    server: FakeGitHub, settings: Settings, tmp_path: Path
) -> None:
    _listed(server, 1700, tmp_path / "x")
    server.accounts["secret-one"].left["search"] = 500
    found = search(GitHub(settings, pause=0), "calc", PERMISSIVE, 5000)
    assert len(found) == len(set(found)) == 1700
    assert all(len(asked.query["q"]) == 1 for asked in server.asked)


def test_a_search_that_github_does_not_understand(server: FakeGitHub, settings: Settings) -> None:
    with pytest.raises(SourceError, match="search for") as caught:
        search(GitHub(settings, pause=0), " ", PERMISSIVE, 5)
    assert caught.value.reason == "query_invalid"


def _event(repo: str, number: int, **more: Any) -> dict[str, Any]:
    event = {
        "id": "1", "type": "PullRequestEvent", "repo": {"id": 1, "name": repo, "url": "x"},
        "payload": {"action": "closed", "number": number, "pull_request": {"number": number, "merged": True}},
        "public": True, "created_at": "2024-01-01T00:00:00Z", "actor": {"login": "ann"},
    }  # fmt: skip
    return event | more


@pytest.fixture
def hours(tmp_path: Path) -> tuple[Path, ...]:
    """Two hours: one told in full, one trimmed."""
    full = [
        _event("ann/calc", 3), _event("ann/calc", 3), _event("ann/calc", 5), _event("bob/x", 1),
        _event("ann/calc", 6, payload={"action": "closed", "number": 6, "pull_request": {"merged": False}}),
        _event("ann/calc", 7, payload={"action": "opened", "number": 7, "pull_request": {}}),
        _event("ann/calc", 8, type="PushEvent", payload={"push_id": 1, "commits": [{"sha": "x"}]}),
    ]  # fmt: skip
    trimmed = [
        _event("ann/calc", 9, payload={"action": "merged", "number": 9}),
        _event("bob/y", 2, payload={"action": "closed", "pull_request": {"number": 2, "id": 5}}),
    ]
    paths = []
    for name, events in (("2024-01-01-0.json.gz", full), ("2025-11-01-0.json.gz", trimmed)):
        path = tmp_path / name
        path.write_bytes(gzip.compress("".join(json.dumps(event) + "\n" for event in events).encode()))
        paths.append(path)
    return tuple(paths)


def test_hours_tell_which_pull_requests_were_closed(hours: tuple[Path, ...]) -> None:
    assert closed_pulls(hours) == {"ann/calc": (9, 5, 3), "bob/x": (1,), "bob/y": (2,)}


BROKEN = {
    "no-gzip": b"not gzip",
    "no-json": gzip.compress(b"[1, 2"),
    "torn": gzip.compress(b'{"type": "Pull'),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_no_hour(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "hour.json.gz"
    path.write_bytes(data)
    with pytest.raises(SourceError, match="no hour of GH Archive") as caught:
        closed_pulls((path,))
    assert caught.value.reason == "archive_unreadable"


def test_inputs_come_from_names_searches_and_hours(
    server: FakeGitHub,
    settings: Settings,
    hours: tuple[Path, ...],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("VERIFACTORY_GITHUB_URL", server.url)
    monkeypatch.setenv("VERIFACTORY_GITHUB_TOKENS", "secret-one")
    monkeypatch.setenv("VERIFACTORY_HOME", str(settings.home))
    _listed(server, 3, tmp_path / "x")

    def inputs(**options: Any) -> list[str]:
        return SweFamily().inputs(SweOptions(source="github", **options))

    assert inputs(repo_name=("b/c", "a/b", "b/c")) == ["b/c", "a/b"]
    assert inputs(query="calc", repositories=2) == ["ann/r0002", "ann/r0001"]
    assert inputs(archive=hours, repositories=2) == ["ann/calc", "bob/x"]
    assert inputs(archive=hours, repo_name=("bob/y", "no/where")) == ["bob/y"]
    with pytest.raises(SourceError, match="No repository"):
        inputs(archive=hours, repo_name=("no/where",))


@pytest.mark.parametrize(
    "options",
    [
        {"source": "github"},
        {"source": "github", "package": ("x",), "repo_name": ("a/b",)},
        {"source": "git", "repo_name": ("a/b",)},
        {"source": "github", "repo_name": ("https://example.org/a/b",)},
        {"source": "github", "repo_name": ("a/..",)},
        {"source": "github", "repo_name": ("a/b/c",)},
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SweOptions(**options)


def test_asking_for_more_is_the_same_run() -> None:
    few = SweOptions(source="github", repo_name=("a/b",), limit=3)
    more = SweOptions(source="github", query="x", limit=9, repositories=50)
    assert few.identity() == more.identity()
    assert few.identity() != SweOptions(source="github", repo_name=("a/b",), exclude=(Path("x"),)).identity()
