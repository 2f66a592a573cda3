"""What a project's tests need, gathered from wherever projects say it. Pure reading; every line left out
leaves a note.

Places are asked in a fixed order and united: dependency groups, extras, `tests_require`, tox, requirements
files. Only when none of them names tests are the development ones taken. Tools that no test runs (linters,
type checkers, document builders, release tools) are left out: they cost disk, and conflict with packages of
the day more than any others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from envs.languages.python.metadata import Extras, Project, config, lines
from envs.languages.tree import Tree

TEST_NAMES = frozenset({
    "test", "tests", "testing", "tests-require", "unittest", "unittests", "unit-tests", "pytest",
    "hatch-test", "test-extras",
})  # fmt: skip
DEV_NAMES = frozenset({"dev", "develop", "development", "devel", "ci", "default", "check", "all"})

# Requirements files by path.
TEST_FILES = re.compile(
    r"((test|tests|testing)[-_]requirements|requirements[-_.](test|tests|testing)|requirements/(test|tests|testing)"
    r"|(test|tests|testing)/requirements([-_.][a-z]+)?|(test|tests)[-_]requires|requirements/requirements[-_](test|tests)"
    r"|requirements/(test|tests)[-_]requirements|(pip-)?requirements?-?(test|tests))\.(txt|in)"
)
DEV_FILES = re.compile(
    r"(dev[-_]requirements|requirements[-_.](dev|develop|development|ci)|requirements/(dev|develop|development|ci)"
    r"|(dev|ci)/requirements|requirements/requirements[-_]dev)\.(txt|in)"
)

# Tools that tests do not run. A test that imports one gets it back through the import scan.
TOOLS = re.compile(
    r"black|isort|ruff|flake8(-.*)?|pycodestyle|pyflakes|pylint(-.*)?|mypy|pyright|ty|pyre-check|pytype|bandit|safety|pydocstyle|"
    r"darglint|interrogate|doc8|autopep8|yapf|codespell|pre-commit|types-.*|.*-stubs|"
    r"sphinx.*|.*-sphinx.*|furo|myst-parser|nbsphinx|mkdocs.*|mkdocstrings.*|pdoc3?|recommonmark|m2r2?|numpydoc|towncrier|"
    r"tox(-.*)?|nox|twine|wheel|build|check-manifest|bump2version|bumpversion|bump-my-version|zest-releaser|pyroma|invoke|"
    r"hatch|poetry|pdm|flit|pip-tools|pipenv|uv|coveralls|codecov|readme-renderer|licenseheaders|reuse|gitlint|commitizen|"
    r"python-semantic-release|pyinstaller|ipdb|pdbpp|ipython|jupyter.*|notebook|pudb|vulture|radon|refurb|pyupgrade|"
    r"pytest-(flake8|mypy|black|isort|pylint|pycodestyle|pydocstyle|pep8|pep257|ruff|sugar|watch|github-actions-annotate-failures|mypy-plugins)"
)

MAX_INCLUDES = 20


@dataclass(frozen=True)
class Needs:
    """Requirements of the tests, the extras of the project that they want, and what was left out."""

    requirements: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Notes(list[str]):
    """Notes in order, each once."""

    def add(self, note: str) -> None:
        if note not in self:
            self.append(note)


def needs_of(tree: Tree, project: Project, python: str) -> Needs:
    """What the project's tests need on interpreter `python`."""
    notes = Notes()
    for names, files in ((TEST_NAMES, TEST_FILES), (DEV_NAMES, DEV_FILES)):
        found: list[str] = []
        extras: list[str] = []
        for table in (project.groups, project.extras):
            found += _named(table, names)
        if names is TEST_NAMES:
            found += _tox(tree, python, extras, notes)
        for path in sorted(tree):
            if files.fullmatch(path):
                found += requirements_file(tree, path, notes)
        kept = _clean(found, project, extras, notes)
        if kept or extras:
            return Needs(kept, tuple(dict.fromkeys(extras)), tuple(notes))
    return Needs(notes=tuple(notes))


def _named(table: Extras, names: frozenset[str]) -> list[str]:
    return [
        r for name, items in table.items() if canonicalize_name(name) in names or name in names for r in items
    ]


def requirements_file(tree: Tree, path: str, notes: Notes, depth: int = 0) -> list[str]:
    """Requirement lines of a pip file, its `-r` includes followed inside the tree."""
    found: list[str] = []
    text = re.sub(r"\\\n", " ", tree.text(path))
    for line in lines(text):
        include = re.match(r"(?:-r|--requirement)[=\s]+(\S+)", line)
        if include:
            target = _inside(PurePosixPath(path).parent, include[1])
            if target in tree.files and depth < MAX_INCLUDES:
                found += requirements_file(tree, target, notes, depth + 1)
            else:
                notes.add(f"{path}: include {include[1]} not in the tree")
        elif re.match(r"-e|--editable|\.", line):
            found.append(re.sub(r"^(-e|--editable)[=\s]+", "", line))
        elif line.startswith("-"):
            notes.add(f"{path}: option {line.split()[0]} left out")
        else:
            found.append(re.sub(r"\s--hash=\S+", "", line).strip())
    return found


def _inside(folder: PurePosixPath, target: str) -> str:
    parts: list[str] = []
    for part in (folder / target).parts:
        if part == ".." and parts:
            parts.pop()
        elif part not in (".", ".."):
            parts.append(part)
    return "/".join(parts)


def _tox(tree: Tree, python: str, extras: list[str], notes: Notes) -> list[str]:
    """[testenv] deps and extras; a line for factors counts only when the factors are the interpreter's."""
    cfg = config(tree.text("tox.ini") or tree.text("setup.cfg"))
    for section in ("testenv", "tox:testenv"):
        if not cfg.has_section(section):
            continue
        for line in _factors(cfg.get(section, "extras", fallback=""), python, notes):
            extras.extend(filter(None, re.split(r"[,\s]+", line)))
        found: list[str] = []
        for line in _factors(cfg.get(section, "deps", fallback=""), python, notes):
            reference = re.fullmatch(r"\{\[([^\]]+)\]([\w.-]+)\}", line)
            if reference and cfg.has_section(reference[1]):
                found += list(_factors(cfg.get(reference[1], reference[2], fallback=""), python, notes))
            elif include := re.match(r"-r\s*(\S+)", line):
                path = include[1].replace("{toxinidir}", ".").replace("{tox_root}", ".")
                found += requirements_file(tree, _inside(PurePosixPath(), path), notes)
            elif not line.startswith("-") and "{" not in line:
                found.append(line)
            else:
                notes.add(f"tox.ini: {line} left out")
        return found
    return []


def _factors(text: str | None, python: str, notes: Notes) -> Iterator[str]:
    mine = f"py{python.replace('.', '')}"
    for line in lines(text):
        match = re.match(r"((?:[\w.{},!-]|\s*,\s*)+?):\s+(.*)|((?:py|!py)[\w.{},!-]*):(\S.*)", line)
        if not match or "://" in line.split(" ")[0]:
            yield line
            continue
        factors, rest = match[1] or match[3], match[2] or match[4]
        wanted = _expand(factors)
        if any(_fits(one, mine) for one in wanted):
            yield rest
        elif not all(re.fullmatch(r"!?(py|pypy)\d*", part) for one in wanted for part in one.split("-")):
            notes.add(f"tox.ini: {line} left out (not a factor of the interpreter)")


def _expand(factors: str) -> list[str]:
    """'py{36,37}-x,lint' → ['py36-x', 'py37-x', 'lint']."""
    if brace := re.search(r"\{([^{}]*)\}", factors):
        return [f for one in brace[1].split(",") for f in _expand(factors.replace(brace[0], one.strip(), 1))]
    return [f.strip() for f in factors.split(",") if f.strip()]


def _fits(factor: str, mine: str) -> bool:
    return all(
        (part[1:] != mine) if part.startswith("!") else part in (mine, "py3", "py")
        for part in factor.split("-")
    )


def _clean(found: Iterable[str], project: Project, extras: list[str], notes: Notes) -> tuple[str, ...]:
    """Valid requirements of others, each once; the project itself becomes the extras it was asked with."""
    kept: dict[str, None] = {}
    own = canonicalize_name(project.name)
    queue = list(found)
    known = {str(canonicalize_name(name)): items for name, items in project.extras.items()}
    taken: set[str] = set()

    def take(names: Iterable[str]) -> None:
        for name in names:
            if (key := str(canonicalize_name(name))) not in taken:
                taken.add(key)
                extras.append(name)
                queue.extend(known.get(key, ()))

    take(extras.copy())
    while queue:
        line = queue.pop(0)
        if local := re.match(r"(?:file:)?\.{1,2}(?:/\S*?)?(?:\[([^\]]*)\])?\s*$", line):
            take(filter(None, re.split(r"[,\s]+", local[1] or "")))
            continue
        requirement = parse(line, notes)
        if requirement is None:
            continue
        if canonicalize_name(requirement.name) == own:
            take(sorted(requirement.extras))
        elif TOOLS.fullmatch(canonicalize_name(requirement.name)):
            notes.add(f"{requirement.name} left out: no test runs it")
        else:
            kept[str(requirement)] = None
    return tuple(kept)


def parse(line: str, notes: Notes) -> Requirement | None:
    """A requirement from the index. Of one that names an address only the name is kept."""
    text = line.strip()
    if egg := re.search(r"#egg=([\w.-]+)", text):
        text = egg[1]
        notes.add(f"{line}: address left out, {text} taken from the index")
    elif re.match(r"[\w.+-]+://|git\+|/", text):
        notes.add(f"{line}: address without a name left out")
        return None
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        notes.add(f"{line}: not a requirement")
        return None
    if requirement.url:
        notes.add(f"{line}: address left out, {requirement.name} taken from the index")
        requirement.url = None
    return requirement
