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

from envs.languages.python import interpreters
from envs.languages.python.recipe import PythonRecipe

UV = "0.13.9"
PACKAGES = ("ca-certificates", "git", "libfaketime", "python3", "python3-venv")
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

_AS_AGENT = "setpriv --reuid=agent --regid=agent --clear-groups env HOME=/build"
_NO_PROCESS_LEFT = "{ setpriv --reuid=agent --regid=agent --clear-groups sh -c 'kill -9 -1'; true; }"
_UV = "uv pip install --python=/opt/venv/bin/python"
_BOUNDS = "/build/bounds.txt"
_GIT = "git --git-dir=/opt/app.git --work-tree=/app"
_WHO = "GIT_{0}_NAME=upstream GIT_{0}_EMAIL=upstream@localhost GIT_{0}_DATE='2000-01-01T00:00:00Z'"


def toolchain(recipe: PythonRecipe) -> str:
    """The layers that every project of the suite shares."""
    text = f"""\
ARG BASE=debian:{recipe.suite}-slim
FROM ${{BASE}}
ENV LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/opt/venv \\
    PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
RUN {_apt(PACKAGES)} && \\
    python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir uv=={UV} && \\
    mv /opt/uv/bin/uv /usr/local/bin/uv && rm -rf /opt/uv && \\
    groupadd -g 1000 agent && useradd -m -u 1000 -g 1000 -s /bin/bash agent && \\
    groupadd -g 1001 tester && useradd -m -u 1001 -g 1001 -s /bin/bash tester && \\
    git config --system --add safe.directory /app
"""
    if recipe.compiler or recipe.packages:
        text += f"RUN {_apt(COMPILER)}\n"
    if recipe.packages:
        text += f"RUN {_apt(recipe.packages)}\n"
    return text


def dockerfile(recipe: PythonRecipe) -> str:
    """The whole image."""
    return f"""\
{toolchain(recipe)}\
COPY requirements.lock /opt/requirements.lock
RUN {_steps(*_packages(recipe))}
ADD app.tar /app/
WORKDIR /app
RUN {_steps(*_tree(recipe))}
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


def _apt(packages: tuple[str, ...]) -> str:
    return (
        "apt-get update && \\\n"
        "    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \\\n"
        f"    {' '.join(packages)} && \\\n"
        "    rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/apt/* /var/log/*.log"
    )


def _steps(*steps: str) -> str:
    return " && \\\n    ".join(steps)


def _packages(recipe: PythonRecipe) -> tuple[str, ...]:
    options, *bounds = _uv_options(recipe)
    return (
        "install -d -o agent -g agent /opt/venv /build",
        *bounds,
        f"{_AS_AGENT} python3 -m venv --without-pip /opt/venv",
        f"{_AS_AGENT} {_UV} {options} --compile-bytecode -r /opt/requirements.lock",
        _NO_PROCESS_LEFT,
        "chown -hR root:root /opt/venv",
        "rm -rf /build /tmp/* /var/tmp/*",
    )


def _tree(recipe: PythonRecipe) -> tuple[str, ...]:
    site = f"/opt/venv/lib/python{recipe.python}/site-packages"
    return (
        "install -d -m 700 /opt/app.git",
        "install -d -o agent -g agent /build",
        f"{_GIT} init -q -b main --template=",
        "mkdir /opt/app.git/info",
        # Content goes in and comes out byte for byte, whatever attributes the tree asks for.
        "printf '* -text -ident -filter -working-tree-encoding\\n' > /opt/app.git/info/attributes",
        f"{_GIT} add -A -f",
        f"{_WHO.format('AUTHOR')} {_WHO.format('COMMITTER')} {_GIT} commit -q --allow-empty -m 'Base'",
        "chown agent:agent /app",
        f"chown agent:agent {site} /opt/venv/bin",
        *_install(recipe, site),
        # Root touches what the build left only once nothing of it runs, and writes only where it could not.
        _NO_PROCESS_LEFT,
        "find /opt/venv -user agent -exec chown -h root:root {} +",
        f"{_GIT} checkout -q -f -- .",
        f"{_GIT} ls-files --others --directory --exclude-standard > /opt/app.git/others",
        "sed 's,^,/,' /opt/app.git/others > /opt/app.git/info/exclude",
        "rm -rf /opt/app.git/others /app/.git",
        f"{{ {_GIT} config --unset core.worktree || true; }}",
        "mv /opt/app.git /app/.git",
        "chmod 755 /app/.git",
        "find /app ! -user agent -exec chown -h agent:agent {} +",
        "rm -rf /build /tmp/* /var/tmp/*",
    )


def _install(recipe: PythonRecipe, site: str) -> tuple[str, ...]:
    """Put the project in place; its build sees the base's version instead of git."""
    if recipe.install == "path":
        return (f"for d in /app /app/src /app/lib; do [ ! -d $d ] || echo $d; done > {site}/app.pth",)
    version = " ".join(f"{name}={shlex.quote(recipe.version)}" for name in VERSION_VARIABLES)
    options, *bounds = _uv_options(recipe)
    # setuptools: a path entry, so that new modules of a patch are seen
    compatible = "--config-setting=editable_mode=compat " if recipe.setuptools else ""
    return (*bounds, f"{_AS_AGENT} {version} {_UV} {options} --no-sources {compatible}-e /app")


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
