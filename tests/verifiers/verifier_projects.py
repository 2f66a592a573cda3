"""The projects whose suites the verifier's tests run: one small bug to grade, and a zoo of tests that break
runners.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from verifiers.tests.bundle import write_tests
from verifiers.tests.spec import TestSpec

CALC = '''\
"""Sums."""


def add(a, b):
    return a - b


def double(a):
    return a * 2
'''
FIXED = CALC.replace("a - b", "a + b")

CALC_TESTS = """\
from calc import double


def test_double():
    assert double(2) == 4


def test_double_zero():
    assert double(0) == 0
"""
HIDDEN_TESTS = """\
import pytest

from calc import add


@pytest.mark.parametrize("a, b", [(1, 2), (3, 4)], ids=["one two", "three::four"])
def test_add(a, b):
    assert add(a, b) == a + b


def test_add_zero():
    assert add(0, 1) == 1
"""
HIDDEN = {
    "tests/test_add.py": ("100644", HIDDEN_TESTS.encode()),
    "more/test_more.py": (
        "100755",
        b"from calc import add\n\n\ndef test_more():\n    assert add(2, 2) == 4\n",
    ),
}

ZOO = """\
import ctypes
import datetime
import os
import random
import signal
import sys
import time
import unittest

import pytest


def test_passes():
    pass


def test_fails():
    assert 1 == 2


@pytest.mark.parametrize("x", range(4), ids=["a b", "c [d]", "é", "e::f"])
def test_ids(x):
    pass


def test_sleeps_for_ever():
    time.sleep(3600)


def test_ignores_the_alarm():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    time.sleep(3600)


def test_exits_at_once():
    os._exit(0)


def test_segfaults():
    ctypes.string_at(0)


def test_interrupts():
    raise KeyboardInterrupt


def test_calls_exit():
    sys.exit(0)


@pytest.mark.xfail(strict=True)
def test_strict_xfail_passes():
    pass


@pytest.mark.xfail
def test_xfail():
    assert False


@pytest.mark.xfail
def test_xpass():
    pass


@pytest.mark.skip(reason="not today")
def test_skipped():
    pass


@pytest.fixture
def broken_setup():
    raise ValueError("set-up")


def test_setup_error(broken_setup):
    pass


@pytest.fixture
def broken_teardown():
    yield
    raise ValueError("tear-down")


def test_teardown_error(broken_teardown):
    pass


def test_leaves_a_daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(3600)
        os._exit(0)


def test_forks_and_raises():
    if os.fork() == 0:
        raise SystemExit("the child goes on running pytest unless it is told apart")


class TestUnittestStyle(unittest.TestCase):
    def test_subtests(self):
        for i in range(3):
            with self.subTest(i=i):
                self.assertNotEqual(i, 1)

    @unittest.expectedFailure
    def test_expected(self):
        self.fail()
"""
ZOO_FAST = {
    "test_passes": "passed",
    "test_fails": "failed",
    "test_ids[a b]": "passed",
    "test_ids[c [d]]": "passed",
    "test_ids[\\xe9]": "passed",
    "test_ids[e::f]": "passed",
    "test_exits_at_once": "crashed",
    "test_segfaults": "crashed",
    "test_interrupts": "crashed",
    "test_calls_exit": "failed",
    "test_strict_xfail_passes": "failed",
    "test_xfail": "xfailed",
    "test_xpass": "xpassed",
    "test_skipped": "skipped",
    "test_setup_error": "error",
    "test_teardown_error": "error",
    "test_leaves_a_daemon": "passed",
    "test_forks_and_raises": "passed",
    "TestUnittestStyle::test_subtests": "failed",
    "TestUnittestStyle::test_expected": "xfailed",
}
ZOO_SLOW = {"test_sleeps_for_ever": "timeout", "test_ignores_the_alarm": "timeout"}
ZOO_FILES = {
    "zoo/test_zoo.py": ZOO,
    "zoo/test_import_error.py": "import there_is_no_such_module\n",
    "zoo/test_import_exits.py": "import os\n\nos._exit(3)\n",
    "zoo/test_import_leaves.py": "import sys\n\nsys.exit(0)\n",
}
ZOO_UNCOLLECTABLE = {"zoo/test_import_error.py", "zoo/test_import_exits.py", "zoo/test_import_leaves.py"}

UNITTEST_ZOO = """\
import os
import signal
import time
import unittest


class Kinds(unittest.TestCase):
    def test_passes(self):
        pass

    def test_fails(self):
        self.assertEqual(1, 2)

    def test_raises(self):
        raise ValueError

    @unittest.skip("not today")
    def test_skipped(self):
        pass

    @unittest.expectedFailure
    def test_expected(self):
        self.fail()

    @unittest.expectedFailure
    def test_unexpected(self):
        pass

    def test_sleeps_for_ever(self):
        time.sleep(3600)

    def test_exits_at_once(self):
        os._exit(0)

    def test_subtests(self):
        for i in range(3):
            with self.subTest(i=i):
                self.assertNotEqual(i, 1)


class BrokenClass(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise ValueError("set-up")

    def test_never_runs(self):
        pass


class ClassThatExits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        os._exit(1)

    def test_never_runs(self):
        pass


class Left(unittest.TestCase):
    def test_not_loaded(self):
        self.fail("load_tests leaves this class out")


def load_tests(loader, tests, pattern):
    suite = unittest.TestSuite()
    for case in (Kinds, BrokenClass, ClassThatExits):
        suite.addTests(loader.loadTestsFromTestCase(case))
    suite.addTest(Kinds("test_passes"))  # once more: a duplicate id
    return suite
"""
UNITTEST_STATUSES = {
    "Kinds.test_passes": "passed",
    "Kinds.test_fails": "failed",
    "Kinds.test_raises": "error",
    "Kinds.test_skipped": "skipped",
    "Kinds.test_expected": "xfailed",
    "Kinds.test_unexpected": "failed",
    "Kinds.test_sleeps_for_ever": "timeout",
    "Kinds.test_exits_at_once": "crashed",
    "Kinds.test_subtests": "failed",
    "BrokenClass.test_never_runs": "error",
    "ClassThatExits.test_never_runs": "crashed",
}


def make_project(root: Path, files: dict[str, str]) -> Path:
    """A git repository with one commit, as the image has it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for arguments in (
        ["init", "-q"],
        ["add", "-A", "-f"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "Base"],
    ):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    return root


def observe_here(
    folder: Path,
    project: Path,
    *options: str,
    hidden: dict[str, tuple[str, bytes]] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """The supervisor run on this machine, on a suite of our own: only ever for projects in this file."""
    values: dict[str, Any] = {
        "workdir": str(project), "runner": "pytest", "python": sys.executable, "args": ("tests",), "user": "",
        "test_seconds": 2, "suite_seconds": 100, **spec,
    }  # fmt: skip
    write_tests(folder / "bundle", TestSpec(**values), hidden or {})
    output = folder / "report.json"
    command = [
        sys.executable,
        "-I",
        str(folder / "bundle" / "supervisor.py"),
        "observe",
        "--output",
        str(output),
    ]
    subprocess.run([*command, *options], check=True, timeout=120)
    return json.loads(output.read_text())


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {result["id"]: result["status"] for result in report["results"]}


def diff(path: str, old: str, new: str) -> bytes:
    """A patch in git format that turns one text into another ('' for a file that is not there)."""
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    head = [f"diff --git a/{path} b/{path}\n"]
    if not old:
        head += ["new file mode 100644\n"]
    head += [f"--- a/{path}\n" if old else "--- /dev/null\n", f"+++ b/{path}\n" if new else "+++ /dev/null\n"]
    body = [f"@@ -{1 if before else 0},{len(before)} +{1 if after else 0},{len(after)} @@\n"]
    return "".join([*head, *body, *("-" + line for line in before), *("+" + line for line in after)]).encode()


FILES = {
    "calc.py": CALC,
    "tests/test_double.py": CALC_TESTS,
    "unit/test_kinds.py": UNITTEST_ZOO,
    "setup.cfg": "[tool:pytest]\naddopts = -q\n",
    **ZOO_FILES,
}


def app_tar() -> bytes:
    """Every project of this module as the tar that an image adds at /app."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in sorted(FILES.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()
