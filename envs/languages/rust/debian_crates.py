"""Run in the image while it is built: a directory of crates that satisfies a project offline.

Arguments: the directory to make, Cargo's home, and the project's requirements as JSON
`[{"name", "version", "features"}]`. Debian's crates lie below /usr/share/cargo/registry. Where Debian has
another version than is asked for, that crate is given the version asked for; where it has none, an empty
crate stands in, because Cargo resolves also what is optional or only benchmarks use. Standard library only.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

DEBIAN = Path("/usr/share/cargo/registry")
CONFIG = """[source.crates-io]
replace-with = "debian"
[source.debian]
directory = "{}"
[net]
offline = true
"""


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", re.split(r"[-+]", version)[0])[:3])


def matches(requirement: str, version: str) -> bool:
    """Whether Cargo would take the version."""
    have = (*numbers(version), 0, 0, 0)[:3]
    return all(
        _comparator(part.strip(), have) for part in requirement.split(",") if part.strip() not in ("", "*")
    )


def _comparator(part: str, have: tuple[int, ...]) -> bool:
    sign = re.match(r"[<>=^~]*", part)
    assert sign is not None
    wanted = numbers(part[sign.end() :])
    low = (*wanted, 0, 0, 0)[:3]
    if sign[0] == ">=":
        return have >= low
    if sign[0] == ">":
        return have > low
    if sign[0] == "<":
        return have < low
    if sign[0] == "<=":
        return have <= low
    if sign[0] == "=" or "*" in part:
        return have[: len(wanted)] == wanted
    if sign[0] == "~":
        return have >= low and have[: min(2, len(wanted))] == low[: min(2, len(wanted))]
    # A caret: up to the leftmost number that is not zero.
    fixed = next((i + 1 for i, n in enumerate(wanted) if n), len(wanted))
    return have >= low and have[:fixed] == low[:fixed]


def lowest(requirement: str) -> str:
    """A version that the requirement takes."""
    for part in requirement.split(","):
        text = part.strip()
        if re.match(r"[^<]*\d", text):
            version = ".".join(map(str, (*numbers(text), 0, 0, 0)[:3]))
            pre = re.search(r"\d(-[0-9A-Za-z.-]+)", text)
            return version + (pre[1] if pre else "")
    return "1.0.0"


def main(target: Path, home: Path, wanted: list[dict[str, Any]]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    home.mkdir(parents=True, exist_ok=True)
    available: dict[str, list[str]] = {}
    for folder in sorted(DEBIAN.iterdir()) if DEBIAN.is_dir() else []:
        found = re.search(r'^\[package\].*?^version = "([^"]+)"', _read(folder / "Cargo.toml"), re.M | re.S)
        if found and not (target / folder.name).exists():
            name = folder.name[: -len(found[1]) - 1]
            available.setdefault(name, []).append(found[1])
            os.symlink(folder.resolve(), target / folder.name)
    for entry in wanted:
        name, requirement = str(entry["name"]), str(entry["version"])
        versions = sorted(available.get(name, []), key=numbers)
        if any(matches(requirement, version) for version in versions):
            continue
        version = lowest(requirement)
        folder = target / f"{name}-{version}"
        if versions:
            print(f"{name} {requirement}: Debian's {versions[-1]} stands in")
            alias(DEBIAN / f"{name}-{versions[-1]}", folder, versions[-1], version)
        else:
            print(f"{name} {requirement}: not in Debian, empty")
            empty(folder, name, version, [str(feature) for feature in entry["features"]])
    (home / "config.toml").write_text(CONFIG.format(target))
    (home / "config").write_text(CONFIG.format(target))  # older Cargo


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""


def alias(source: Path, folder: Path, old: str, new: str) -> None:
    if folder.exists():
        return
    shutil.copytree(source.resolve(), folder)
    text = _read(folder / "Cargo.toml")
    (folder / "Cargo.toml").unlink()
    (folder / "Cargo.toml").write_text(text.replace(f'version = "{old}"', f'version = "{new}"', 1))
    (folder / ".cargo-checksum.json").unlink()
    (folder / ".cargo-checksum.json").write_text('{"files":{}}')


def empty(folder: Path, name: str, version: str, features: list[str]) -> None:
    (folder / "src").mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{json.dumps(feature)} = []\n" for feature in dict.fromkeys(features))
    (folder / "Cargo.toml").write_text(
        f'[package]\nname = "{name}"\nversion = "{version}"\nedition = "2018"\n[features]\n{lines}'
    )
    (folder / "src" / "lib.rs").write_text("")
    (folder / ".cargo-checksum.json").write_text('{"files":{}}')


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
