"""Splitting: the two patches together are the change, and neither holds a byte of the other's files."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.swe.change import Refused
from pipelines.swe.filters import ChangeLimits, Facts, disqualified, kind_of, sort_paths
from pipelines.swe.split import split
from pipelines.swe.trees import EXECUTABLE, FILE, LINK, Entry, ObjectStore


def is_test(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return "tests" in parts[:-1] or parts[-1].startswith("test_") or parts[-1] == "conftest.py"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    return ObjectStore.create(tmp_path_factory.mktemp("split") / "objects.git")


BASE = {
    "pkg/__init__.py": Entry(FILE, b"VERSION = '1'\n"),
    "pkg/old.py": Entry(FILE, b"".join(b"line %d\r\n" % n for n in range(30))),
    "pkg.egg-info/PKG-INFO": Entry(FILE, b"Version: 1\n"),
    "PKG-INFO": Entry(FILE, b"Version: 1\n"),
    "CHANGES.rst": Entry(FILE, b"1\n-\n"),
    "tests/test_a.py": Entry(FILE, b"assert 1\n"),
    "tests/test_gone.py": Entry(FILE, b"assert 2\n"),
    "tests/test_moved.py": Entry(FILE, b"assert 3\n" * 30),
}
GOLD = {
    "pkg/__init__.py": Entry(FILE, b"VERSION = '2'\n"),
    "pkg/new.py": Entry(EXECUTABLE, b"".join(b"line %d\r\n" % n for n in range(30)) + b"caf\xe9"),
    "pkg/data.bin": Entry(FILE, b"\0\1\2" * 50),
    "pkg.egg-info/PKG-INFO": Entry(FILE, b"Version: 2\n"),
    "PKG-INFO": Entry(FILE, b"Version: 2\n"),
    "CHANGES.rst": Entry(FILE, b"2\n-\n* new\n\n1\n-\n"),
    "tests/test_a.py": Entry(FILE, b"assert 1\nassert \xff\n"),
    "tests/data/link": Entry(LINK, b"../test_a.py"),
    "tests/test_there.py": Entry(FILE, b"assert 3\n" * 30),
}


def test_a_whole_change(store: ObjectStore) -> None:
    base, gold = store.write_tree(BASE), store.write_tree(GOLD)
    result = split(store, base, gold, is_test)
    solved = store.tree(result.solved_tree)
    assert {path for path in solved if is_test(path)} == {path for path in BASE if is_test(path)}
    assert solved["PKG-INFO"] == b"Version: 1\n"
    assert solved["pkg/__init__.py"] == b"VERSION = '2'\n"
    assert b"PKG-INFO" not in result.gold_patch
    assert b"tests/" not in result.gold_patch
    assert b"GIT binary patch" in result.gold_patch
    assert b"pkg/" not in result.test_patch
    assert result.hidden["tests/test_a.py"] == GOLD["tests/test_a.py"]
    assert result.hidden["tests/data/link"].mode == LINK
    assert result.deleted_tests == ("tests/test_gone.py", "tests/test_moved.py")


PATHS = st.sampled_from(
    [
        "a.py",
        "pkg/b.py",
        "pkg/c.py",
        "tests/test_a.py",
        "tests/x/conftest.py",
        "pkg/test_d.py",
        "e.egg-info/f",
    ]
)
TREES = st.dictionaries(PATHS, st.builds(Entry, st.sampled_from([FILE, EXECUTABLE]), st.binary(max_size=8)))


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(base=TREES, gold=TREES)
def test_solved_plus_hidden_is_gold(
    store: ObjectStore, base: dict[str, Entry], gold: dict[str, Entry]
) -> None:
    try:
        result = split(store, store.write_tree(base), store.write_tree(gold), is_test)
    except Refused:
        return
    whole = store.replace(result.solved_tree, dict(result.hidden) | dict.fromkeys(result.deleted_tests))
    view = store.tree(whole)
    assert {path: view.entry(path) for path in view if "egg-info" not in path} == {
        path: entry for path, entry in gold.items() if "egg-info" not in path
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pkg/__init__.py": Entry(FILE, b"")}, "no_test_change"),
        ({"tests/test_a.py": Entry(FILE, b"")}, "no_source_change"),
        ({"tests/test_a.py": Entry(FILE, b""), "README.md": Entry(FILE, b"x")}, "no_source_change"),
        ({"tests/test_a.py": Entry(FILE, b""), "pkg/big.py": Entry(FILE, b"x\n" * 9000)}, "too_large"),
    ],
)
def test_refusals(store: ObjectStore, changes: dict[str, Entry], reason: str) -> None:
    base = store.write_tree(BASE)
    with pytest.raises(Refused) as refused:
        split(store, base, store.replace(base, changes), is_test, ChangeLimits(patch_bytes=10_000))
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (Facts("Bump x", "dependabot[bot]", {"source": ("a.py",), "test": ("t.py",)}), "bot"),
        (Facts('Revert "x"', "", {"docs": ("a.md",)}), "revert"),
        (Facts("Merge branch 'main' into feature", "", {"source": ("a.py",)}), "branch_sync"),
        (Facts("Merge tag 'v1'", "", {}), "branch_sync"),
        (Facts("x", "", {"generated": ("PKG-INFO",)}), "no_change"),
        (Facts("x", "", {"docs": ("a.md",)}), "docs_only"),
        (Facts("x", "", {"vendored": ("vendor/a.py",), "test": ("t.py",)}), "vendored"),
        (Facts("x", "", {"source": ("a.py",)}), "no_test_change"),
        (Facts("x", "", {"test": ("t.py",), "project": ("setup.py",)}), "no_source_change"),
        (Facts("x", "", {"test": ("t.py",), "source": tuple(map(str, range(99)))}), "too_large"),
        (Facts("Merge branch 'fix-main-loop'", "Ann", {"test": ("t.py",), "source": ("a.py",)}), None),
    ],
)
def test_rules_in_their_order(facts: Facts, reason: str | None) -> None:
    assert disqualified(facts) == reason


def test_kinds_of_paths() -> None:
    expected = {
        "pkg/a.py": "source",
        "src/pkg/tests/a.py": "test",
        "pkg/_vendor/x.py": "vendored",
        "docs/conf.py": "docs",
        "CHANGES": "docs",
        "LICENSE.APACHE": "docs",
        "changes_in_2.txt": "docs",
        "pyproject.toml": "project",
        ".github/workflows/ci.yml": "project",
        "x.egg-info/SOURCES.txt": "generated",
        "pkg/data.json": "source",
        "pkg/changes.py": "source",
    }
    assert {path: kind_of(path, is_test) for path in expected} == expected
    assert sort_paths(["b.py", "a.py", "a.py"], is_test) == {"source": ("a.py", "b.py")}
