"""Text written to keep the miner busy for ever, or to break it: mining reads it in our own process."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.swe import changelog, git, interface
from pipelines.swe.licenses import identify
from pipelines.swe.markup import clean
from pipelines.swe.trees import FILE, Entry, ObjectStore

pytestmark = pytest.mark.timeout(60)  # each took longer than anybody waited


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore.create(tmp_path / "store.git")


@pytest.mark.parametrize("unit", ["gh-1", "#1", "pr1", "issue1", "1"])
def test_references_that_never_close(unit: str) -> None:
    clean(f"({unit * 300}!\n" * 20)


@pytest.mark.parametrize("reference", ["#a", "#a,", "A-", "https://a,"])
def test_messages_that_close_too_much(reference: str) -> None:
    assert git.described(f"Subject\n\nCloses {reference * 5000} x y")


def test_references_still_go() -> None:
    assert clean("Mend it (#1, gh-22 and pr 3)") == "Mend it"
    assert git.described("Mend it\n\nCloses #1, #2 and https://example.org/3.") == "Mend it"


@pytest.mark.parametrize("line", [" " * 2_000_000, "-" * 2_000_000])
def test_changelogs_of_one_line(line: str) -> None:
    assert changelog.section([line, "x"], "1.0") == ""


@pytest.mark.parametrize("name", ["LICENSE", "setup.py"])
@pytest.mark.parametrize("text", [b"\n" * 199_000, b" " * 199_000, "©".encode() * 90_000, b"-" * 199_000])
def test_licences_of_nothing(store: ObjectStore, name: str, text: bytes) -> None:
    assert identify(store.tree(store.write_tree({name: Entry(FILE, text)}))).spdx == ""


@pytest.mark.parametrize(
    "text",
    [
        "project = 5", "tool = 5", "[tool]\npoetry = 5", "[project]\nauthors = 5\nclassifiers = 5",
        "package = 5", "[package]\nauthors = 5",
    ],
)  # fmt: skip
def test_metadata_of_other_types(store: ObjectStore, text: str) -> None:
    name = "Cargo.toml" if "package" in text else "pyproject.toml"
    assert identify(store.tree(store.write_tree({name: Entry(FILE, text.encode())}))).spdx == ""


def test_long_chains_of_elif() -> None:
    source = "if x == 0:\n    y = 1\n" + "".join(f"elif x == {i}:\n    y{i} = 1\n" for i in range(2500))
    assert "y2499" in {definition.name for definition in interface.definitions("a.py", source.encode())}
