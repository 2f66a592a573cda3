"""Histories that are awkward in one way each, and one change that is awkward in all ways at once."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from calc_repo import CALC, LICENSE, PYPROJECT, TESTS, _commit, _git


def _start(repo: Path) -> None:
    repo.mkdir(parents=True)
    _git(repo, "init", "-q", "-b", "main")
    # The README makes the tree, and so the environment, one that was never built before.
    files = {
        "LICENSE": LICENSE,
        "pyproject.toml": PYPROJECT,
        "README.md": f"{uuid4()}\n",
        "calc/__init__.py": CALC,
    }
    _commit(repo, {**files, "tests/test_calc.py": TESTS}, "Start", "2024-03-01T12:00:00Z")


FIXED = CALC.replace("sum(values) // len(values)", "sum(values) / len(values)")
NEW_TEST = "\n\ndef test_mean_of_odd_sum():\n    assert mean([1, 2]) == 1.5\n"
MESSAGE = (
    "Mean keeps the fraction (#1)\n\n"
    "`mean` rounded its result down to an integer; the mean of 1 and 2 is 1.5."
)


def fresh(repo: Path) -> Path:
    """One ordinary change in an environment that was never built before."""
    _start(repo)
    _commit(
        repo,
        {"calc/__init__.py": FIXED, "tests/test_calc.py": TESTS + NEW_TEST},
        MESSAGE,
        "2024-03-02T12:00:00Z",
    )
    return repo


def odd(repo: Path) -> Path:
    """One change of a Latin-1 file, a CRLF file and a binary file, with a rename."""
    _start(repo)
    latin = '# -*- coding: latin-1 -*-\nNAME = "caf\xe9"\nPRICE = 1\n'
    crlf = '"""Kept with\r\nCRLF."""\r\n\r\n\r\ndef half(value):\r\n    return value // 2\r\n'
    (repo / "calc/latin.py").write_bytes(latin.encode("latin-1"))
    (repo / "calc/crlf.py").write_bytes(crlf.encode())
    (repo / "calc/data.bin").write_bytes(bytes(range(256)))
    (repo / "calc/old_name.py").write_text(
        "def name():\n    return 'a name that stays the same in the new file'\n\n\nA = 1\n"
    )
    _git(repo, "add", "-A")
    _git(repo, "commit", "-q", "--amend", "--no-edit")
    (repo / "calc/latin.py").write_bytes(latin.replace("PRICE = 1", "PRICE = 2  # \xa3").encode("latin-1"))
    (repo / "calc/crlf.py").write_bytes(crlf.replace("// 2", "/ 2").encode())
    (repo / "calc/data.bin").write_bytes(bytes(reversed(range(256))))
    _git(repo, "mv", "calc/old_name.py", "calc/new_name.py")
    tests = """
from pathlib import Path

import calc
from calc import crlf, latin


def test_latin():
    assert (latin.NAME, latin.PRICE) == ("caf\\xe9", 2)


def test_crlf():
    assert crlf.half(3) == 1.5
    assert b"\\r\\n" in Path(crlf.__file__).read_bytes()


def test_binary():
    assert Path(calc.__file__).with_name("data.bin").read_bytes()[0] == 255


def test_renamed():
    from calc import new_name

    assert "the same" in new_name.name()
    assert not Path(calc.__file__).with_name("old_name.py").exists()
"""
    text = (
        "Prices, halves, data and names (#7)\n\n"
        "The price in `calc/latin.py` is 2, `half` keeps its fraction, the bytes of `calc/data.bin` run "
        "backwards, and `calc/old_name.py` is now called `calc/new_name.py`."
    )
    _commit(repo, {"tests/test_odd.py": tests}, text, "2024-03-02T12:00:00Z")
    return repo


def submodule(repo: Path) -> Path:
    """A change that moves a submodule along with the source."""
    _start(repo)
    modules = '[submodule "lib"]\n\tpath = lib\n\turl = https://example.org/lib.git\n'
    (repo / ".gitmodules").write_text(modules)
    _git(repo, "add", "-A")
    _git(repo, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},lib")
    _git(repo, "commit", "-q", "-m", "A library")
    (repo / "calc/__init__.py").write_text(FIXED)
    (repo / "tests/test_calc.py").write_text(TESTS + NEW_TEST)
    _git(repo, "add", "calc", "tests")
    _git(repo, "update-index", "--cacheinfo", f"160000,{'2' * 40},lib")
    _git(repo, "commit", "-q", "-m", MESSAGE)
    return repo


def escaping(repo: Path) -> Path:
    """A change in a tree with a link that leads out of it."""
    _start(repo)
    (repo / "calc/passwd").symlink_to("/etc/passwd")
    _commit(
        repo,
        {"calc/__init__.py": FIXED, "tests/test_calc.py": TESTS + NEW_TEST},
        MESSAGE,
        "2024-03-02T12:00:00Z",
    )
    return repo


def bare(clone: Path, of: Path) -> Path:
    _git(of, "clone", "-q", "--bare", str(of), str(clone))
    return clone


def shallow(clone: Path, of: Path) -> Path:
    _git(of, "clone", "-q", "--depth", "1", f"file://{of}", str(clone))
    return clone
