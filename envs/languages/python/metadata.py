"""What a Python project says of itself, read from its files. Nothing is executed: `setup.py` is parsed, not
run.

Sources of truth in order: the metadata a source archive carries (PKG-INFO, requires.txt: its build backend
wrote them), then pyproject.toml, setup.cfg, and what is literal in setup.py. Where run-time requirements are
computed by code, `Project.static` is False and the resolver lets the backend compute them, inside a sandbox.
"""

from __future__ import annotations

import configparser
import email.parser
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from packaging.utils import canonicalize_name

from envs.languages.python.setup_py import setup_arguments
from envs.languages.tree import Tree

Extras = Mapping[str, tuple[str, ...]]

# Files whose presence makes a tree a Python project.
PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg")
COMPILED_SUFFIXES = (".pyx", ".pxd", ".c", ".cc", ".cpp", ".cxx", ".f90")
COMPILED_BACKENDS = ("mesonpy", "scikit_build_core.build", "maturin", "setuptools_rust")
_EXTRA = r"""\(?\s*extra\s*==\s*['"]([^'"]+)['"]\s*\)?"""


@dataclass(frozen=True)
class Project:
    """A project's own statements; requirement strings are as written."""

    name: str = ""
    version: str = ""
    requires_python: str = ""
    pythons: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    extras: Extras = field(default_factory=dict)
    groups: Extras = field(default_factory=dict)
    """Development requirements that are no extras: PEP 735, Poetry, Hatch, PDM, `tests_require`."""
    backend: str = "setuptools.build_meta:__legacy__"
    static: bool = True
    compiled: bool = False
    modules: tuple[str, ...] = ()
    """Top-level import names."""


def read(tree: Tree) -> Project:
    """The project in `tree`."""
    pyproject = _toml(tree.text("pyproject.toml"))
    cfg = config(tree.text("setup.cfg"))
    setup = setup_arguments(tree.text("setup.py"))
    project = Project()
    for part in (_from_setup(setup), _from_cfg(cfg), _from_tools(pyproject), _from_pep621(pyproject)):
        project = _merge(project, part)
    project = _from_archive(tree, project)
    system = pyproject.get("build-system", {})
    return replace(
        project,
        backend=system.get("build-backend", Project.backend),
        compiled=_compiled(tree, setup, system),
        modules=_modules(tree, project.name),
    )


def config(text: str) -> configparser.ConfigParser:
    """An ini file, as far as it can be read; interpolation off."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    try:
        parser.read_string(text)
    except configparser.Error:
        return configparser.ConfigParser(interpolation=None)
    return parser


def lines(text: str | None) -> tuple[str, ...]:
    """The non-empty lines of an ini value, comments gone."""
    stripped = (re.sub(r"(^|\s)#.*", "", line).strip() for line in (text or "").splitlines())
    return tuple(line for line in stripped if line)


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}


def _merge(low: Project, high: Project) -> Project:
    """`high` where it says something; extras and groups of both."""
    return replace(
        low,
        name=high.name or low.name,
        version=high.version or low.version,
        requires_python=high.requires_python or low.requires_python,
        pythons=high.pythons or low.pythons,
        requires=high.requires or low.requires,
        extras={**low.extras, **high.extras},
        groups={**low.groups, **high.groups},
        static=low.static and high.static,
    )


def _pythons(classifiers: Iterable[str]) -> tuple[str, ...]:
    return tuple(
        m[1]
        for c in classifiers
        if (m := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", c.strip()))
    )


def _strings(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return lines(value)
    if isinstance(value, (list, tuple, set)):
        return tuple(item for item in value if isinstance(item, str))
    return ()


def _table(value: Any) -> dict[str, tuple[str, ...]]:
    return {str(k): _strings(v) for k, v in value.items()} if isinstance(value, dict) else {}


# --- pyproject.toml


def _from_pep621(pyproject: dict[str, Any]) -> Project:
    project = pyproject.get("project", {})
    dynamic = _strings(project.get("dynamic"))
    return Project(
        name=str(project.get("name", "")),
        version=str(project.get("version", "")),
        requires_python=str(project.get("requires-python", "")),
        pythons=_pythons(_strings(project.get("classifiers"))),
        requires=_strings(project.get("dependencies")),
        extras=_table(project.get("optional-dependencies", {})),
        groups=_groups(pyproject.get("dependency-groups", {})),
        static="dependencies" not in dynamic,
    )


def _groups(table: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """PEP 735 groups with their `include-group` entries followed."""

    def expand(name: str, seen: frozenset[str]) -> tuple[str, ...]:
        found: list[str] = []
        for item in table.get(name, ()):
            if isinstance(item, str):
                found.append(item)
            elif isinstance(item, dict) and (inner := item.get("include-group")) and inner not in seen:
                found.extend(expand(inner, seen | {inner}))
        return tuple(found)

    return {name: expand(name, frozenset({name})) for name in table}


def _from_tools(pyproject: dict[str, Any]) -> Project:
    """Poetry, Flit (before PEP 621), Hatch environments, PDM and uv."""
    tool = pyproject.get("tool", {})
    poetry, flit = tool.get("poetry", {}), tool.get("flit", {}).get("metadata", {})
    groups: dict[str, tuple[str, ...]] = {}
    for name, group in {
        "dev": {"dependencies": poetry.get("dev-dependencies", {})},
        **poetry.get("group", {}),
    }.items():
        groups[name] = _poetry(group.get("dependencies", {}))
    for name, environment in tool.get("hatch", {}).get("envs", {}).items():
        groups[name] = _strings(environment.get("dependencies")) + _strings(
            environment.get("extra-dependencies")
        )
    groups |= _table(tool.get("pdm", {}).get("dev-dependencies", {}))
    if "dev-dependencies" in tool.get("uv", {}):
        groups["dev"] = _strings(tool["uv"]["dev-dependencies"])
    dependencies = poetry.get("dependencies", {})
    return Project(
        name=str(poetry.get("name", "") or flit.get("dist-name", "") or flit.get("module", "")),
        version=str(poetry.get("version", "")),
        requires_python=_caret(str(dependencies.get("python", ""))) or str(flit.get("requires-python", "")),
        pythons=_pythons(_strings(poetry.get("classifiers")) + _strings(flit.get("classifiers"))),
        requires=_poetry({k: v for k, v in dependencies.items() if k != "python"})
        or _strings(flit.get("requires")),
        extras=_table(poetry.get("extras", {})) | _table(flit.get("requires-extra", {})),
        groups={name: group for name, group in groups.items() if group},
    )


def _poetry(table: dict[str, Any]) -> tuple[str, ...]:
    """Poetry's dependency table as requirements; paths and repositories keep only the name."""
    found = []
    for name, spec in table.items():
        for one in spec if isinstance(spec, list) else [spec]:
            version = (
                one
                if isinstance(one, str)
                else str(one.get("version", "*"))
                if isinstance(one, dict)
                else "*"
            )
            extras = f"[{','.join(one['extras'])}]" if isinstance(one, dict) and one.get("extras") else ""
            marker = f" ; {one['markers']}" if isinstance(one, dict) and one.get("markers") else ""
            found.append(f"{name}{extras}{_caret(version)}{marker}")
    return tuple(found)


def _caret(constraint: str) -> str:
    """Poetry's `^` and `~` as PEP 440; alternatives ('||') and what cannot be said are left open."""
    if "||" in constraint or "|" in constraint:
        return ""
    clauses = []
    for clause in filter(None, (c.strip() for c in constraint.split(","))):
        if clause == "*":
            continue
        if clause[0] in "^~" and not clause.startswith("~="):
            numbers = [int(n) for n in re.findall(r"\d+", clause)]
            keep = 1 if len(numbers) < 2 else 2
            if clause[0] == "^":
                keep = next((i for i, n in enumerate(numbers) if n), len(numbers) - 1) + 1
            top = [*numbers[: keep - 1], numbers[keep - 1] + 1]
            clauses += [f">={clause.lstrip('^~').strip()}", f"<{'.'.join(map(str, top))}"]
        elif clause[0].isdigit():
            clauses.append(f"=={clause}")
        else:
            clauses.append(clause)
    return ",".join(clauses)


# --- setup.cfg and setup.py


def _from_cfg(cfg: configparser.ConfigParser) -> Project:
    def get(section: str, key: str) -> str:
        return cfg.get(section, key, fallback="") or ""

    extras = {}
    if cfg.has_section("options.extras_require"):
        extras = {name: lines(value) for name, value in cfg.items("options.extras_require")}
    tests = lines(
        get("options", "tests_require").replace(";", "\n")
        if "\n" not in get("options", "tests_require")
        else get("options", "tests_require")
    )
    requires = get("options", "install_requires")
    version = get("metadata", "version")
    return Project(
        name=get("metadata", "name"),
        version="" if ":" in version else version,
        requires_python=get("options", "python_requires"),
        pythons=_pythons(lines(get("metadata", "classifiers") or get("metadata", "classifier"))),
        requires=() if requires.startswith("file:") else lines(requires),
        extras=extras,
        groups={"tests_require": tests} if tests else {},
        static=not requires.startswith("file:"),
    )


def _from_setup(setup: dict[str, Any]) -> Project:
    tests = _strings(setup.get("tests_require"))
    return Project(
        name=str(setup.get("name") or ""),
        version=str(setup.get("version") or ""),
        requires_python=str(setup.get("python_requires") or ""),
        pythons=_pythons(_strings(setup.get("classifiers"))),
        requires=_strings(setup.get("install_requires")),
        extras=_table(setup.get("extras_require") or {}),
        groups={"tests_require": tests} if tests else {},
        static=setup.get("install_requires", ()) is not None,
    )


# --- what a source archive carries


def _from_archive(tree: Tree, project: Project) -> Project:
    """PKG-INFO and egg-info, where present, outrank what was read from the build files."""
    info = next((p for p in ("PKG-INFO", *_egg_info(tree, "PKG-INFO")) if p in tree.files), None)
    if info is None:
        return project
    headers = email.parser.Parser().parsestr(tree.text(info), headersonly=True)
    project = _merge(project, Project(
        name=str(headers.get("Name", "")),
        version=str(headers.get("Version", "")),
        requires_python=str(headers.get("Requires-Python", "")),
        pythons=_pythons(headers.get_all("Classifier", [])),
    ))  # fmt: skip
    requires, extras = _split_extras(headers.get_all("Requires-Dist", []))
    egg_infos = _egg_info(tree, "requires.txt")
    if not requires and not extras and egg_infos:
        requires, extras = _requires_txt(tree.text(egg_infos[0]))
    told = bool(requires or extras or _egg_info(tree, "SOURCES.txt"))
    if not told and not project.static:
        return project
    return replace(
        project,
        requires=requires if told else project.requires,
        extras={**project.extras, **extras},
        static=True if told else project.static,
    )


def _egg_info(tree: Tree, name: str) -> list[str]:
    found = (p for p in tree if p.endswith(f".egg-info/{name}"))
    return sorted((p for p in found if len(PurePosixPath(p).parts) <= 3), key=len)


def _split_extras(requires: Iterable[str]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Requires-Dist lines by extra, the extra's clause taken out of the marker."""
    plain: list[str] = []
    extras: dict[str, list[str]] = {}
    for line in requires:
        wanted = re.findall(_EXTRA, line)
        if not wanted:
            plain.append(line)
            continue
        rest = re.sub(rf"\s*and\s*{_EXTRA}|{_EXTRA}\s*and\s*|;\s*{_EXTRA}\s*$", "", line).strip().rstrip(";")
        if re.search(_EXTRA, rest):
            rest = line.split(";")[0].strip()
        for extra in wanted:
            extras.setdefault(extra, []).append(rest)
    return tuple(plain), {name: tuple(items) for name, items in extras.items()}


def _requires_txt(text: str) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Setuptools' requires.txt: sections `[extra]`, `[:marker]` and `[extra:marker]`."""
    plain: list[str] = []
    extras: dict[str, list[str]] = {}
    extra, marker = "", ""
    for line in lines(text):
        if line.startswith("["):
            extra, _, marker = line.strip("[]").partition(":")
            continue
        requirement = f"{line} ; {marker}" if marker else line
        (extras.setdefault(extra, []) if extra else plain).append(requirement)
    return tuple(plain), {name: tuple(items) for name, items in extras.items()}


# --- what the tree itself shows


def _compiled(tree: Tree, setup: dict[str, Any], system: dict[str, Any]) -> bool:
    """Does installing it need a compiler?"""
    if setup.get("ext_modules") or setup.get("cffi_modules") or setup.get("rust_extensions"):
        return True
    if system.get("build-backend", "").startswith(COMPILED_BACKENDS):
        return True
    text = tree.text("setup.py")
    return "Extension(" in text or (
        "ext_modules" in text and any(p.endswith(COMPILED_SUFFIXES) for p in tree)
    )


def _modules(tree: Tree, name: str) -> tuple[str, ...]:
    """Top-level import names: as the archive lists them, else what is named like the project."""
    for listed in _egg_info(tree, "top_level.txt"):
        names = tuple(n for n in lines(tree.text(listed)) if n.isidentifier() and not n.startswith("_"))
        if names:
            return names
    wanted = canonicalize_name(name).replace("-", "_")
    tops = {p.removeprefix("src/").removeprefix("lib/").split("/")[0] for p in tree if p.endswith(".py")}
    short = wanted.removeprefix("python_").removesuffix("_python")
    for candidate in (wanted, short):
        match = next(
            (t.removesuffix(".py") for t in sorted(tops) if t.removesuffix(".py").lower() == candidate), None
        )
        if match:
            return (match,)
    return ()
