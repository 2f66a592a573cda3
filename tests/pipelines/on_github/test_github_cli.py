"""The real command against the server: what it tells, records and keeps to itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from cli_command import Command
from github_server import FakeGitHub
from github_upstream import Upstream

from warehouse.query import Reader

pytestmark = pytest.mark.prefect


@pytest.fixture
def command(server: FakeGitHub, tmp_path: Path) -> Command:
    return Command(
        tmp_path,
        {
            "VERIFACTORY_GITHUB_URL": server.url, "VERIFACTORY_GITHUB_TOKENS": "secret-one",
            "VERIFACTORY_CACHE": str(tmp_path / "cache"), "DOCKER_HOST": "unix:///nonexistent/docker.sock",
        },
    )  # fmt: skip


def test_a_rate_limit_in_the_middle_is_told_recorded_and_resumed(
    command: Command, server: FakeGitHub, upstream: Upstream
) -> None:
    upstream.pull(
        "Explain", {"docs/index.md": "words\n"}, body="It was not explained to anybody how this is used."
    )
    upstream.pull("Untested", {"pkg/a.py": "A = 7\n"}, body="The value of A was not seven when it was read.")
    arguments = ("run", "swe", "--source", "github", "--repo-name", "ann/calc", "--repo-name", "ann/gone")
    server.accounts["secret-one"].left["graphql"] = 1
    ended = command.run(*arguments)
    assert ended.status == 1, ended
    assert len(ended.sentences) == 2, ended.stderr
    assert "rate limit (graphql) is used up" in ended.sentences[0]
    assert "ann/gone is not there" in ended.sentences[1]
    rows = "SELECT item, outcome, reason FROM events WHERE stage = 'source' ORDER BY item, attempt"
    assert Reader(command.settings).sql(rows).rows == [
        ("ann/calc", "failed", "rate_limited"),
        ("ann/gone", "failed", "repository_gone"),
    ]

    server.accounts["secret-one"].left["graphql"] = 100
    server.asked.clear()
    ended = command.run(*arguments[:-2])
    assert ended.status == 0, ended.stderr
    found = "SELECT title, reason FROM candidates ORDER BY title"
    assert Reader(command.settings).sql(found).rows == [
        ("Explain", "docs_only"),
        ("Untested", "no_test_change"),
    ]
    assert Reader(command.settings).sql(rows).rows[1] == ("ann/calc", "ok", "")
    assert server.times("Listing") == 1

    kept = [path for path in command.folder.rglob("*") if path.is_file()]
    assert [path for path in kept if b"secret-one" in path.read_bytes()] == []
    assert "secret-one" not in ended.stdout + ended.stderr


def test_the_help_shows_the_source_with_an_example(command: Command) -> None:
    ended = command.run("run", "swe", "--help")
    assert ended.status == 0
    assert "verifactory run swe --source github --repo-name tkem/cachetools --limit 50" in ended.stdout
    for option in ("--repo-name", "--query", "--archive", "--exclude", "--repositories"):
        assert option in ended.stdout
