"""What tests of the GitHub source share: a server, settings that lead to it, a repository on it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from github_server import FakeGitHub
from github_upstream import Upstream

from warehouse.settings import Settings


@pytest.fixture
def server() -> Iterator[FakeGitHub]:
    with FakeGitHub().running() as running:
        yield running


@pytest.fixture
def settings(server: FakeGitHub, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home", cache=tmp_path / "cache", github_url=server.url, github_tokens="secret-one"
    )


@pytest.fixture
def upstream(server: FakeGitHub, tmp_path: Path) -> Upstream:
    return server.add(Upstream(tmp_path / "upstream", "ann/calc")).start()
