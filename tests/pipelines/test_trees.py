"""Trees in an object store: what is written is read, and `git apply` takes every diff to the other tree."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.swe.change import Refused
from pipelines.swe.trees import (
    EXECUTABLE,
    FILE,
    LINK,
    SUBMODULE,
    Blob,
    Entry,
    ObjectStore,
    TreeLimits,
    admit,
    link_escapes,
    name_problem,
)

ENV = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "HOME": "/nonexistent",
}


def git(folder: Path, *args: str, stdin: bytes | None = None) -> str:
    done = subprocess.run(["git", *args], cwd=folder, env=ENV, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, (args, done.stderr.decode("utf-8", "replace"))
    return done.stdout.decode("utf-8", "surrogateescape").strip()


def apply_with_git(store: ObjectStore, base: str, patch: bytes, folder: Path) -> str:
    """Check `base` out, apply `patch` with the git command, and return the tree it gives."""
    git(folder, "init", "-q", ".")
    (folder / ".git/objects/info/alternates").write_text(f"{store.path / 'objects'}\n")
    git(folder, "read-tree", base)
    git(folder, "checkout-index", "-a", "-f", "-u")
    if patch:
        git(folder, "apply", "--index", "--whitespace=nowarn", "-", stdin=patch)
    return git(folder, "write-tree")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    return ObjectStore.create(tmp_path_factory.mktemp("trees") / "objects.git")


NAMES = st.sampled_from(
    ["a", "b", "pkg", "mod.py", "sp ace", 'quo"te', "tab\\n", "é", "n\udcff", "test_x.py"]
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
LINES = st.lists(
    st.sampled_from([b"one\n", b"two\r\n", b"three\n", b"\xff\xfe\n", b"--- x\n", b"+++\n", b"x = 1\n"]),
    max_size=30,
)
CONTENTS = st.one_of(
    st.binary(max_size=200),
    LINES.map(b"".join),
    st.tuples(LINES, st.binary(max_size=3)).map(lambda t: b"".join(t[0]) + t[1]),
    st.binary(min_size=1, max_size=40).map(lambda b: b"\0" + b * 20),
)
ENTRIES = st.one_of(
    st.builds(Entry, st.sampled_from([FILE, FILE, EXECUTABLE]), CONTENTS),
    st.builds(Entry, st.just(LINK), st.sampled_from([b"target", b"../target", b"nowhere/x"])),
)


def without_conflicts(files: dict[str, Entry]) -> dict[str, Entry]:
    folders = {"/".join(path.split("/")[:i]) for path in files for i in range(1, path.count("/") + 1)}
    return {path: entry for path, entry in files.items() if path not in folders}


TREES = st.dictionaries(PATHS, ENTRIES, max_size=8).map(without_conflicts)


@settings(max_examples=120, suppress_health_check=list(HealthCheck))
@given(base=TREES, gold=TREES, moves=st.lists(st.tuples(PATHS, PATHS), max_size=2))
def test_git_applies_every_diff(
    store: ObjectStore, tmp_path_factory: pytest.TempPathFactory, base: dict, gold: dict, moves: list
) -> None:
    gold = dict(base if moves else gold) | gold
    for old, new in moves:  # renames, with and without an edit
        if old in gold:
            entry = gold.pop(old)
            gold[new] = entry
    gold = without_conflicts(gold)
    base_tree, gold_tree = store.write_tree(base), store.write_tree(gold)
    patch = store.diff(base_tree, gold_tree)
    assert (patch == b"") == (base_tree == gold_tree)
    assert apply_with_git(store, base_tree, patch, tmp_path_factory.mktemp("apply")) == gold_tree


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(base=TREES, gold=TREES)
def test_replace_reaches_any_tree(store: ObjectStore, base: dict, gold: dict) -> None:
    base_tree, gold_tree = store.write_tree(base), store.write_tree(gold)
    view = store.tree(gold_tree)
    assert {path: view.entry(path) for path in view} == gold
    changes = {path: gold.get(path) for path in base.keys() | gold.keys()}
    assert store.replace(base_tree, changes) == gold_tree
    assert store.replace(gold_tree, {}) == gold_tree


def test_the_tree_is_git_s_own(store: ObjectStore, tmp_path: Path) -> None:
    tree = store.write_tree(
        {"a/b": Entry(FILE, b"1"), "a.b": Entry(EXECUTABLE, b"2"), "a-b/c": Entry(LINK, b"../a.b")}
    )
    git(tmp_path, "init", "-q", ".")
    (tmp_path / "a").mkdir()
    (tmp_path / "a-b").mkdir()
    (tmp_path / "a/b").write_bytes(b"1")
    (tmp_path / "a.b").write_bytes(b"2")
    (tmp_path / "a.b").chmod(0o755)
    (tmp_path / "a-b/c").symlink_to("../a.b")
    git(tmp_path, "add", "-A")
    assert git(tmp_path, "write-tree") == tree


def test_a_rename_with_an_edit_is_a_rename(store: ObjectStore) -> None:
    text = b"".join(b"line %d\r\n" % n for n in range(40))
    base = store.write_tree({"old.py": Entry(FILE, text)})
    gold = store.write_tree({"new.py": Entry(EXECUTABLE, text.replace(b"line 7", b"caf\xe9"))})
    patch = store.diff(base, gold)
    assert b"rename from old.py\nrename to new.py\n" in patch
    assert b"+caf\xe9\r\n" in patch
    assert store.deltas(base, gold) == [("R", "old.py", "new.py")]


def test_a_file_may_not_be_a_folder_too(store: ObjectStore) -> None:
    tree = store.write_tree({"tests.py": Entry(FILE, b"x")})
    with pytest.raises(Refused, match="path_conflict"):
        store.replace(tree, {"tests.py/a": Entry(FILE, b"y")})
    moved = store.replace(tree, {"tests.py": None, "tests.py/a": Entry(FILE, b"y")})
    assert list(store.tree(moved)) == ["tests.py/a"]


def test_admit_takes_submodules_out_and_says_so(store: ObjectStore) -> None:
    tree = store.write_tree({"a": Entry(FILE, b"x"), "vendor/lib": Blob(SUBMODULE, "1" * 40)})
    admitted = admit(store, tree)
    assert admitted.notes == ("submodule vendor/lib left out",)
    assert list(store.tree(admitted.tree)) == ["a"]
    assert list(store.tree(tree)) == ["a"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"a/l": Entry(LINK, b"../../etc")}, "symlink_escape"),
        ({"l": Entry(LINK, b"/etc/passwd")}, "symlink_escape"),
        ({"x/y": Entry(LINK, b".."), "l": Entry(LINK, b"x/y/..")}, "symlink_escape"),
        ({".git/config": Entry(FILE, b"")}, "bad_path"),
        ({"sub/.GIT ./hooks": Entry(FILE, b"")}, "bad_path"),
        ({"../x": Entry(FILE, b"")}, "bad_path"),
        ({"a\nb": Entry(FILE, b"")}, "bad_path"),
        ({"big": Entry(FILE, b"x" * 101)}, "too_large"),
        ({str(n): Entry(FILE, b"") for n in range(6)}, "too_many_files"),
    ],
)
def test_admit_refuses(store: ObjectStore, files: dict[str, Entry], reason: str) -> None:
    tree = store.write_tree(files)
    with pytest.raises(Refused) as refused:
        admit(store, tree, TreeLimits(files=5, bytes=1000, file_bytes=100))
    assert refused.value.reason == reason


def test_links_that_stay_inside() -> None:
    assert not link_escapes("a/b/l", "../../x")
    assert not link_escapes("l", "a/./b")
    assert link_escapes("a/l", "../../x")
    assert link_escapes("a/l", "b/../c")


def test_names() -> None:
    assert name_problem("src/pkg/é.py") is None
    assert name_problem(".gitignore") is None
    for bad in ("", "/etc", "a//b", "./a", "a/..", "a\x1b[0m", ".git", "x" * 256):
        assert name_problem(bad), bad
