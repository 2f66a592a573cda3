"""A small upstream history of our own, with the cases that break naive pipelines in it.

Every change is a squashed pull request `… (#N)`. `EXPECTED` says how each must end; every suite also holds a
test that fails when shuffled and one that fails at another date (`QUARANTINED`).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# words of the title → (stage that decides, outcome, reason)
EXPECTED = {
    "Mean keeps": ("validate", "ok", ""),  # a bug fix; its old code fails one new assertion
    "Annotate the list": ("compose", "rejected", "no_fail_to_pass"),  # tests tidied along with the source
    "negative numbers end": ("validate", "ok", ""),  # the old code hangs on the new test
    "Add product": ("validate", "ok", ""),  # a feature: the new test file cannot be collected before it
}

QUARANTINED = (
    "date_dependent tests/test_calc.py::test_machine_started_lately",
    "order_dependent tests/test_calc.py::test_needs_the_trace",
)

LICENSE = """MIT License

Copyright (c) 2024 The calc authors

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""

PYPROJECT = """[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"

[project]
name = "calc-for-verifactory-tests"
version = "0.1"
license = {text = "MIT"}
requires-python = ">=3.9"

[project.optional-dependencies]
test = ["pytest"]

[tool.setuptools]
packages = ["calc"]
"""

CALC = """\"\"\"Digits and their sums.\"\"\"


def digits(number):
    found = []
    while number:
        number, digit = divmod(number, 10)
        found.append(digit)
    return found[::-1] or [0]


def mean(values):
    return sum(values) // len(values)
"""

TESTS = """import time

from calc import digits, mean

SEEN = []


def test_digits():
    assert digits(120) == [1, 2, 0]


def test_zero():
    assert digits(0) == [0]


def test_mean():
    assert mean([2, 4]) == 3


def test_leaves_a_trace():
    SEEN.append("trace")


def test_needs_the_trace():
    assert SEEN


def test_machine_started_lately():
    booted = next(int(line.split()[1]) for line in open("/proc/stat") if line.startswith("btime"))
    assert time.time() - booted < 300 * 86400
"""


def _git(repo: Path, *arguments: str, date: str = "2024-03-01T12:00:00Z") -> None:
    env = {
        "PATH": os.environ["PATH"], "HOME": str(repo),
        "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.org", "GIT_AUTHOR_DATE": date,
        "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.org", "GIT_COMMITTER_DATE": date,
    }  # fmt: skip
    subprocess.run(["git", "-C", str(repo), *arguments], check=True, env=env, capture_output=True)


def _commit(repo: Path, files: dict[str, str], message: str, date: str) -> None:
    for name, text in files.items():
        path = repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    _git(repo, "add", "-A")
    _git(repo, "commit", "-q", "-m", message, date=date)


def make(repo: Path) -> Path:
    """Create the history under `repo` and return it."""
    repo.mkdir(parents=True)
    _git(repo, "init", "-q", "-b", "main")
    start = {
        "LICENSE": LICENSE,
        "pyproject.toml": PYPROJECT,
        "README.md": "# calc\n",
        "calc/__init__.py": CALC,
    }
    _commit(repo, {**start, "tests/test_calc.py": TESTS}, "Start", "2024-03-01T12:00:00Z")

    fixed = CALC.replace("sum(values) // len(values)", "sum(values) / len(values)")
    tests = TESTS + "\n\ndef test_mean_of_odd_sum():\n    assert mean([1, 2]) == 1.5\n"
    text = (
        "Mean keeps the fraction (#1)\n\n"
        "`mean` rounded its result down to an integer; the mean of 1 and 2 is 1.5."
    )
    _commit(repo, {"calc/__init__.py": fixed, "tests/test_calc.py": tests}, text, "2024-03-02T12:00:00Z")

    tidied = fixed.replace("found = []", "found: list = []")
    more = tests.replace("digits(120) == [1, 2, 0]", "list(digits(120)) == [1, 2, 0]")
    text = "Annotate the list of digits (#2)\n\nType checkers could not tell what the list of digits holds."
    _commit(repo, {"calc/__init__.py": tidied, "tests/test_calc.py": more}, text, "2024-03-03T12:00:00Z")

    ended = tidied.replace("    found: list = []\n", "    found: list = []\n    number = abs(number)\n")
    more += "\n\ndef test_negative():\n    assert digits(-12) == [1, 2]\n"
    text = (
        "Digits of negative numbers end (#3)\n\n"
        "`digits` never returned for a negative number; the sign is ignored now."
    )
    _commit(repo, {"calc/__init__.py": ended, "tests/test_calc.py": more}, text, "2024-03-04T12:00:00Z")

    wider = (
        f"{ended}\n\ndef product(values):\n"
        '    """Multiply all values."""\n'
        "    result = 1\n    for value in values:\n        result *= value\n    return result\n"
    )
    feature = "from calc import product\n\n\ndef test_product():\n    assert product([2, 3, 4]) == 24\n"
    text = (
        "Add product (#4)\n\n"
        "There was a sum but no product: `product(values)` multiplies all values, and is 1 for none."
    )
    _commit(repo, {"calc/__init__.py": wider, "tests/test_product.py": feature}, text, "2024-03-05T12:00:00Z")
    return repo
