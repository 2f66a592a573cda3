"""Which paths are tests."""

from __future__ import annotations

import pytest

from envs.languages.python import PythonToolchain

python = PythonToolchain()


@pytest.mark.parametrize("path", [
    "tests/test_a.py", "tests/data/x.json", "tests/helpers.py", "test/support.py",
    "testing/test_collection.py", "test_semver.py", "src/humanize/tests/test_x.py", "conftest.py",
    "docs/conftest.py", "pkg/conftest.py", "pkg/calc_test.py", "pkg/tests.py", "unit_tests/x.py",
    "integration-tests/data.txt", "test.py", "src/tests/a.bin",
])  # fmt: skip
def test_tests(path: str) -> None:
    assert python.is_test(path)


@pytest.mark.parametrize("path", [
    "numpy/testing/__init__.py", "numpy/testing/_private/utils.py", "werkzeug/test.py",
    "django/test/client.py", "keras/test_utils.py", "src/lib/test_helpers.py", "src/pkg/testing.py",
    "latest/x.py", "contest.py", "pkg/attest.py", "README.md", "pkg/protest/a.py", "setup.py",
])  # fmt: skip
def test_sources_that_look_like_tests(path: str) -> None:
    assert not python.is_test(path)
