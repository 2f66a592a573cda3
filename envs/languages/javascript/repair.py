"""What to change when an environment does not install, build or run: rules on the log, each tried once."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

from envs.languages import Broken
from envs.languages.javascript import install
from envs.languages.native import NativeRecipe

NATIVE = ("g++", "make", "python3-minimal")

# Modules of Node itself, which an old one may lack: no package has their name.
_BUILTIN = re.compile(
    r"^(node:|\.|/|#|~|@/)|^(fs|path|util|assert|test|crypto|stream|url|os|http|https)(/|$)"
)


def _change(recipe: NativeRecipe, note: str, **fields: object) -> NativeRecipe | None:
    """The recipe with the change; None when it was made before."""
    if note in recipe.notes:
        return None
    return recipe.model_copy(update={**fields, "notes": (*recipe.notes, note)})


def _lock_out_of_step(recipe: NativeRecipe, match: re.Match[str]) -> NativeRecipe | None:
    """A lock file that its own manager refuses is no lock: ranges it is."""
    kept = tuple(
        c
        for c in recipe.install
        if not re.search(r"npm ci|--frozen-lockfile|--immutable|npm install --no-p", c)
    )
    command = "rm -f package-lock.json npm-shrinkwrap.json && " + install.NPM_INSTALL
    return _change(recipe, "lock file left aside: it does not install", install=(command, *kept))


def _gone(recipe: NativeRecipe, match: re.Match[str]) -> NativeRecipe | None:
    """A requirement that the registry does not have: the project without it."""
    name = next((group for group in match.groups() if group), "")
    name = re.sub(r"(?<=.)@.*$", "", name).replace("%2f", "/")
    if not re.fullmatch(r"(@[\w.~-]+/)?[\w.~-]+", name):
        return None
    note = f"left out {name}: the registry does not have it"
    return _change(recipe, note, install=(install.without([name]), *recipe.install))


def _module(recipe: NativeRecipe, match: re.Match[str]) -> NativeRecipe | None:
    """A package that is imported and that nothing brought."""
    found = re.match(r"(@[\w.~-]+/)?[\w.~-]+", match[1])
    if found is None or _BUILTIN.match(match[1]):
        return None
    command = f"{install.NPM_ADD} {shlex.quote(found[0])}"
    return _change(recipe, f"added {found[0]}: it is imported", install=(*recipe.install, command))


def _native(recipe: NativeRecipe, match: re.Match[str]) -> NativeRecipe | None:
    """Packages with compiled parts, which their install scripts make."""
    packages = tuple(dict.fromkeys((*recipe.packages, *NATIVE)))
    return _change(
        recipe, "packages rebuilt: one has a compiled part", packages=packages,
        install=(*recipe.install, "npm rebuild"),
    )  # fmt: skip


def _no_build(recipe: NativeRecipe, match: re.Match[str]) -> NativeRecipe | None:
    """The suite without the steps before it: most read the sources."""
    if not recipe.compile:
        return None
    return _change(recipe, "build before the tests left out: it fails", compile=())


LOCK_REFUSED = (
    r"can only install (?:packages )?(?:with an existing|when your package)|[Ll]ockfile needs to be updated"
    r"|ERR_PNPM_(?:OUTDATED|NO)?_?LOCKFILE|The lockfile would have been modified|YN0028|EUSAGE"
    r"|Invalid Version:|EINTEGRITY"
)
RULES: tuple[tuple[str, str, Callable[[NativeRecipe, re.Match[str]], NativeRecipe | None]], ...] = (
    ("build", LOCK_REFUSED, _lock_out_of_step),
    ("build", r"(?:ETARGET|notarget) No matching version found for (\S+?)\.?$|404\s+'((?:@[\w.-]+/)?[\w.-]+)@"
     r"|Couldn't find (?:any versions for|package) \"([^\"]+)\"", _gone),
    ("collect", r"\.node'|node-gyp|Could not locate the bindings file|No native build was found", _native),
    ("collect", r"Cannot find (?:module|package) '([^'\n]+)'", _module),
    ("build", r"Cannot find (?:module|package) '([^'\n]+)'", _module),
    ("build", r"", _no_build),
)  # fmt: skip


def repair(recipe: NativeRecipe, broken: Broken) -> NativeRecipe | None:
    for stage, pattern, action in RULES:
        if stage == broken.stage and (match := re.search(pattern, broken.log, re.M)):
            mended = action(recipe, match)
            if mended is not None:
                return mended
    return None
