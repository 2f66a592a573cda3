"""Inverted tests: each fails where the true one passes, and each function is true in exactly one run."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import integrity_project as project
import pytest

from verifiers.integrity.patch import DELETED, Change, link, patch, text
from verifiers.tests.bundle import INSIDE


def _inside(name: str) -> Any:
    """A module of the supervisor, which lies beside it in a container and in no package."""
    spec = importlib.util.spec_from_file_location(f"inside_{name}", INSIDE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


canaries = _inside("canaries")

SAMPLE = """\
import unittest
from datetime import timedelta
from pathlib import Path


def test_equal():
    assert len("ab") == 2
    assert "a" + "b" == "ab"
    assert (1 if True else 2) == [1][0]
    assert Path("a") / "b" == Path("a", "b")
    assert "é" != "e" and 1 < 2
    assert not []
    assert 1 in {1}, "message"
    assert None is None
    assert 1.5 == 3 / 2
    assert abs(-2) - 4 == -2
    assert "b" in "abc"
    assert sorted("ba") == ["a", "b"]
    assert dict(a=1) == {"a": 1}
    assert Path("v1", "2") == Path("v1/2")
    assert timedelta(hours=1) * 2 == timedelta(hours=2)
    assert "a b".split() == ("a " + "b").split()
    assert (
        1
        + 1
    ) == 2
    for number in ():
        assert number


class TestMethods(unittest.TestCase):
    def test_methods(self):
        self.assertEqual(1 + 1, 2)
        self.assertEqual([1], list((1,)))
        self.assertTrue("x")
        self.assertIn(1, [1])
        self.assertIsNone(None)
        self.assertIsInstance(1, int)
"""
LEFT_ALONE = """\
import pytest


def helper():
    assert True


def test_calls():
    helper()


def test_returns():
    if helper():
        return
    assert 1 == 1


def test_inside():
    with pytest.raises(ValueError):
        assert 1 == 1
    if 1:
        assert 1 == 1


async def test_later():
    assert 1 == 1


def test_twice():
    assert 1 == 2


def test_twice():
    assert 1 == 1
"""


def run(source: bytes) -> None:
    """Our own sample, in our own process."""
    space: dict[str, Any] = {}
    exec(compile(source, "sample", "exec"), space)
    space["test_equal"]()
    space["TestMethods"]("test_methods").debug()


def test_every_inversion_fails_and_keeps_the_lines() -> None:
    data = SAMPLE.encode()
    run(data)
    edits = [edit for function in canaries.Source("t.py", data).functions() for edit in function.edits]
    assert len(edits) >= 26
    assert sum(edit.same_type for edit in edits) >= 16
    for edit in edits:
        with pytest.raises((AssertionError, TypeError)):
            run(canaries._edited(data, [edit]))


def test_no_inversion_is_answered_by_an_object_that_equals_everything() -> None:
    """It passes as it is and inverted alike, which gives it away."""
    source = b"def test_one(a, b):\n    assert a == b\n    assert b == 'x'\n    assert ('y', 2) == b\n"
    (function,) = canaries.Source("t.py", source).functions()
    equal = type("Equal", (), {"__eq__": lambda *_: True, "__ne__": lambda *_: False, "__hash__": None})()
    for edit in function.edits:
        space: dict[str, Any] = {}
        exec(compile(canaries._edited(source, [edit]), "sample", "exec"), space)
        space["test_one"](equal, equal)  # raises where an edit is of no use


def test_what_a_passing_run_need_not_execute_is_left_alone() -> None:
    found = {f.name: f.edits for f in canaries.Source("t.py", LEFT_ALONE.encode()).functions()}
    assert {name for name, edits in found.items() if edits} == set()


def plan(**changes: Any) -> Any:
    tests = [f"tests/test_add.py::test_add_{n}" for n in ("one", "two")]
    total = ["tests/test_total.py::test_total", "tests/test_total.py::TotalTest::test_one"]
    spec = {"runner": "pytest", "fail_to_pass": tests, "new": total, "pass_to_pass": [], **changes}
    return canaries.plan(spec, {path: data for path, (_, data) in project.HIDDEN.items()})


def test_each_function_is_true_in_one_run_and_every_run_has_both() -> None:
    for _ in range(50):
        made = plan()
        inverted = Counter(f.name for n in range(made.rounds) for f in made.inverted(n))
        assert (len(made.functions), made.rounds, set(inverted.values())) == (4, 2, {1})
        assert all(0 < len(made.inverted(n)) < 4 for n in range(2))
        assert made.files(0) != made.sources


def test_few_tests_hide_among_others() -> None:
    made = plan(
        fail_to_pass=["tests/test_add.py::test_add_one"], new=[],
        pass_to_pass=["tests/test_total.py::test_total", "tests/test_add.py::test_add_two"],
    )  # fmt: skip
    assert (len(made.functions), made.rounds) == (3, 2)
    assert plan(new=[]).rounds == 2
    assert plan(fail_to_pass=[], new=[]).rounds == 1


def test_an_expected_failure_needs_a_reason() -> None:
    assert plan().expected_failures == frozenset()
    marked = b"import pytest\n\n\n@pytest.mark.xfail\ndef test_x():\n    assert 0\n"
    spec = {"runner": "pytest", "fail_to_pass": ["t.py::test_x"], "new": [], "pass_to_pass": []}
    assert canaries.plan(spec, {"t.py": marked}).expected_failures == {"t.py::test_x"}


def test_unittest_names_lead_to_their_files() -> None:
    spec = {"runner": "unittest", "fail_to_pass": ["test_total.TotalTest.test_one"], "new": [],
            "pass_to_pass": []}  # fmt: skip
    made = canaries.plan(spec, {"tests/test_total.py": project.HIDDEN_TOTAL.encode()})
    assert [f.tests for f in made.functions] == [{"test_total.TotalTest.test_one"}]


def test_patches_apply_as_git_reads_them(tmp_path: Path) -> None:
    base = {
        "a.txt": b"one\ntwo",
        "b.txt": b"x\r\n\x0cy\n",
        "gone": b"1\n",
        "turns": b"file\n",
        "data": bytes(9),
    }
    for name, data in base.items():
        (tmp_path / name).write_bytes(data)
    changes = {
        "a.txt": text("one\n"), "b.txt": text("x\r\nz"), "gone": DELETED, "turns": link("/dev/null"),
        "new/file": text("n\n"), "empty": text(""), "data": Change(bytes(range(256)) * 3),
    }  # fmt: skip
    subprocess.run(["git", "apply", "-"], input=patch(base, changes), cwd=tmp_path, check=True)
    assert (tmp_path / "a.txt").read_bytes() == b"one\n"
    assert (tmp_path / "b.txt").read_bytes() == b"x\r\nz"
    assert not (tmp_path / "gone").exists()
    assert (tmp_path / "turns").is_symlink()
    assert (tmp_path / "new" / "file").read_bytes() == b"n\n"
    assert (tmp_path / "empty").read_bytes() == b""
    assert (tmp_path / "data").read_bytes() == bytes(range(256)) * 3
