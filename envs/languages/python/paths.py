"""Which paths of a Python project are tests. By path alone: trees are not read.

A library may ship modules that look like tests and are source: `numpy/testing/`, `werkzeug/test.py`,
`django/test/client.py`, `keras/test_utils.py`. So a folder called `test` or `testing` counts only at the root
(or under a source root), `tests` counts anywhere, and a few `test_*.py` names are source when they lie inside
a package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

# Folders that hold tests wherever they lie, also inside a package.
TEST_FOLDERS = frozenset(
    {"tests", "testsuite", "unittests", "testdata", "test_data", "__snapshots__", ".hypothesis"}
)
TEST_FOLDER = re.compile(
    r"(unit|func|functional|integration|acceptance|system|regression|e2e|smoke)[-_]?tests?|tests?[-_].*|.*[-_]tests"
)
# Folders that hold tests only when no package encloses them.
ROOT_TEST_FOLDERS = frozenset({"test", "testing", "t"})
# Roots that are not packages.
SOURCE_ROOTS = frozenset({"src", "lib", "python", "source"})
# `test_*.py` names that are source when they lie inside a package: helpers that users of the library import.
LIBRARY_NAMES = re.compile(
    r"test_(utils?|helpers?|tools?|cases?|base|support|runner|client|server|suite|mixins?|fixtures?)\.py"
)
TEST_MODULE = re.compile(r"test_.*\.py|.*_tests?\.py|tests\.py|conftest\.py")


def is_test(path: str) -> bool:
    """Does the path hold tests, or what only tests use (data, conftest)?"""
    parts = PurePosixPath(path).parts
    folders, name = parts[:-1], parts[-1]
    if any(folder in TEST_FOLDERS or TEST_FOLDER.fullmatch(folder) for folder in folders):
        return True
    inside = folders[1:] if folders and folders[0] in SOURCE_ROOTS else folders
    if inside and inside[0] in ROOT_TEST_FOLDERS:
        return True
    if not inside and name in ("test.py", "run_tests.py", "runtests.py"):
        return True
    if inside and LIBRARY_NAMES.fullmatch(name):
        return False
    return bool(TEST_MODULE.fullmatch(name))


def is_test_module(path: str) -> bool:
    """A Python file from which a runner may collect tests."""
    return is_test(path) and bool(re.fullmatch(r"test.*\.py|.*_tests?\.py", PurePosixPath(path).name))


def arguments(paths: Iterable[str]) -> tuple[str, ...]:
    """What the runner is pointed at: the outermost folders of tests, and test modules that lie elsewhere.

    Naming them, instead of collecting from the root, keeps examples and vendored suites out, and does not
    depend on a configuration that differs between the states.
    """
    found: set[str] = set()
    for path in paths:
        pure = PurePosixPath(path)
        if pure.suffix != ".py" or not is_test(path):
            continue
        # A folder is a test folder when any module in it would count as a test.
        folders = [str(p) for p in reversed(pure.parents) if str(p) != "." and is_test(f"{p}/any_module.py")]
        found.add(folders[0] if folders else path)
    return tuple(sorted(found))
