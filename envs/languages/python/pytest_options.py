"""Options that a project puts on its own pytest command line: which plugins they need, and which have to go.

An option of a plugin that is not there stops every run, so the plugin is added as of the date. Options that
make linters into tests are taken out: they test the style of files, fail on a newer linter, and are nobody's
behaviour.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import dataclass
from typing import Any

from envs.languages.python.metadata import config
from envs.languages.tree import Tree

# Option prefix → plugin that owns it. Matched in order; the first hit wins.
PLUGINS: tuple[tuple[str, str], ...] = (
    ("--cov", "pytest-cov"), ("--no-cov", "pytest-cov"), ("--numprocesses", "pytest-xdist"),
    ("-n", "pytest-xdist"), ("--dist", "pytest-xdist"), ("--maxprocesses", "pytest-xdist"),
    ("--timeout", "pytest-timeout"), ("--benchmark", "pytest-benchmark"), ("--codspeed", "pytest-codspeed"),
    ("--asyncio", "pytest-asyncio"), ("--random-order", "pytest-random-order"),
    ("--randomly", "pytest-randomly"), ("--reruns", "pytest-rerunfailures"), ("--html", "pytest-html"),
    ("--self-contained-html", "pytest-html"), ("--doctest-plus", "pytest-doctestplus"),
    ("--doctest-rst", "pytest-doctestplus"), ("--mpl", "pytest-mpl"), ("--disable-socket", "pytest-socket"),
    ("--allow-hosts", "pytest-socket"), ("--ds", "pytest-django"), ("--reuse-db", "pytest-django"),
    ("--create-db", "pytest-django"), ("--nomigrations", "pytest-django"), ("--snapshot", "syrupy"),
    ("--remote-data", "pytest-remotedata"), ("--arraydiff", "pytest-arraydiff"), ("--nbval", "nbval"),
    ("--instafail", "pytest-instafail"), ("--picked", "pytest-picked"), ("--spec", "pytest-spec"),
    ("--testdox", "pytest-testdox"), ("--env", "pytest-env"), ("--subprocess", "pytest-subprocess"),
    ("--hypothesis", "hypothesis"), ("--record-mode", "pytest-recording"),
    ("--block-network", "pytest-recording"), ("--tap", "pytest-tap"), ("--clarity", "pytest-clarity"),
    ("--regressions", "pytest-regressions"), ("--run-parallel", "pytest-run-parallel"),
    ("--parallel-threads", "pytest-run-parallel"),
)  # fmt: skip

# Setting in the project's pytest configuration → plugin that reads it.
SETTINGS: dict[str, str] = {
    "asyncio_mode": "pytest-asyncio", "trio_mode": "pytest-trio", "timeout": "pytest-timeout",
    "env": "pytest-env", "DJANGO_SETTINGS_MODULE": "pytest-django", "django_find_project": "pytest-django",
    "qt_api": "pytest-qt", "mock_use_standalone_module": "pytest-mock", "doctest_plus": "pytest-doctestplus",
    "remote_data_strict": "pytest-remotedata", "text_file_format": "pytest-doctestplus",
    "flask_app": "pytest-flask", "xvfb_width": "pytest-xvfb",
}  # fmt: skip

# Options of linters dressed as tests, and of what only a person at a terminal wants.
DROPPED = re.compile(
    r"--(flake8|mypy|black|isort|pylint|pycodestyle|pydocstyle|pep8|pep257|ruff|ruff-format|pyflakes|docstyle|eradicate|"
    r"checkdocs|fail-slow|pdb|instafail|flakes|codestyle|pspec|sugar|typeguard-packages|mypy-[a-z-]+)\b.*"
)

# Where pytest looks for its configuration, in its order: file and section.
FILES = (
    ("pytest.ini", "pytest"), (".pytest.ini", "pytest"), ("pyproject.toml", ""), ("tox.ini", "pytest"),
    ("setup.cfg", "tool:pytest"),
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """`plugins` to add; `kept` is what remains of the project's options, None when all of it does."""

    plugins: tuple[str, ...] = ()
    kept: str | None = None
    notes: tuple[str, ...] = ()


def read(tree: Tree) -> Options:
    """What the project's `addopts` ask for."""
    options = split(addopts(tree))
    dropped = [o for o in options if DROPPED.fullmatch(o)]
    kept = [o for o in options if o not in dropped]
    configured = settings(tree)
    plugins = dict.fromkeys(p for o in kept if (p := plugin(o)))
    plugins |= dict.fromkeys(
        p for key, p in SETTINGS.items() if key in configured or key.lower() in configured
    )
    plugins |= dict.fromkeys(
        re.findall(r"(?<![\w.-])pytest-[\w-]+", str(configured.get("required_plugins", "")))
    )
    return Options(
        plugins=tuple(plugins),
        kept=shlex.join(kept) if dropped else None,
        notes=tuple(f"pytest option {o} left out" for o in dropped),
    )


def plugin(option: str) -> str:
    """The plugin that owns an option; '' for pytest's own."""
    if re.match(r"-n(\d+|auto|logical|=.*)?$", option):
        return "pytest-xdist"
    name = option.split("=")[0]
    return next(
        (p for prefix, p in PLUGINS if prefix != "-n" and (name == prefix or name.startswith(f"{prefix}-"))),
        "",
    )


def split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def addopts(tree: Tree) -> str:
    """The project's `addopts`, as one line."""
    value = settings(tree).get("addopts", "")
    return value if isinstance(value, str) else shlex.join(map(str, value))


def settings(tree: Tree) -> dict[str, Any]:
    """The project's pytest configuration: of the first file, in pytest's order, that has one."""
    for path, section in FILES:
        if path == "pyproject.toml":
            try:
                tool = tomllib.loads(tree.text(path)).get("tool", {}).get("pytest", {})
            except tomllib.TOMLDecodeError:
                continue
            if found := tool.get("ini_options") or tool:
                return found
        elif (cfg := config(tree.text(path))).has_section(section):
            return {key: (value or "").replace("\n", " ").strip() for key, value in cfg.items(section)}
        elif path.endswith("pytest.ini") and path in tree.files:
            return {}
    return {}
