"""The commands that install what a project depends on: by its own package manager with its lock file, else by
npm with the ranges of package.json.

Install scripts of packages are not run: those of development tools fetch browsers and compilers, and fail; a
package that cannot do without its own is built again by name when a run shows it (see `repair`).
"""

from __future__ import annotations

import re
import shlex

from envs.languages.javascript import manifest as manifests
from envs.languages.javascript.manifest import Manifest
from envs.languages.tree import Tree

QUIET = "--ignore-scripts --no-audit --no-fund --no-progress"
NPM_CI = f"npm ci --legacy-peer-deps {QUIET}"
NPM_INSTALL = f"npm install --no-package-lock --legacy-peer-deps {QUIET}"
NPM_ADD = f"npm install --no-save --no-package-lock --legacy-peer-deps {QUIET}"

# Lock file's own version → package manager that reads it.
PNPM = (("9", "9.15.9"), ("6", "8.15.9"), ("5.4", "7.33.7"), ("5", "6.35.1"))
YARN_CLASSIC, YARN_BERRY = "1.22.22", "4.9.4"


def commands(base: Tree, gold: Tree) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(shell commands, notes)."""
    mine, theirs = manifests.read(base), manifests.read(gold)
    elsewhere = manifests.unobtainable(mine)
    notes: list[str] = []
    if elsewhere:
        first, notes = _by_ranges(base, mine, elsewhere)
    elif "npm-shrinkwrap.json" in base or "package-lock.json" in base:
        first = (NPM_CI,)
    elif "pnpm-lock.yaml" in base:
        first = (_pnpm(base, mine),)
    elif "yarn.lock" in base:
        first = (_yarn(base, mine),)
    else:
        first, notes = _by_ranges(base, mine, ())
    more = manifests.added(mine, theirs)
    if more:
        first = (*first, f"{NPM_ADD} {' '.join(map(shlex.quote, more))}")
        notes.append(f"added {', '.join(more)}: the change requires it")
    return first, tuple(notes)


def _by_ranges(
    tree: Tree, manifest: Manifest, elsewhere: tuple[str, ...]
) -> tuple[tuple[str, ...], list[str]]:
    idle = manifests.maintenance(tree, manifest)
    dropped = sorted({*idle, *elsewhere})
    notes = [f"left out {', '.join(idle)}: for maintenance only"] if idle else []
    notes += [f"left out {', '.join(elsewhere)}: not from a registry"] if elsewhere else []
    return (*((without(dropped),) if dropped else ()), NPM_INSTALL), notes


def without(names: list[str]) -> str:
    """Take requirements out of package.json, which git puts back when all is installed."""
    script = (
        "const fs = require('fs'), p = JSON.parse(fs.readFileSync('package.json'));"
        "for (const k of ['dependencies', 'devDependencies', 'optionalDependencies', 'peerDependencies'])"
        "for (const n of process.argv.slice(1)) if (p[k]) delete p[k][n];"
        "fs.writeFileSync('package.json', JSON.stringify(p))"
    )
    return f'node -e "{script}" {" ".join(map(shlex.quote, names))}'


def _pnpm(tree: Tree, manifest: Manifest) -> str:
    named = re.fullmatch(r"pnpm@(\d+\.\d+\.\d+).*", manifest.manager)
    version = named[1] if named else ""
    if not version:
        lock = re.search(r"^lockfileVersion:\s*['\"]?([\d.]+)", tree.text("pnpm-lock.yaml"), re.M)
        told = lock[1] if lock else "9"
        version = next((v for prefix, v in PNPM if told.startswith(prefix)), PNPM[0][1])
    return f"npx --yes pnpm@{version} install --frozen-lockfile --ignore-scripts --package-import-method=copy"


def _yarn(tree: Tree, manifest: Manifest) -> str:
    if "__metadata:" not in tree.text("yarn.lock"):
        return (
            f"npx --yes yarn@{YARN_CLASSIC} install --frozen-lockfile --ignore-scripts --ignore-engines "
            "--non-interactive --no-progress"
        )
    named = re.fullmatch(r"yarn@(\d+\.\d+\.\d+).*", manifest.manager)
    version = named[1] if named else YARN_BERRY
    return (
        "YARN_NODE_LINKER=node-modules YARN_ENABLE_SCRIPTS=false YARN_ENABLE_TELEMETRY=0 YARN_IGNORE_PATH=1 "
        "YARN_ENABLE_GLOBAL_CACHE=true YARN_CHECKSUM_BEHAVIOR=ignore "
        f"npx --yes @yarnpkg/cli-dist@{version} install --immutable --mode=skip-build"
    )
