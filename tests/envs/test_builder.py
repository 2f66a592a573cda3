"""The parts of the builder that need no daemon: packing, classes of failure, plans that end at once."""

from __future__ import annotations

import hashlib
import io
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.builder import REASONS, BuildFailure, build_environment, classify
from envs.languages import Broken, Upstream
from envs.languages.tree import EXECUTABLE, LINK, Tree, pack
from warehouse.settings import Settings

NAMES = st.text(alphabet="abcé-.", min_size=1, max_size=8).filter(
    lambda n: n not in (".", "..") and not n.endswith(".")
)


@given(st.dictionaries(NAMES, st.binary(max_size=64), min_size=1, max_size=8), st.randoms())
def test_packing_depends_on_nothing_but_the_tree(files: dict[str, bytes], random: object) -> None:
    items = list(files.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    packed = pack(Tree(dict(items)))
    assert packed == pack(Tree(files))
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert {m.name: tar.extractfile(m).read() for m in tar} == files  # type: ignore[union-attr]


def test_packing_is_the_same_on_every_machine() -> None:
    tree = Tree(
        {"b/run.sh": b"#!/bin/sh\n", "a.txt": b"x\r\n", "b/link": b"../a.txt", "caf\udce9.bin": b"\0"},
        {"b/run.sh": EXECUTABLE, "b/link": LINK},
    )
    packed = pack(tree)
    assert (
        hashlib.sha256(packed).hexdigest()
        == "a24984b6d848a96f4f68766e2bb0af6b47f00a8822782f486e08f16023114c34"
    )
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        found = {m.name: (m.uid, m.gid, m.mtime, m.mode, m.linkname) for m in tar}
    assert found["b/run.sh"] == (1000, 1000, 946_684_800, 0o755, "")
    assert found["b/link"][4] == "../a.txt"
    assert list(found) == ["b", "a.txt", "b/link", "b/run.sh", "caf\udce9.bin"]


@pytest.mark.parametrize(("broken", "reason"), [
    (Broken("build", "write x: No space left on device"), "disk_full"),
    (Broken("resolve", "error sending request for url", reason="resolution_failed"), "network_failed"),
    (Broken("collect", "anything", reason="timeout"), "timeout"),
    (Broken("build", "error: command 'gcc' failed with exit status 1"), "compiler_failed"),
    (Broken("build", "error: Failed to build `calc @ file:///app`"), "install_failed"),
    (Broken("build", "?"), "build_failed"),
    (Broken("import", "ImportError: x"), "import_failed"),
    (Broken("collect", "no tests ran in 0.01s"), "nothing_collected"),
    (Broken("collect", "E   SyntaxError"), "collection_failed"),
    (Broken("resolve", "No solution found"), "resolution_failed"),
])  # fmt: skip
def test_every_failure_has_a_class(broken: Broken, reason: str) -> None:
    assert classify(broken) == reason
    assert reason in REASONS


@pytest.mark.parametrize(("files", "reason"), [
    ({"notes.txt": b"module x"}, "unsupported_language"),
    ({"setup.py": b"", "calc.py": b""}, "no_tests"),
    ({"setup.cfg": b"[options]\npython_requires = <3.6\n", "test_a.py": b""}, "interpreter_unavailable"),
])  # fmt: skip
async def test_plans_that_end_at_once(files: dict[str, bytes], reason: str, tmp_path: Path) -> None:
    tree = Tree(files)
    upstream = Upstream("calc", "1", datetime(2023, 1, 1, tzinfo=UTC), tree, tree)
    failure = await build_environment(
        upstream,
        backend=None,
        settings=Settings(home=tmp_path),
        workdir=tmp_path,  # type: ignore[arg-type]
    )
    assert isinstance(failure, BuildFailure)
    assert (failure.reason, failure.attempts) == (reason, 0)
    assert failure.detail.startswith(REASONS[reason])
