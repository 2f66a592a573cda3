"""What the Cargo.toml files of a tree say, as far as the environment depends on it. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from envs.languages.tree import Tree

KINDS = ("dependencies", "dev-dependencies", "build-dependencies", "dev_dependencies", "build_dependencies")
EDITIONS = {"2018": (1, 31), "2021": (1, 56), "2024": (1, 85)}


@dataclass(frozen=True)
class Requirement:
    """A crate that the registry would serve."""

    name: str
    version: str
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class Crate:
    """One package of the tree."""

    folder: str
    name: str
    oldest: tuple[int, int]
    """Oldest compiler that its edition and `rust-version` allow."""
    requirements: tuple[Requirement, ...] = field(default_factory=tuple)


def members(tree: Tree) -> tuple[str, ...]:
    """Folders of the packages that `cargo test --workspace` at the root means; ('',) without a workspace."""
    root = _toml(tree, "Cargo.toml")
    workspace = root.get("workspace")
    found = {""} if "package" in root else set()
    if isinstance(workspace, dict):
        patterns = [str(pattern).removeprefix("./").rstrip("/") for pattern in workspace.get("members") or []]
        excluded = [str(pattern) for pattern in workspace.get("exclude") or []]
        for path in tree:
            folder = path.removesuffix("/Cargo.toml")
            named = any(re.fullmatch(_glob(pattern), folder) for pattern in patterns)
            if named and path.endswith("/Cargo.toml") and folder not in excluded:
                found.add(folder)
    return tuple(sorted(found))


def _glob(pattern: str) -> str:
    return re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^/]*").replace(r"\?", "[^/]")


def crates(tree: Tree) -> tuple[Crate, ...]:
    shared = _table(_table(_toml(tree, "Cargo.toml"), "workspace"), "dependencies")
    common = _table(_table(_toml(tree, "Cargo.toml"), "workspace"), "package")
    found = []
    for folder in members(tree):
        toml = _toml(tree, f"{folder}/Cargo.toml".lstrip("/"))
        package = _table(toml, "package")
        edition = _inherited(package, common, "edition")
        version = re.match(r"(\d+)\.(\d+)", _inherited(package, common, "rust-version"))
        told = (int(version[1]), int(version[2])) if version else (1, 0)
        found.append(
            Crate(
                folder=folder,
                name=str(package.get("name") or ""),
                oldest=max(told, EDITIONS.get(edition, (1, 0))),
                requirements=tuple(_requirements(toml, shared)),
            )
        )
    return tuple(found)


def _inherited(package: dict[str, Any], common: dict[str, Any], key: str) -> str:
    value = package.get(key, "")
    return str(common.get(key, "")) if isinstance(value, dict) else str(value)


def _requirements(toml: dict[str, Any], shared: dict[str, Any]) -> Iterator[Requirement]:
    targets = [table for table in _table(toml, "target").values() if isinstance(table, dict)]
    asked = [str(f) for group in _table(toml, "features").values() if isinstance(group, list) for f in group]
    for table in (toml, *targets):
        for kind in KINDS:
            for key, entry in _table(table, kind).items():
                if isinstance(entry, dict) and entry.get("workspace"):
                    entry = _merged(shared.get(key), entry)
                if found := _requirement(key, entry, asked):
                    yield found


def _merged(base: Any, entry: dict[str, Any]) -> dict[str, Any]:
    start = base if isinstance(base, dict) else {"version": base}
    features = [*(start.get("features") or []), *(entry.get("features") or [])]
    return {**start, **{k: v for k, v in entry.items() if k != "workspace"}, "features": features}


def _requirement(key: str, entry: Any, asked: list[str]) -> Requirement | None:
    if isinstance(entry, str):
        entry = {"version": entry}
    if not isinstance(entry, dict) or "path" in entry or "git" in entry:
        return None
    name = str(entry.get("package") or key)
    version = str(entry.get("version") or "*")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or not re.fullmatch(r"[\w.^~<>=*, +-]*", version):
        return None
    features = [str(feature) for feature in entry.get("features") or []]
    features += [text.partition("/")[2] for text in asked if re.match(rf"{re.escape(key)}\??/", text)]
    return Requirement(name, version, tuple(f for f in features if re.fullmatch(r"[\w.+-]+", f)))


def _toml(tree: Tree, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(tree.text(path))
    except tomllib.TOMLDecodeError:
        return {}


def _table(parent: dict[str, Any], key: str) -> dict[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}
