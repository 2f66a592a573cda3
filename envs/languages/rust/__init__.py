"""The Rust toolchain: Debian's compiler of the time, `cargo test` on tests that lie in files of their own.

Crates come from the registry that Cargo is set up with, by the project's lock file, where it answers; else
from Debian's `librust-*-dev` packages, which Cargo reads as a directory of sources. Unit tests inside a
source file cannot be hidden from who writes it, so they are no part of a task: the suite is what lies in
`tests/` and in modules of tests (`src/**/tests.rs`). Documentation examples are left out for the same reason.
"""

from __future__ import annotations

import json
import re
import shlex
from datetime import date
from pathlib import Path, PurePosixPath
from typing import ClassVar

from envs import registries
from envs.languages import Broken, Resolved, Upstream
from envs.languages.native import CACHE, NativeRecipe, NativeToolchain
from envs.languages.rust import manifest
from envs.languages.rust.manifest import Requirement
from envs.languages.tree import Tree

RUST: tuple[tuple[str, tuple[int, int], date], ...] = (
    ("bullseye", (1, 48), date(2022, 5, 1)),
    ("bookworm", (1, 63), date(2024, 2, 1)),
    ("trixie", (1, 85), date.max),
)
"""Debian suite, its compiler, and until when sources are rather older than newer than that."""

SCRIPT = "debian_crates.py"
PLACE = f"/usr/local/lib/verifactory/{SCRIPT}"
HOME = f"{CACHE}/cargo"
LOCK = f"{CACHE}/Cargo.lock"
ENV = {"CARGO_HOME": HOME, "CARGO_INCREMENTAL": "0", "CARGO_TERM_COLOR": "never"}
TEST = "cargo test --offline --no-fail-fast"
ALL = "--test '*'"
# That of bullseye knows no patterns of targets: there every file is named. Only a root's own files.
PATTERNS_SINCE = (1, 55)
NAMED = (
    '$(for f in tests/*.rs; do [ -f "$f" ] || continue; f="${f##*/}"; printf " --test %s" "${f%.rs}"; done)'
)

_TEST_MODULE = re.compile(r"(?:tests?|.*_tests?|test_.*)\.rs")
_STEERING = (
    r"(^|/)(Cargo\.(toml|lock)|build\.rs|rust-toolchain(\.toml)?|\.cargo/config(\.toml)?|clippy\.toml"
    r"|\.config/nextest\.toml)$"
)


class RustToolchain(NativeToolchain):
    """See `envs.languages.Toolchain`."""

    language: ClassVar[str] = "rust"
    suffixes: ClassVar[tuple[str, ...]] = (".rs",)
    steering: ClassVar[str] = _STEERING
    packages: ClassVar[tuple[str, ...]] = ("cargo", "gcc", "libc6-dev", "rustc")

    def claims(self, tree: Tree) -> bool:
        return "Cargo.toml" in tree

    def is_test(self, path: str) -> bool:
        pure = PurePosixPath(path)
        return "tests" in pure.parts[:-1] or bool(_TEST_MODULE.fullmatch(pure.name))

    def plan(self, upstream: Upstream) -> list[NativeRecipe] | Broken:
        crates = manifest.crates(upstream.gold)
        commands = _commands(upstream.gold, tuple(crate.folder for crate in crates))
        if not commands:
            detail = "No file of its own holds tests: unit tests inside the sources cannot be hidden."
            return Broken("plan", detail, reason="no_tests")
        oldest = max((crate.oldest for crate in crates), default=(1, 0))
        everywhere = any("--workspace" in command and ALL in command for command in commands)
        fitting = [e for e in RUST if e[1] >= (max(oldest, PATTERNS_SINCE) if everywhere else oldest)]
        when = upstream.date.date()
        chosen = [e for e in fitting if when < e[2]] + [e for e in reversed(fitting) if when >= e[2]]
        if not chosen:
            detail = f"The source requires Rust {oldest[0]}.{oldest[1]}; the newest at hand is {RUST[-1][1]}."
            return Broken("plan", detail, reason="interpreter_unavailable")
        required = {
            r
            for tree in (upstream.base, upstream.gold)
            for c in manifest.crates(tree)
            for r in c.requirements
        }
        requirements = tuple(sorted(required, key=lambda r: (r.name, r.version, r.features)))
        return [
            recipe for suite, _, _ in chosen for recipe in _recipes(suite, commands, requirements, upstream)
        ]

    def context(self, resolved: Resolved) -> dict[str, bytes]:
        script = (Path(__file__).parent / SCRIPT).read_bytes()
        return super().context(resolved) | {SCRIPT: script}

    def dockerfile(self, recipe: NativeRecipe) -> str:
        before, tree, after = super().dockerfile(recipe).partition("ADD app.tar /app/\n")
        return f"{before}COPY {SCRIPT} {PLACE}\n{tree}{after}"


def _recipes(
    suite: str, commands: tuple[str, ...], requirements: tuple[Requirement, ...], upstream: Upstream
) -> list[NativeRecipe]:
    if next(version for name, version, _ in RUST if name == suite) < PATTERNS_SINCE:
        commands = tuple(command.replace(ALL, NAMED) for command in commands)
    run = "; ".join(f"{command} || status=1" for command in commands)
    ahead = "; ".join(command.replace(TEST, f"{TEST} --no-run", 1) for command in commands)
    plain = NativeRecipe(
        language="rust", suite=suite, env=ENV, framework="cargo test", report="cargo",
        build=(f"({re.sub(r' -- .*?(?=;|$)', '', ahead)}) > /dev/null 2>&1 || true",),
        test=("sh", "-c", f"status=0; {run}; exit $status"),
    )  # fmt: skip
    if not requirements:
        return [plain]
    found = []
    if registries.cargo_hosts():
        fetch = "cargo fetch --locked" if "Cargo.lock" in upstream.base else "cargo fetch"
        found.append(
            plain.model_copy(
                update={"install": (f"{fetch} || cargo fetch",), "notes": ("crates: the registry's",)}
            )
        )
    return [
        *found,
        _of_debian(plain, requirements, "Cargo.lock" in upstream.base or "Cargo.lock" in upstream.gold),
    ]


def _of_debian(plain: NativeRecipe, requirements: tuple[Requirement, ...], locked: bool) -> NativeRecipe:
    wanted = json.dumps(
        [{"name": r.name, "version": r.version, "features": r.features} for r in requirements]
    )
    names = {debian_package(r.name) for r in requirements}
    names |= {debian_package(r.name, feature) for r in requirements for feature in r.features}
    install = [f"python3 -I {PLACE} {CACHE}/crates {HOME} {shlex.quote(wanted)}"]
    update: dict[str, object] = {"packages": tuple(sorted(names)), "notes": ("crates: Debian's",)}
    if locked:
        # Debian's versions are others than those of the project's lock file, which the tree keeps.
        install.append(f"rm -f Cargo.lock && cargo generate-lockfile --offline && cp Cargo.lock {LOCK}")
        update["compile"] = ("cp", LOCK, "Cargo.lock")
    else:
        install.append("cargo generate-lockfile --offline")
    return plain.model_copy(update={**update, "install": tuple(install)})


def debian_package(name: str, feature: str = "") -> str:
    """The Debian package of a crate's source, by debcargo's rule."""
    return f"librust-{name}{'+' if feature else ''}{feature}-dev".lower().replace("_", "-")


def _commands(tree: Tree, folders: tuple[str, ...]) -> tuple[str, ...]:
    """Calls of `cargo test` for the files that hold tests; none when there is no such file."""
    everywhere = " --workspace" if len(folders) > 1 or folders[:1] != ("",) else ""
    integration = False
    modules: set[str] = set()
    library = program = False
    for path in tree:
        folder = max((f for f in folders if not f or path.startswith(f"{f}/")), key=len, default=None)
        inner = path[len(folder) :].lstrip("/") if folder else path
        if folder is None or not inner.endswith(".rs"):
            continue
        integration |= bool(re.fullmatch(r"tests/[^/]+\.rs|tests/[^/]+/main\.rs", inner))
        library |= inner == "src/lib.rs"
        program |= inner == "src/main.rs"
        if inner.startswith("src/") and (name := _module(inner)):
            modules.add(name)
    commands = []
    targets = [flag for flag, there in (("--lib", library), ("--bins", program)) if there]
    if modules and targets:
        filters = " ".join(shlex.quote(f"{name}::") for name in sorted(modules))
        commands.append(f"{TEST}{everywhere} {' '.join(targets)} -- {filters}")
    if integration:
        commands.append(f"{TEST}{everywhere} {ALL}")
    return tuple(commands)


def _module(inner: str) -> str:
    """The module of a source file that is one of tests; '' for another."""
    parts = inner.removeprefix("src/").removesuffix(".rs").removesuffix("/mod").split("/")
    is_tests = _TEST_MODULE.fullmatch(f"{parts[-1]}.rs") or "tests" in parts[:-1]
    plain = all(re.fullmatch(r"\w+", part) for part in parts)
    return "::".join(parts) if is_tests and plain else ""
