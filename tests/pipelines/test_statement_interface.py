"""The interface section: the names that tests need, with signatures and never with bodies."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from pipelines.swe.interface import definitions, module_name, names_interface, needed, section
from pipelines.swe.trees import FILE, Entry, ObjectStore

BASE = {"src/pkg/a.py": b"def old(x):\n    return x\n\nclass Thing:\n    def run(self):\n        pass\n"}
GOLD = {
    "src/pkg/a.py": b'''
from .b import helper
LIMIT: int = 3
def old(x, strict=False, *, depth=1):
    return x
async def fetch(url: str, *args, retries: int = 3) -> bytes:
    """Get the bytes. Then the secret: do_it()."""
    SECRET = 1
class Thing:
    def run(self):
        pass
    def stop(self, when: float = 0.0) -> None:
        "Stop it."
    @property
    def name(self):
        return "n"
class New(Thing):
    """A new thing."""
    def __init__(self, size, unused=None):
        self.size = size
def private(): ...
''',
    "src/pkg/b.py": b'"""Helpers for a."""\ndef helper(): ...\n',
}
TESTS = {
    "tests/test_a.py": b"""
from pkg.a import fetch, New, old
import pkg.b
def test(monkeypatch):
    old(1, strict=True)
    New(3).stop(when=1)
    assert Thing().name
    monkeypatch.setattr("pkg.a.LIMIT", 4)
"""
}


def is_test(path: str) -> bool:
    return PurePosixPath(path).parts[0] == "tests"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    return ObjectStore.create(tmp_path_factory.mktemp("interface") / "objects.git")


def entries(files: dict[str, bytes]) -> dict[str, Entry]:
    return {path: Entry(FILE, data) for path, data in files.items()}


def test_needed_names(store: ObjectStore) -> None:
    base, gold = store.tree(store.write_tree(entries(BASE))), store.tree(store.write_tree(entries(GOLD)))
    found = needed(base, gold, list(GOLD), entries(TESTS), is_test)
    assert [(d.kind, d.qualname or d.module) for d in found] == [
        ("attribute", "LIMIT"),
        ("class", "New"),
        ("method", "Thing.name"),
        ("method", "Thing.stop"),
        ("function", "fetch"),
        ("parameter", "old.strict"),
        ("module", "pkg.b"),
    ]
    text = section(found)
    assert "- `async fetch(url: str, *args, retries: int=3) -> bytes` in `pkg.a`: Get the bytes.\n" in text
    assert "- `class New(Thing), made by New(size, unused=None)` in `pkg.a`: A new thing.\n" in text
    assert "- `Thing.stop(when: float=0.0) -> None` in `pkg.a`: Stop it.\n" in text
    assert "SECRET" not in text
    assert "do_it" not in text
    assert "depth" not in text
    assert names_interface(text, found)
    assert not names_interface(text.replace("fetch", "fetcher"), found)


def test_names_that_moved_or_are_known_are_not_new(store: ObjectStore) -> None:
    base = store.tree(
        store.write_tree(entries({"pkg/a.py": b"def run(): ...\n", "pkg/c.py": b"def get(): ...\n"}))
    )
    gold = store.tree(store.write_tree(entries({"pkg/b.py": b"def run(): ...\ndef get(): ...\n"})))
    tests = entries({"tests/t.py": b"from pkg.b import run\nx.get()\n"})
    assert [
        d.qualname for d in needed(base, gold, ["pkg/a.py", "pkg/b.py"], tests, is_test) if d.kind != "module"
    ] == ["run"]


def test_a_common_name_is_found_where_the_test_says_its_module(store: ObjectStore) -> None:
    base = {"pkg/a.py": b"", "pkg/b.py": b"def get(): ...\ndef put(mode): ...\n"}
    gold = base | {"pkg/a.py": b"def get(): ...\ndef mode(): ...\n"}
    trees = [store.tree(store.write_tree(entries(files))) for files in (base, gold)]
    for tests in (b"from pkg import a\na.get()\na.mode()\n", b"import pkg.a\npkg.a.get()\nx.mode()\n"):
        found = needed(*trees, ["pkg/a.py"], entries({"tests/t.py": tests}), is_test)
        assert [d.qualname for d in found] == ["get", "mode"]


def test_what_cannot_be_parsed_is_passed_over(store: ObjectStore) -> None:
    for source in (b"print 'two'", b"\xff\xfe", b"x = " + b"(" * 5000, b"\0", b"-" * 200_000 + b"1"):
        assert definitions("a.py", source) == []


def test_module_names() -> None:
    assert module_name("src/pkg/__init__.py") == "pkg"
    assert module_name("pkg/sub/mod.py") == "pkg.sub.mod"
    assert module_name("mod.py") == "mod"
