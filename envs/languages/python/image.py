"""The Dockerfile of a Python environment: distribution, toolchain, packages, tree, in that order of sharing.

What holds (docs/design.md, the environment image): `/app` is the base tree with one commit, `/opt/venv`
belongs to root. Code of the project or of its dependencies runs during the build only as `agent`, never as
root, so that nothing of it can reach `/usr/bin/python3`, git or the repository that the commit is made from.
Files that the project's own build rewrote are put back as they were; what it added is excluded from git by
path.
"""

from __future__ import annotations

import shlex
from datetime import datetime, timedelta

from envs.languages import layers
from envs.languages.python import interpreters
from envs.languages.python.recipe import PythonRecipe

UV = "0.13.9"
PACKAGES = (*layers.PACKAGES, "python3", "python3-venv")
COMPILER = ("g++", "gcc", "libc6-dev", "libffi-dev", "make", "pkg-config", "python3-dev")

# Parts of pytest that come with it when it is raised.
RUNNER_PARTS = (
    "pytest", "atomicwrites", "attrs", "exceptiongroup", "importlib-metadata", "iniconfig", "more-itertools",
    "packaging", "pluggy", "py", "pyparsing", "six", "toml", "tomli", "wcwidth", "zipp",
)  # fmt: skip

# How build backends that would ask git are told the version.
VERSION_VARIABLES = (
    "SETUPTOOLS_SCM_PRETEND_VERSION",
    "PBR_VERSION",
    "PDM_BUILD_SCM_VERSION",
    "POETRY_DYNAMIC_VERSIONING_BYPASS",
    "UV_DYNAMIC_VERSIONING_BYPASS",
)

_UV = "uv pip install --python=/opt/venv/bin/python"
_BOUNDS = "/build/bounds.txt"


def toolchain(recipe: PythonRecipe) -> str:
    """The layers that every project of the suite shares."""
    text = f"""\
ARG BASE=debian:{recipe.suite}-slim
FROM ${{BASE}}
ENV LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/opt/venv \\
    PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
RUN {layers.apt(PACKAGES)} && \\
    python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir uv=={UV} && \\
    mv /opt/uv/bin/uv /usr/local/bin/uv && rm -rf /opt/uv && \\
    {layers.steps(*layers.ACCOUNTS)}
"""
    if recipe.compiler or recipe.packages:
        text += f"RUN {layers.apt(COMPILER)}\n"
    if recipe.packages:
        text += f"RUN {layers.apt(recipe.packages)}\n"
    return text


def dockerfile(recipe: PythonRecipe) -> str:
    """The whole image."""
    return f"""\
{toolchain(recipe)}\
COPY requirements.lock /opt/requirements.lock
RUN {layers.steps(*_packages(recipe))}
ADD app.tar /app/
WORKDIR /app
RUN {layers.steps(*_tree(recipe))}
"""


def index_options(recipe: PythonRecipe, *, builds: bool) -> list[str]:
    """What uv may see: nothing after the date, except what had to be raised; backends where it `builds`."""
    later: dict[str, str] = {}
    if recipe.runner_raised:
        released = next(i.pytest_released for i in interpreters.INTERPRETERS if i.python == recipe.python)
        later |= dict.fromkeys(RUNNER_PARTS, _after(released.isoformat()))
    if builds:
        raised = (entry.split("=", 1) for entry in recipe.backends_raised)
        later |= {name: _after(day) for name, day in raised}
    later |= dict(entry.split("=", 1) for entry in recipe.gone)
    later.pop(recipe.name, None)
    return [
        f"--exclude-newer={_iso(recipe.index_date)}",
        *(f"--exclude-newer-package={name}={when}" for name, when in sorted(later.items())),
    ]


def _iso(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _after(day: str) -> str:
    # time zones: a release may be a day later elsewhere
    return _iso(datetime.fromisoformat(day) + timedelta(days=2))


def _packages(recipe: PythonRecipe) -> tuple[str, ...]:
    options, *bounds = _uv_options(recipe)
    return (
        "install -d -o agent -g agent /opt/venv /build",
        *bounds,
        f"{layers.AS_AGENT} python3 -m venv --without-pip /opt/venv",
        f"{layers.AS_AGENT} {_UV} {options} --compile-bytecode -r /opt/requirements.lock",
        layers.NO_PROCESS_LEFT,
        "chown -hR root:root /opt/venv",
        "rm -rf /build /tmp/* /var/tmp/*",
    )


def _tree(recipe: PythonRecipe) -> tuple[str, ...]:
    site = f"/opt/venv/lib/python{recipe.python}/site-packages"
    return (
        *layers.COMMIT,
        f"chown agent:agent {site} /opt/venv/bin",
        *_install(recipe, site),
        # Root touches what the build left only once nothing of it runs, and writes only where it could not.
        layers.NO_PROCESS_LEFT,
        "find /opt/venv -user agent -exec chown -h root:root {} +",
        *layers.SETTLE,
    )


def _install(recipe: PythonRecipe, site: str) -> tuple[str, ...]:
    """Put the project in place; its build sees the base's version instead of git."""
    if recipe.install == "path":
        return (f"for d in /app /app/src /app/lib; do [ ! -d $d ] || echo $d; done > {site}/app.pth",)
    version = " ".join(f"{name}={shlex.quote(recipe.version)}" for name in VERSION_VARIABLES)
    options, *bounds = _uv_options(recipe)
    # setuptools: a path entry, so that new modules of a patch are seen
    compatible = "--config-setting=editable_mode=compat " if recipe.setuptools else ""
    return (*bounds, f"{layers.AS_AGENT} {version} {_UV} {options} --no-sources {compatible}-e /app")


def _uv_options(recipe: PythonRecipe) -> tuple[str, ...]:
    """Options of an installation, and the step before it where build requirements have bounds."""
    options = [
        "--no-cache",
        "--no-deps",
        "--no-config",
        "--link-mode=copy",
        *index_options(recipe, builds=True),
    ]
    if not recipe.build_constraints:
        return (shlex.join(options),)
    options.append(f"--build-constraints={_BOUNDS}")
    return shlex.join(options), f"printf '%s\\n' {shlex.join(recipe.build_constraints)} > {_BOUNDS}"
