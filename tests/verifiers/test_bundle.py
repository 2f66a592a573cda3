"""Bundles: the same bytes every time, whole or not there, and never edited unnoticed."""

from __future__ import annotations

import io
import json
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from verifiers.tests.bundle import BundleDigest, load, render
from verifiers.tests.spec import TestSpec, infrastructure
from warehouse.errors import FactoryError

HIDDEN = {"tests/test_é.py": ("100644", b"x = '\xff'\r\n"), "tests/link": ("120000", b"../pkg")}


def make(dest: Path, **changes: Any) -> BundleDigest:
    environment = dest.parent / "environment"
    environment.mkdir(parents=True, exist_ok=True)
    (environment / "Dockerfile").write_text("FROM debian\n")
    with tarfile.open(environment / "app.tar", "w") as tar:
        entry = tarfile.TarInfo("a.py")
        entry.size = 6
        tar.addfile(entry, io.BytesIO(b"x = 1\n"))
    values: dict[str, Any] = {
        "task_id": "abc", "kind": "bug_fix", "repo": "calc", "instruction": "Mend it.\n",
        "environment_dir": environment,
        "hidden": HIDDEN, "gold_patch": b"diff --git a/x b/x\n", "licenses": {"MIT.txt": b"MIT"},
        "spec": TestSpec(runner="pytest", args=("tests",), fail_to_pass=("a",), pass_to_pass=("b",)),
        "metadata": {"language": "python", "license": "MIT", "none": None}, **changes,
    }  # fmt: skip
    return render(dest, **values)


def test_layout_and_task_toml(tmp_path: Path) -> None:
    make(tmp_path / "one")
    found = {
        path.relative_to(tmp_path / "one").as_posix()
        for path in (tmp_path / "one").rglob("*")
        if path.is_file()
    }
    assert found >= {
        "task.toml", "instruction.md", "README.md", ".gitignore", "LICENSES/MIT.txt",
        "environment/Dockerfile", "environment/app.tar",
        "solution/solve.sh", "solution/gold.patch", "tests/test.sh", "tests/supervisor.py",
        "tests/reporter_pytest.py",
        "tests/reporter_unittest.py", "tests/spec.json", "tests/hidden/tests/test_é.py",
        "tests/hidden/tests/link",
        "bundle.json",
    }  # fmt: skip
    task = tomllib.loads((tmp_path / "one" / "task.toml").read_text())
    assert task["schema_version"] == "1.4"
    assert task["task"]["name"] == "verifactory/abc"
    assert task["environment"]["network_mode"] == task["verifier"]["network_mode"] == "no-network"
    assert task["metadata"] == {"language": "python", "license": "MIT"}
    pristine = json.loads((tmp_path / "one" / "tests" / "pristine.json").read_text())
    assert pristine == {"a.py": ["100644", "7d4290a117a4ddcc11daae7ea675841033830c8f"]}
    assert (tmp_path / "one" / "tests" / "test.sh").stat().st_mode & 0o111


def test_the_same_task_is_the_same_bytes(tmp_path: Path) -> None:
    one, two = make(tmp_path / "one"), make(tmp_path / "two")
    other = make(tmp_path / "three", instruction="Mend something else.\n")
    assert one.sha256 == two.sha256 != other.sha256
    assert load(one.path).sha256 == one.sha256
    assert load(one.path).spec.hidden[0].path == "tests/link"


def test_rendering_again_keeps_or_replaces_and_leaves_nothing(tmp_path: Path) -> None:
    first = make(tmp_path / "out" / "one")
    inode = (tmp_path / "out" / "one").stat().st_ino
    environment = tmp_path / "out" / "environment"
    assert make(tmp_path / "out" / "one") == first
    assert (tmp_path / "out" / "one").stat().st_ino == inode
    changed = make(tmp_path / "out" / "one", instruction="More.\n")
    assert load(tmp_path / "out" / "one").sha256 == changed.sha256 != first.sha256
    assert {path for path in (tmp_path / "out").iterdir()} == {tmp_path / "out" / "one", environment}


@pytest.mark.parametrize(
    "name", ["instruction.md", "tests/supervisor.py", "tests/hidden/tests/test_é.py", "bundle.json"]
)
def test_an_edited_file_is_noticed(tmp_path: Path, name: str) -> None:
    make(tmp_path / "one")
    with (tmp_path / "one" / name).open("ab") as file:
        file.write(b"#")
    with pytest.raises(FactoryError):
        load(tmp_path / "one")


def test_a_file_more_or_less_is_noticed(tmp_path: Path) -> None:
    make(tmp_path / "one")
    (tmp_path / "one" / "tests" / "json.py").write_text("shadow = 1\n")
    with pytest.raises(FactoryError, match=r"tests/json\.py"):
        load(tmp_path / "one")
    make(tmp_path / "two")
    (tmp_path / "two" / "solution" / "solve.sh").unlink()
    with pytest.raises(FactoryError, match=r"solution/solve\.sh"):
        load(tmp_path / "two")


def test_an_environment_with_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment" / "leak").symlink_to("/etc/passwd")
    with pytest.raises(FactoryError, match="link"):
        make(tmp_path / "one")
    assert not (tmp_path / "one").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["environment"]


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", ".git/config", ""])
def test_paths_stay_inside(path: str) -> None:
    with pytest.raises(ValidationError):
        TestSpec(runner="pytest", args=(), deleted=(path,))


def test_a_test_has_one_role() -> None:
    with pytest.raises(ValidationError, match="one of"):
        TestSpec(runner="pytest", args=(), fail_to_pass=("a",), new=("a",))


def test_what_the_gold_patch_touches_is_not_protected() -> None:
    base = {"conftest.py", "pkg/a.py", "setup.cfg", "sub/tox.ini", "pyproject.toml"}
    protected, unprotected = infrastructure(base, {"pkg/a.py", "pyproject.toml", "sub/conftest.py"})
    assert protected == ("conftest.py", "setup.cfg", "sub/tox.ini")
    assert unprotected == ("pyproject.toml", "sub/conftest.py")
