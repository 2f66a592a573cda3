"""Lua: busted, LuaUnit and plain test scripts, on any of the interpreters that Debian packages.

A rockspec says which Lua a project is for; without one the oldest is asked first, since most libraries of one
file are written for 5.1 and LuaJIT. Modules are found as a rock's installation would place them: at the root,
under `src/` and under `lib/`. Scripts are run from the project's folder and, where nothing passes there, from
their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar

from envs.languages import Broken, Upstream, scripts
from envs.languages.native import NativeRecipe, NativeToolchain, suites
from envs.languages.tree import Tree

VERSIONS = ("5.1", "5.2", "5.3", "5.4")
"""What all supported suites package, oldest first."""

FOLDERS = r"(^|/)(spec|specs|test|tests|t|testes)/"
_TEST = re.compile(rf"{FOLDERS}|(^|/)(test[^/]*|[^/]*[_-]tests?|[^/]*_spec)\.lua$")
_SPEC = re.compile(r"_spec\.(lua|moon)$")
_SCRIPT = re.compile(r"(^|/)(test[^/]*|[^/]*[_-]tests?|[^/]*_spec|run|all|unit[^/]*)\.lua$", re.I)
_REQUIRE = re.compile(r"""require\s*\(?\s*["']([\w.-]+)["']""")
_DEPENDENCIES = re.compile(r"(?:test_)?dependencies\s*=\s*\{([^}]*)\}")
_ROCK = re.compile(r"""["']\s*([\w.-]+)\s*([^"']*)["']""")

# Rock → Debian package where the name does not say it.
PACKAGES = {
    "lua": "", "busted": "", "luaunit": "", "luafilesystem": "lua-filesystem", "lfs": "lua-filesystem",
    "luasocket": "lua-socket", "socket": "lua-socket", "luasec": "lua-sec", "ssl": "lua-sec",
    "lpeg": "lua-lpeg", "re": "lua-lpeg", "penlight": "lua-penlight", "pl": "lua-penlight",
    "lua-cjson": "lua-cjson", "cjson": "lua-cjson", "dkjson": "lua-dkjson", "luassert": "lua-luassert",
    "lua-term": "lua-term", "luaposix": "lua-posix", "posix": "lua-posix", "argparse": "lua-argparse",
    "lrexlib-pcre": "lua-rex-pcre", "ffi": "", "bit": "lua-bitop", "luabitop": "lua-bitop",
    "luacov": "", "luacheck": "", "ldoc": "",
}  # fmt: skip


class LuaToolchain(NativeToolchain):
    """See `envs.languages.Toolchain`."""

    language: ClassVar[str] = "lua"
    suffixes: ClassVar[tuple[str, ...]] = (".lua", ".moon")
    steering: ClassVar[str] = r"(^|/)(\.busted|\.luacov|[^/]*\.rockspec)$"
    packages: ClassVar[tuple[str, ...]] = ("lua5.1", "lua5.3", "lua5.4", "lua-busted", "lua-unit")

    def claims(self, tree: Tree) -> bool:
        if any(path.endswith(".rockspec") for path in tree) or ".busted" in tree:
            return True
        sources = [path for path in tree if path.endswith(".lua") and not self.is_test(path)]
        return bool(sources) and bool(self.arguments(tree))

    def is_test(self, path: str) -> bool:
        return bool(_TEST.search(path))

    def arguments(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Specs where there are any, else the scripts of the test folders that look like tests."""
        tests = sorted(path for path in paths if self.is_test(path))
        specs = tuple(path for path in tests if _SPEC.search(path))
        return specs or tuple(path for path in tests if _SCRIPT.search(path))

    def plan(self, upstream: Upstream) -> list[NativeRecipe] | Broken:
        tree = upstream.gold
        tests = self.arguments(tree)
        if not tests:
            return Broken("plan", "No Lua file looks like a test.", reason="no_tests")
        suite = next(s for s in suites(upstream.date))
        wanted = _interpreters(tree)
        packages = _packages(tree, tests)
        if any(_SPEC.search(path) for path in tests):
            return [_busted(suite, lua, packages) for lua in wanted]
        return [_scripts(suite, lua, packages, beside) for beside in (False, True) for lua in wanted]


def _interpreters(tree: Tree) -> tuple[str, ...]:
    """Lua versions worth trying, best first."""
    specs = "\n".join(tree.text(path) for path in tree if path.endswith(".rockspec"))
    allowed = [v for v in VERSIONS if _allows(specs, v)]
    if not specs:
        return ("5.1", "5.3", "jit")
    ordered = [v for v in ("5.3", "5.4", "5.1", "5.2") if v in allowed]
    return (*ordered[:2], "jit") if "5.1" in allowed else tuple(ordered[:2] or ["5.3"])


def _allows(specs: str, version: str) -> bool:
    """Does the rockspec's constraint on `lua` allow the version?"""
    for listed in _DEPENDENCIES.findall(specs):
        for name, constraint in _ROCK.findall(listed):
            if name == "lua" and not all(_holds(version, c) for c in constraint.split(",") if c.strip()):
                return False
    return True


def _holds(version: str, constraint: str) -> bool:
    match = re.match(r"\s*(>=|<=|==|~=|~>|>|<|=)?\s*v?(\d+)\.(\d+)", constraint)
    if match is None:
        return True
    have = tuple(int(n) for n in version.split("."))
    bound = (int(match[2]), int(match[3]))
    return {
        ">=": have >= bound, "<=": have <= bound, "<": have < bound, ">": have > bound, "~=": have != bound,
        "~>": have == bound, "==": have == bound, "=": have == bound,
    }.get(match[1] or "==", True)  # fmt: skip


def _packages(tree: Tree, tests: Iterable[str]) -> tuple[str, ...]:
    """Debian packages of the rocks that the rockspec and the tests name and the tree does not hold."""
    own = {path.rpartition("/")[2].removesuffix(".lua") for path in tree} | {p.split("/")[0] for p in tree}
    names = [name for path in tests for name in _REQUIRE.findall(tree.text(path))]
    for path in tree:
        if path.endswith(".rockspec"):
            listed = " ".join(_DEPENDENCIES.findall(tree.text(path)))
            names += [name for name, _ in _ROCK.findall(listed)]
    found = set()
    for name in names:
        root = name.split(".")[0]
        if name not in own and root not in own:
            found.add(PACKAGES.get(root.lower(), f"lua-{root.lower().removeprefix('lua-')}"))
    return tuple(sorted(found - {""}))


def _interpreter(lua: str) -> tuple[tuple[str, ...], str]:
    """(Debian packages beyond the language's own, command)."""
    if lua == "jit":
        return ("luajit",), "luajit"
    return () if f"lua{lua}" in LuaToolchain.packages else (f"lua{lua}",), f"lua{lua}"


def _environment(lua: str) -> dict[str, str]:
    places = ("./?.lua", "./?/init.lua", "./src/?.lua", "./src/?/init.lua", "./lib/?.lua", "./lib/?/init.lua")
    inside = ["/app" + place[1:] for place in places]
    path = ";".join((*places, *inside)) + ";;"
    return {"LUA_PATH": path} if lua in ("5.1", "jit") else {"LUA_PATH": path, "LUA_PATH_5_2": path}


def _busted(suite: str, lua: str, packages: tuple[str, ...]) -> NativeRecipe:
    package, command = _interpreter(lua)
    return NativeRecipe(
        language="lua",
        suite=suite,
        packages=(*dict.fromkeys((*package, *packages)),),
        framework="busted",
        # One process a file: busted's TAP breaks off at the first file that it cannot load.
        test=scripts.command(f"{command} /usr/bin/busted --verbose -o TAP"),
        test_env=_environment(lua) | {"VERIFACTORY_SHUFFLE": "--shuffle --seed={seed}"},
        report="busted",
    )


def _scripts(suite: str, lua: str, packages: tuple[str, ...], beside: bool) -> NativeRecipe:
    package, command = _interpreter(lua)
    return NativeRecipe(
        language="lua",
        suite=suite,
        packages=(*dict.fromkeys((*package, *packages)),),
        framework="scripts",
        test=scripts.command(command, beside=beside),
        test_env=_environment(lua),
        report="scripts",
    )
