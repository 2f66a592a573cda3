"""Gathering what tests need."""

from __future__ import annotations

from envs.languages.python import imports, pytest_options
from envs.languages.python.metadata import read
from envs.languages.python.requirements import Needs, needs_of
from envs.languages.tree import Tree


def tree(files: dict[str, str]) -> Tree:
    return Tree({name: text.encode() for name, text in files.items()})


def needs(files: dict[str, str], python: str = "3.9") -> Needs:
    t = tree(files)
    return needs_of(t, read(t), python)


def test_requirements_files_with_includes_hashes_addresses_and_options() -> None:
    found = needs({
        "tests/requirements.txt": "-r ../base.txt\n--index-url https://example.invalid/simple\n"
        "pytest==6.2.0 \\\n  --hash=sha256:00\n-e .\ngit+https://example.invalid/x.git#egg=other\n"
        "https://example.invalid/y.zip\nflake8\nbad requirement!\n",
        "base.txt": "six>=1 # compatible\n-r missing.txt\n-r tests/requirements.txt\n",
    })  # fmt: skip
    assert set(found.requirements) == {"six>=1", "pytest==6.2.0", "other"}
    notes = "\n".join(found.notes)
    for expected in (
        "missing.txt not in the tree",
        "--index-url",
        "taken from the index",
        "without a name",
        "flake8 left out",
    ):
        assert expected in notes
    assert "not a requirement" in notes


def test_tox_factors_of_the_interpreter_only() -> None:
    tox = """
[base]
deps = hypothesis
[testenv]
extras = test
deps =
    pytest
    {[base]deps}
    py39: only39
    py{36,37}: older
    !py39: not39
    django22: Django~=2.2
    cov,py39: coverage
    -rrequirements.txt
    {env:EXTRA}
commands = pytest
"""
    files = {
        "tox.ini": tox,
        "requirements.txt": "six",
        "setup.cfg": "[options.extras_require]\ntest =\n"
        "  mock\n  calc[yaml]\nyaml = pyyaml\n[metadata]\nname=calc\n",
    }
    found = needs(files)
    assert set(found.requirements) == {"pytest", "hypothesis", "only39", "coverage", "six", "mock", "pyyaml"}
    assert "test" in found.extras
    assert "yaml" in found.extras
    assert any("Django" in note for note in found.notes)


def test_development_requirements_only_where_tests_have_none() -> None:
    text = '[project]\nname="a"\n[project.optional-dependencies]\ndev=["pytest","sphinx","tox"]\n'
    dev = {"pyproject.toml": text}
    assert needs(dev).requirements == ("pytest",)
    both = {"pyproject.toml": dev["pyproject.toml"] + 'test=["pytest","mock"]\n'}
    assert needs(both).requirements == ("pytest", "mock")


def test_the_project_is_never_its_own_requirement() -> None:
    text = '[project]\nname="My_Pkg"\n[project.optional-dependencies]\nall=["six"]\n'
    text += 'test=["my-pkg[all]", "pytest"]\n'
    assert set(needs({"pyproject.toml": text}).requirements) == {"pytest", "six"}


def test_imports_of_tests_become_distributions() -> None:
    t = tree({
        "tests/test_a.py": "import os, yaml, helper, calc, numpy as np\nfrom . import x\n"
        "from PIL import Image\nimport distutils\ntry:\n    import optional\nexcept ImportError:\n    pass\n",
        "tests/helper.py": "", "tests/broken.py": "print 'x'", "calc/__init__.py": "import runtime",
    })  # fmt: skip
    assert imports.third_party(t, ("calc",)) == ("PIL", "numpy", "yaml")
    assert [imports.distribution(n) for n in ("PIL", "yaml", "numpy", "google")] == [
        "Pillow",
        "PyYAML",
        "numpy",
        None,
    ]


def test_plainly_unittest_suites() -> None:
    case = "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): pass\n"
    plain = {"tests/__init__.py": "", "tests/test_a.py": case}
    assert imports.framework(tree(plain)) == "unittest"
    assert imports.framework(tree({"tests/test_a.py": case})) == "pytest", (
        "discovery from the root cannot reach it"
    )
    assert imports.framework(tree(plain | {"tests/conftest.py": ""})) == "pytest"
    assert imports.framework(tree(plain | {"tests/test_b.py": "import pytest"})) == "pytest"
    assert imports.framework(tree(plain | {"tests/test_b.py": "def test_b(): pass"})) == "pytest"
    assert imports.framework(tree(plain | {"tox.ini": "[testenv]\ncommands = pytest"})) == "pytest"


def test_options_of_plugins_and_of_linters() -> None:
    options = pytest_options.read(tree({
        "setup.cfg": "[tool:pytest]\naddopts = --cov=calc --flake8 -n auto\n  --strict-markers\n"
        "asyncio_mode = auto\n",
        "pyproject.toml": "[tool.other]\n",
    }))  # fmt: skip
    assert set(options.plugins) == {"pytest-cov", "pytest-xdist", "pytest-asyncio"}
    assert options.kept == "--cov=calc -n auto --strict-markers"
    assert (
        pytest_options.addopts(
            tree({"pytest.ini": "[pytest]\naddopts = -q", "tox.ini": "[pytest]\naddopts=-x"})
        )
        == "-q"
    )
    toml = '[tool.pytest.ini_options]\naddopts = ["--timeout=5", "-k a b"]\n'
    assert pytest_options.read(tree({"pyproject.toml": toml})).plugins == ("pytest-timeout",)
