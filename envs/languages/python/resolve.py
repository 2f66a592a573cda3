"""From recipe to manifest: `uv pip compile` in a sandbox, and what is given up when the index has no answer.

Requirements are resolved as of the source's date. What a project says of its tests is often not satisfiable
any more, or never was on this interpreter, so a failed resolution drops something by rule, notes it, and is
tried again: first what the resolver names, then pins of test requirements, then all test requirements but
those that tests import. What the project needs to run is never dropped. The project itself is never in a
manifest: through circles such as pytest → attrs, the release that holds the fix would otherwise be installed
beside the tree that lacks it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envs.languages import Broken, Resolved
from envs.languages.python.image import VERSION_VARIABLES, index_options
from envs.languages.python.recipe import PythonRecipe, requirement_name
from envs.languages.python.repair import COMPILER_MISSING
from envs.languages.tree import Tree, pack
from envs.sandbox import Outcome, Sandbox

MAX_TRIES = 12

FAILED_BUILD = r"Failed to (?:build|download and build)"
# The resolver's hint on a package that it may not see yet: name, and when the oldest fitting release was put
# up.
LATER = r"`([\w.-]+)` was filtered by `exclude-newer\S*` .{0,300}?published at (\d{4}-\d\d-\d\dT[\d:.]+Z)"

# What the resolver says of a requirement that cannot be had; the name is in the first group. Matched in
# order.
UNAVAILABLE: tuple[tuple[str, str], ...] = (
    ("not on the index", r"Because ([\w.-]+)(?:\[[^\]]*\])? was not found in the package registry"),
    ("no version as of the date", r"there (?:are|is) no versions? of ([\w.-]+)(?:\[[^\]]*\])?[ ,]"),
    ("no version for this interpreter", r"only ([\w.-]+)\S* is available and .{0,80}depends on Python"),
    ("does not build", r"Failed to (?:build|download and build|fetch) `([\w.-]+)(?:\[[^\]]*\])?==[^`]+`"),
    ("its backend fails", r"Failed to build `([\w.-]+)"),
)  # fmt: skip


async def resolve(recipe: PythonRecipe, tree: Tree, sandbox: Sandbox, *, timeout: float) -> Resolved | Broken:
    """The manifest of `recipe`, or the resolver's last words."""
    if recipe.computed is not None:
        await sandbox.upload({"/resolve/project.tar": pack(tree)})
        await sandbox.exec(["mkdir", "-p", "/resolve/project"], timeout=timeout)
        await sandbox.exec(["tar", "-xf", "/resolve/project.tar", "-C", "/resolve/project"], timeout=timeout)
        await sandbox.exec(["chown", "-R", "agent", "/resolve"], timeout=timeout)
    spent, log = 0.0, ""
    for _ in range(MAX_TRIES):
        await sandbox.upload({"/resolve/requirements.in": "\n".join(_lines(recipe)).encode() + b"\n"})
        result = await sandbox.exec(
            command(recipe),
            timeout=max(1.0, timeout - spent),
            user="agent",
            workdir="/resolve",
            env=_env(recipe),
        )
        spent += result.seconds
        log = result.text(20_000)
        if result.ok:
            return Resolved(recipe, manifest(result.stdout.decode(), recipe.name))
        if result.outcome is not Outcome.EXITED:
            return Broken(
                "resolve", log, reason="timeout" if result.outcome is Outcome.TIMEOUT else "out_of_memory"
            )
        smaller = give_up(recipe, log)
        if smaller is None:
            break
        recipe = smaller
    return Broken("resolve", log, reason="resolution_failed")


def command(recipe: PythonRecipe) -> list[str]:
    return [
        "uv", "pip", "compile", "requirements.in", "--python=/usr/bin/python3", "--no-config", "--no-sources",
        "--no-header", "--no-annotate", "--no-progress", "--color=never", "--no-emit-package", recipe.name,
        *index_options(recipe, builds=recipe.raise_builds),
    ]  # fmt: skip


def _env(recipe: PythonRecipe) -> dict[str, str]:
    return {"HOME": "/resolve", "UV_CACHE_DIR": "/home/agent/.cache/uv"} | dict.fromkeys(
        VERSION_VARIABLES, recipe.version
    )


def _lines(recipe: PythonRecipe) -> Iterable[str]:
    yield from recipe.inputs()
    if recipe.computed is not None:
        extras = f"[{','.join(recipe.computed)}]" if recipe.computed else ""
        yield f"{recipe.name}{extras} @ file:///resolve/project"


def manifest(output: str, own: str) -> tuple[str, ...]:
    """The pinned lines of a compiled file. Raises ValueError if the project itself is among them."""
    pinned = sorted(
        line.strip()
        for line in output.splitlines()
        if line.strip() and not line.lstrip().startswith(("#", "-"))
    )
    if own in map(requirement_name, pinned):
        raise ValueError(f"{own} is in its own manifest")
    return tuple(pinned)


def give_up(recipe: PythonRecipe, log: str) -> PythonRecipe | None:
    """A smaller recipe after a failed resolution, or None when only what the project needs to run is left.

    None also where a compiler is missing: the builder adds one.
    """
    text = re.sub(r"[\s│]+", " ", log)
    if re.search(FAILED_BUILD, text):
        if recipe.backends_raised and not recipe.raise_builds:
            return _noted(recipe, "build backends raised: those of the date cannot build", raise_builds=True)
        if re.search(COMPILER_MISSING, log) and not recipe.compiler:
            return None
    for why, pattern in UNAVAILABLE:
        for match in re.finditer(pattern, text):
            if smaller := _without(recipe, str(canonicalize_name(match[1])), why):
                return smaller
    return _from_later(recipe, text) or _unpinned(recipe) or _imported_only(recipe)


def _from_later(recipe: PythonRecipe, text: str) -> PythonRecipe | None:
    """Releases that were deleted and put up again carry the wrong day: see a required package as of its
    own.
    """
    known = dict(entry.split("=", 1) for entry in recipe.gone)
    for match in re.finditer(LATER, text):
        name, day = str(canonicalize_name(match[1])), datetime.fromisoformat(match[2]) + timedelta(hours=1)
        when = day.strftime("%Y-%m-%dT%H:%M:%SZ")
        if name != recipe.name and known.get(name) != when:
            gone = tuple(f"{k}={v}" for k, v in sorted((known | {name: when}).items()))
            return _noted(recipe, f"{name} as of {when}: the index has no older release that fits", gone=gone)
    return None


def _without(recipe: PythonRecipe, name: str, why: str) -> PythonRecipe | None:
    tests = tuple(line for line in recipe.tests if requirement_name(line) != name)
    imported = tuple(line for line in recipe.imported if requirement_name(line) != name)
    if (tests, imported) == (recipe.tests, recipe.imported):
        return None
    return _noted(recipe, f"{name} dropped: {why}", tests=tests, imported=imported)


def _unpinned(recipe: PythonRecipe) -> PythonRecipe | None:
    """Test requirements without their versions."""
    free = tuple(dict.fromkeys(_any_version(line) for line in recipe.tests))
    return (
        None if free == recipe.tests else _noted(recipe, "versions of test requirements dropped", tests=free)
    )


def _any_version(line: str) -> str:
    requirement = Requirement(line)
    requirement.specifier &= ""  # type: ignore[operator]
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}" + (f" ; {requirement.marker}" if requirement.marker else "")


def _imported_only(recipe: PythonRecipe) -> PythonRecipe | None:
    """No test requirement but those whose import name the tests use."""
    if not recipe.tests:
        return None
    return _noted(recipe, "test requirements dropped: they do not resolve together", tests=())


def _noted(recipe: PythonRecipe, note: str, **changes: object) -> PythonRecipe:
    return recipe.model_copy(update={**changes, "notes": (*recipe.notes, note)})
