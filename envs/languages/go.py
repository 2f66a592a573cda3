"""The Go toolchain: Debian's Go of the time, `go test -json` over all packages.

Modules come, in this order, from the tree itself (`vendor/`), from the proxy that the Go client is set up
with, and from Debian's `golang-*-dev` packages, which are source below /usr/share/gocode: for those, and for
sources older than modules, the tree is linked into a GOPATH under its import path. Go's own promise makes
newer compilers safe; of those that the sources allow, the newest that was out is taken.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from envs import registries
from envs.languages import Broken, Upstream
from envs.languages.native import CACHE, NativeRecipe, NativeToolchain
from envs.languages.tree import Tree

GO: tuple[tuple[str, tuple[int, int], date], ...] = (
    ("bullseye", (1, 15), date(2020, 8, 11)),
    ("bookworm", (1, 19), date(2022, 8, 2)),
    ("trixie", (1, 24), date(2025, 2, 11)),
)
"""Debian suite, its Go, and the day that came out."""

GOPATH = f"{CACHE}/go"
DEBIAN_SOURCES = "/usr/share/gocode"
ENV = {
    "GOPATH": GOPATH,
    "GOCACHE": f"{CACHE}/go-build",
    "GOFLAGS": "-modcacherw",
    "GOTOOLCHAIN": "local",
}
# Go reads the clock without the C library. Under another date its client would only throw its caches away.
TEST_ENV = {"GOPROXY": "off", "LD_PRELOAD": ""}
# Not shuffled: Go's order is the source's, always, and a panic in another order costs a package its report.
TEST = ("go", "test", "-json", "-vet=off", "-count=1", "-timeout={suite_seconds}s", "./...")

# Hosts of import paths as Debian's package names have them (Debian Go policy); others drop their last label.
HOSTS = {
    "golang.org": "golang",
    "google.golang.org": "google",
    "gopkg.in": "gopkg",
    "k8s.io": "k8s",
    "sigs.k8s.io": "k8s-sigs",
}
IMPORT = re.compile(r'^\s*(?:import\s+)?(?:[\w.]+\s+)?"([a-z0-9-]+(?:\.[a-z0-9-]+)+/[^"\s]+)"', re.M)


@dataclass(frozen=True)
class Module:
    """What go.mod says; of sources older than modules, what their imports do."""

    path: str
    go: tuple[int, int]
    requires: tuple[str, ...]
    declared: bool


class GoToolchain(NativeToolchain):
    """See `envs.languages.Toolchain`."""

    language: ClassVar[str] = "go"
    suffixes: ClassVar[tuple[str, ...]] = ("_test.go",)
    # A test file more in a package can have a TestMain or an init of its own.
    steering: ClassVar[str] = r"(^|/)(go\.(mod|sum|work|work\.sum)|[^/]*_test\.go)$|(^|/)(vendor|testdata)/"
    packages: ClassVar[tuple[str, ...]] = ("golang-go", "gcc", "libc6-dev")

    def claims(self, tree: Tree) -> bool:
        return "go.mod" in tree or any(path.endswith(".go") and "/" not in path for path in tree)

    def is_test(self, path: str) -> bool:
        folders = path.split("/")[:-1]
        return path.endswith("_test.go") or "testdata" in folders or folders[:1] in (["test"], ["tests"])

    def plan(self, upstream: Upstream) -> list[NativeRecipe] | Broken:
        if not any(path.endswith("_test.go") for path in upstream.gold):
            return Broken("plan", "No file of the source ends in _test.go.", reason="no_tests")
        module = read(upstream.gold, upstream.name)
        out = [entry for entry in GO if entry[2] <= upstream.date.date()]
        order = (*reversed(out), *(entry for entry in GO if entry not in out))
        chosen = [suite for suite, version, _ in order if version >= module.go]
        if not chosen:
            have = ", ".join(f"{a}.{b}" for _, (a, b), _ in GO)
            wanted = f"{module.go[0]}.{module.go[1]}"
            detail = f"The source requires Go {wanted}; at hand are {have}."
            return Broken("plan", detail, reason="interpreter_unavailable")
        return [recipe for suite in chosen for recipe in _recipes(upstream, module, suite)]


def _recipes(upstream: Upstream, module: Module, suite: str) -> Iterator[NativeRecipe]:
    vendored = any(path.startswith("vendor/") for path in upstream.gold)
    plain = NativeRecipe(
        language="go", suite=suite, env=ENV, test_env=TEST_ENV,
        framework="go test", report="go_json", test=TEST,
        build=("go test -vet=off -run '^$' ./... > /dev/null || true",),
    )  # fmt: skip
    if module.declared and vendored:
        flags = {"GOFLAGS": f"{ENV['GOFLAGS']} -mod=vendor"}
        yield plain.model_copy(update={"env": ENV | flags, "notes": ("modules: vendored",)})
    elif module.declared and not module.requires:
        yield plain
    elif module.declared and registries.go_proxy():
        yield plain.model_copy(
            update={"install": ("go mod download",), "notes": ("modules: from the proxy",)}
        )
    if not (module.declared and not module.requires):
        yield _in_gopath(plain, module, vendored)


def _in_gopath(plain: NativeRecipe, module: Module, vendored: bool) -> NativeRecipe:
    """The tree under its import path, other packages as Debian has them."""
    place = f"{GOPATH}/src/{module.path}"
    enter = f'cd {place} && exec "$@"'
    names = () if vendored else tuple(sorted({debian_package(path) for path in module.requires}))
    return plain.model_copy(
        update={
            "packages": names,
            "env": ENV | {"GO111MODULE": "off", "GOFLAGS": "", "GOPATH": f"{GOPATH}:{DEBIAN_SOURCES}"},
            "install": (f"mkdir -p {posixpath.dirname(place)} && ln -s /app {place}",),
            "build": tuple(f"cd {place} && {command}" for command in plain.build),
            "test": ("sh", "-c", enter, "sh", *plain.test),
            "notes": ("modules: vendored, in a GOPATH" if vendored else "modules: Debian's, in a GOPATH",),
        }
    )


def read(tree: Tree, name: str) -> Module:
    """The module of a tree. What reaches a shell of it is a plain path or nothing."""
    text = re.sub(r"//[^\n]*", "", tree.text("go.mod"))
    path = re.search(r'^module\s+"?([^\s"]+)"?', text, re.M)
    if path is None or not _plain(path[1]):
        own = import_path(tree, name)
        return Module(own, (1, 0), tuple(sorted(_imports(tree, own))), declared=False)
    go = re.search(r"^go\s+(\d+)\.(\d+)", text, re.M)
    blocks = re.findall(r"^require\s*\(([^)]*)\)", text, re.M) + re.findall(
        r"^require\s+([^(\n]+)$", text, re.M
    )
    requires = {line.split()[0].strip('"') for block in blocks for line in block.splitlines() if line.split()}
    replaced = set(re.findall(r"^\s*(?:replace\s+)?(\S+)(?:\s+v\S+)?\s+=>\s+\.", text, re.M))
    version = (int(go[1]), int(go[2])) if go else (1, 0)
    return Module(path[1], version, tuple(sorted(filter(_plain, requires - replaced))), declared=True)


def import_path(tree: Tree, name: str) -> str:
    """What a tree without go.mod is imported as: what it says of itself, else what its files import of it."""
    own = Counter[str]()
    for path in tree:
        if path.endswith(".go"):
            text = tree.text(path)
            comment = re.search(r'^package\s+\w+\s*//\s*import\s+"([^"]+)"', text, re.M)
            if comment and _plain(comment[1]) and "/" not in path:
                return comment[1]
            own.update(
                found[1]
                for i in IMPORT.findall(text)
                if (found := re.match(rf"((?:[^/]+/)*{re.escape(name)})(/|$)", i))
            )
        elif re.fullmatch(r"readme(\.\w+)?", path, re.I):
            own.update(
                re.findall(rf"\b([a-z0-9-]+(?:\.[a-z0-9-]+)+/[\w.-]+/{re.escape(name)})\b", tree.text(path))
            )
    best = next((path for path, _ in own.most_common() if _plain(path)), "")
    return best or f"localhost.localdomain/{re.sub(r'[^A-Za-z0-9._-]', '-', name) or 'project'}"


def _imports(tree: Tree, own: str) -> set[str]:
    """Repositories that the sources import, besides their own."""
    found = set()
    for path in tree:
        if path.endswith(".go") and not path.startswith("vendor/"):
            for name in IMPORT.findall(tree.text(path)):
                if name != own and not name.startswith(own + "/") and _plain(name):
                    depth = 2 if name.startswith("gopkg.in/") and name.count("/") < 2 else 3
                    found.add("/".join(name.split("/")[:depth]))
    return found


def debian_package(path: str) -> str:
    """The Debian package of a module's sources, by Debian's naming policy."""
    host, _, rest = re.sub(r"/v\d+$", "", path).partition("/")
    label = HOSTS.get(host) or host.rpartition(".")[0]
    return re.sub(r"[^a-z0-9.+-]+", "-", f"golang-{label}-{rest}-dev".lower())


def _plain(path: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._~+-]*(/[A-Za-z0-9][A-Za-z0-9._~+-]*)*", path))
