"""Reading a project without running it."""

from __future__ import annotations

from pathlib import Path

from envs.languages.python.metadata import read
from envs.languages.tree import Tree


def project(**files: str):
    return read(Tree({name.replace("__", "."): text.encode() for name, text in files.items()}))


def tree(files: dict[str, str]) -> Tree:
    return Tree({name: text.encode() for name, text in files.items()})


def test_pep621_with_extras_and_nested_groups() -> None:
    p = project(
        pyproject__toml="""
        [project]
        name = "Calc.Lib"
        version = "1.2"
        requires-python = ">=3.8"
        dependencies = ["attrs>=20"]
        classifiers = ["Programming Language :: Python :: 3.9", "Programming Language :: Python :: 3 :: Only"]
        optional-dependencies.test = ["pytest>=6"]
        [dependency-groups]
        tests = ["hypothesis", {include-group = "typing"}]
        typing = ["mypy", {include-group = "tests"}]
        [build-system]
        requires = ["flit_core"]
        build-backend = "flit_core.buildapi"
    """
    )
    assert (p.name, p.version, p.requires_python, p.pythons) == ("Calc.Lib", "1.2", ">=3.8", ("3.9",))
    assert p.requires == ("attrs>=20",)
    assert p.extras["test"] == ("pytest>=6",)
    assert p.groups["tests"] == ("hypothesis", "mypy")
    assert p.static
    assert p.backend == "flit_core.buildapi"


def test_poetry_constraints_become_pep440() -> None:
    p = project(
        pyproject__toml="""
        [tool.poetry]
        name = "calc"
        [tool.poetry.dependencies]
        python = "^3.6.2"
        requests = { version = "~2.25", extras = ["socks"] }
        lib = "^0.3"
        here = { path = "../here" }
        [tool.poetry.dev-dependencies]
        pytest = "6.1.*"
        [tool.poetry.group.test.dependencies]
        mock = "*"
    """
    )
    assert p.requires_python == ">=3.6.2,<4"
    assert p.requires == ("requests[socks]>=2.25,<2.26", "lib>=0.3,<0.4", "here")
    assert p.groups == {"dev": ("pytest==6.1.*",), "test": ("mock",)}


def test_setup_py_is_parsed_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    p = project(
        setup__py=f"""
import os
from setuptools import setup, Extension
open({str(trace)!r}, "w").write("x")
TESTS = ["pytest"]
setup(name="calc", version="3", python_requires=">=3.5", install_requires=["six"] + ["attrs"],
      extras_require=dict(test=TESTS), tests_require=TESTS, ext_modules=[Extension("a", ["a.c"])])
"""
    )
    assert not trace.exists()
    assert p.requires == ("six", "attrs")
    assert p.extras == {"test": ("pytest",)}
    assert p.groups == {"tests_require": ("pytest",)}
    assert p.static
    assert p.compiled


def test_computed_requirements_are_said_to_be_computed() -> None:
    assert not project(
        setup__py="from setuptools import setup\nsetup(install_requires=open('r').read().split())"
    ).static
    assert not project(setup__py="from setuptools import setup\nsetup(**read_metadata())").static
    assert not project(pyproject__toml='[project]\nname="a"\ndynamic=["dependencies"]').static
    assert project(setup__py="from setuptools import setup\nsetup(name='a')").static


def test_setup_cfg_and_python_2_setup_py() -> None:
    p = project(
        setup__cfg="[metadata]\nname = calc\nversion = attr: calc.v\n[options]\n"
        "install_requires =\n  six\n  attrs # why\n"
        "[options.extras_require]\ntest = pytest\n",
    )
    assert (p.name, p.version, p.requires) == ("calc", "", ("six", "attrs"))
    assert not project(setup__py="print 'python 2'").static


def test_a_source_archive_says_it_best() -> None:
    p = read(tree({
        "setup.py": "from setuptools import setup\nsetup(**compute())",
        "PKG-INFO": "Metadata-Version: 2.1\nName: calc\nVersion: 2.0\nRequires-Dist: six\n"
        'Requires-Dist: pytest>=6 ; (python_version < "3.12") and extra == "test"\n'
        "Requires-Dist: mock; extra == 'test' and python_version<'3'\nProvides-Extra: test\n\nReadme\n",
        "calc.egg-info/top_level.txt": "calc\n_private\n",
    }))  # fmt: skip
    assert p.static
    assert (p.version, p.requires, p.modules) == ("2.0", ("six",), ("calc",))
    assert p.extras["test"] == ('pytest>=6 ; (python_version < "3.12")', "mock;python_version<'3'")


def test_requires_txt_sections() -> None:
    p = read(tree({
        "setup.py": "from setuptools import setup\nsetup(**compute())",
        "PKG-INFO": "Metadata-Version: 1.2\nName: calc\nVersion: 2.0\n",
        "src/calc.egg-info/requires.txt": 'six\n\n[:python_version < "3"]\nenum34\n'
        '\n[test]\npytest\n\n[test:os_name == "nt"]\ncolorama\n',
    }))  # fmt: skip
    assert p.requires == ("six", 'enum34 ; python_version < "3"')
    assert p.extras["test"] == ("pytest", 'colorama ; os_name == "nt"')


def test_broken_files_do_not_stop_reading() -> None:
    p = project(pyproject__toml="not toml [", setup__cfg="no section", setup__py="def (", PKG__INFO="")
    assert p.requires == ()
    assert not p.static
