"""What package.json and the lock file say. Pure; what is not as npm wants it is treated as absent."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from envs.languages.tree import Tree

KINDS = ("dependencies", "optionalDependencies", "peerDependencies", "devDependencies")
# Where a requirement is no version range: a place that registries do not serve.
ELSEWHERE = re.compile(r"^(git[+:@]|github:|gitlab:|bitbucket:|gist:|https?:|ssh:|[\w.-]+/[\w.-]+(#.*)?$)")

# Tools of maintenance, which no test needs unless it imports them.
MAINTENANCE = re.compile(
    r"(@[\w.-]+/)?(eslint|prettier|tslint|stylelint|commitlint|semantic-release|textlint|remark|release-it)\b.*"
    r"|@(commitlint|semantic-release|size-limit|changesets|npmcli|types/eslint|playwright|cypress|wdio)/?.*"
    r"|babel-eslint|husky|lint-staged|standard|xo|np|size-limit|gzip-size-cli|karma.*|puppeteer.*|playwright.*"
    r"|cypress|selenium-webdriver|saucelabs|sauce.*|typedoc.*|jsdoc.*|gh-pages|coveralls|codecov|auto-changelog"
    r"|all-contributors-cli|commitizen|cz-.*|conventional-.*|lerna-changelog|standard-version|nodemon|pre-commit"
    r"|in-publish|safe-publish-latest|npmignore|evalmd|eclint|aud|nyc|c8|is-ci|yorkie|ghooks|validate-commit-msg"
    r"|@arethetypeswrong/.*|publint|markdownlint.*|snyk|release-please|benchmark|documentation|electron"
)


@dataclass(frozen=True)
class Manifest:
    """A package.json, as far as the environment depends on it."""

    scripts: dict[str, str] = field(default_factory=dict)
    engines: str = ""
    kinds: dict[str, dict[str, str]] = field(default_factory=dict)
    manager: str = ""
    """'name@version' of the package manager it names."""
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def requirements(self) -> dict[str, str]:
        """All that an installation of the project itself brings, by name."""
        return {name: wanted for kind in reversed(KINDS) for name, wanted in self.kinds.get(kind, {}).items()}


def read(tree: Tree) -> Manifest:
    found = _object(tree.text("package.json"))
    engines = found.get("engines")
    return Manifest(
        scripts=_strings(found.get("scripts")),
        engines=str(engines.get("node") or "") if isinstance(engines, dict) else "",
        kinds={kind: _strings(found.get(kind)) for kind in KINDS},
        manager=str(found.get("packageManager") or ""),
        raw=found,
    )


def locked_versions(tree: Tree) -> dict[str, str]:
    """Versions of the packages at the top, by npm's lock file."""
    name = next((n for n in ("npm-shrinkwrap.json", "package-lock.json") if n in tree), "")
    lock = _object(tree.text(name)) if name else {}
    packages = lock.get("packages")
    if isinstance(packages, dict):
        entries = {
            path.removeprefix("node_modules/"): entry
            for path, entry in packages.items()
            if path.startswith("node_modules/") and path.count("node_modules/") == 1
        }
    else:
        older = lock.get("dependencies")
        entries = older if isinstance(older, dict) else {}
    return {
        name: str(entry["version"])
        for name, entry in entries.items()
        if isinstance(entry, dict) and "version" in entry
    }


def unobtainable(manifest: Manifest) -> tuple[str, ...]:
    """Requirements that no registry serves."""
    return tuple(sorted(n for n, wanted in manifest.requirements.items() if ELSEWHERE.match(wanted)))


def maintenance(tree: Tree, manifest: Manifest) -> tuple[str, ...]:
    """Development requirements that only maintenance needs: nothing in the tree imports them."""
    named = {name for name in manifest.kinds.get("devDependencies", {}) if MAINTENANCE.fullmatch(name)}
    if not named:
        return ()
    imported = re.compile(
        r"(?:require\(|from|import\(?)\s*['\"](" + "|".join(map(re.escape, sorted(named))) + r")['\"/]"
    )
    used: set[str] = set()
    for path in tree:
        if re.search(r"\.[cm]?[jt]sx?$", path) and not re.search(r"(^|/)\.|config\.|\.min\.js$", path):
            used.update(imported.findall(tree.text(path)))
    return tuple(sorted(named - used))


def added(base: Manifest, gold: Manifest) -> tuple[str, ...]:
    """'name@range' of what the gold tree requires and the base tree does not, or otherwise."""
    before = base.requirements
    return tuple(
        sorted(
            f"{name}@{wanted}"
            for name, wanted in gold.requirements.items()
            if before.get(name) != wanted and not ELSEWHERE.match(wanted) and _is_range(wanted)
        )
    )


def _is_range(wanted: str) -> bool:
    return bool(re.fullmatch(r"[\w.^~<>=*| +-]*", wanted))


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text.lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _strings(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key: text for key, text in value.items() if isinstance(text, str)}
