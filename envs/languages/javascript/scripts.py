"""What the scripts of a package.json come down to: commands that build, and the one that runs the tests.

`npm test` is expanded the way npm would run it (`pretest`, `npm run x`, `run-s a b`), into simple commands.
The command whose program is a test runner we know is the suite; what comes before it is kept when it makes
files (compilers, bundlers) and left out when it only looks at them (linters, coverage). Shell text stays
shell text: quotes and globs mean what they meant. Pure.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

RUNNERS = {
    "jest": "jest", "vitest": "vitest", "mocha": "mocha", "_mocha": "mocha", "ava": "ava", "tape": "tape",
    "tap": "tap", "t": "tap", "tap-node": "tape",
}  # fmt: skip

# Programs that make files which tests may read.
BUILDERS = frozenset({
    "babel", "bob", "browserify", "coffee", "copyfiles", "cp", "cpy", "esbuild", "grunt", "gulp", "jison",
    "make", "microbundle", "mkdir", "mkdirp", "mv", "ncp", "nearleyc", "node", "parcel", "peggy", "pegjs",
    "pkgroll", "rimraf", "rm", "rollup", "shx", "swc", "tsc", "tshy", "tsup", "tsx", "ts-node", "tsdown",
    "unbuild", "vite", "webpack",
})  # fmt: skip
WRAPPERS = frozenset({"c8", "nyc", "npx", "cross-env", "env", "cross-env-shell", "istanbul"})
CLIENTS = frozenset({"npm", "yarn", "pnpm", "bun"})
SERIES = frozenset({"run-s", "run-p", "npm-run-all", "npm-run-all2"})
# Options of wrappers that take the next word as their value.
WITH_VALUE = frozenset(
    {"--reporter", "-r", "--require", "--include", "--exclude", "-x", "-n", "-p", "--package"}
)
DEPTH = 6

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_WORD = re.compile(r"(?:'[^']*'|\"(?:\\.|[^\"\\])*\"|\\.|[^\s'\"\\])+")
_OPERATOR = re.compile(r"'[^']*'|\"(?:\\.|[^\"\\])*\"|\\.|(&&|\|\||;|\||&|\n)")


@dataclass(frozen=True)
class Command:
    """A simple command as it stands: words with their quotes, and the variables set for it."""

    words: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def program(self) -> str:
        return PurePosixPath(plain(self.words[0])).name if self.words else ""

    @property
    def runner(self) -> str:
        """The test runner, or ''."""
        if self.program == "node":
            words = [plain(word) for word in self.words[1:]]
            return "node" if "--test" in words else ""
        return RUNNERS.get(self.program, "")

    def text(self) -> str:
        """As a line of shell."""
        assignments = [f"{name}={shlex.quote(value)}" for name, value in self.env.items()]
        return " ".join([*assignments, *self.words])


@dataclass(frozen=True)
class Suite:
    """How the tests are run, and what is built before."""

    command: Command
    before: tuple[Command, ...] = ()


def suite(scripts: Mapping[str, str]) -> Suite | None:
    """The suite that `npm test` runs: of several calls of a runner, the one that names fewest files."""
    commands = list(expand(scripts, "test"))
    found = [i for i, command in enumerate(commands) if command.runner]
    if not found:
        return None
    chosen = min(found, key=lambda i: (_named_files(commands[i]), -len(found)))
    before = (command for command in commands[:chosen] if command.program in BUILDERS and not command.runner)
    return Suite(commands[chosen], tuple(dict.fromkeys(map(_hashable, before))))


def _hashable(command: Command) -> Command:
    return replace(command, env=_Frozen(command.env))


class _Frozen(dict[str, str]):
    """Variables that can be compared by content."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted(self.items())))


def _named_files(command: Command) -> int:
    """How narrow the selection is: files named one by one, without a pattern."""
    words = [plain(word) for word in command.words[1:]]
    return sum(1 for word in words if re.search(r"[./]", word) and not re.search(r"[*?{]|^-|=", word))


def plain(word: str) -> str:
    """A word without its quotes."""
    try:
        return "".join(shlex.split(word))
    except ValueError:
        return word


def expand(scripts: Mapping[str, str], name: str, depth: int = 0) -> Iterator[Command]:
    """The simple commands of a script, with npm's `pre` and `post` scripts, in order."""
    if name not in scripts or depth > DEPTH:
        return
    for part in (f"pre{name}", name, f"post{name}"):
        if isinstance(scripts.get(part), str):
            for command in split(scripts[part]):
                yield from _unwrapped(scripts, command, depth)


def split(text: str) -> list[Command]:
    """The simple commands of a line of shell."""
    parts, start = [], 0
    for match in _OPERATOR.finditer(text):
        if match[1]:
            parts.append(text[start : match.start()])
            start = match.end()
    parts.append(text[start:])
    commands = []
    for part in parts:
        if words := _WORD.findall(part):
            commands.append(_without_assignments(Command(tuple(words))))
    return commands


def _without_assignments(command: Command) -> Command:
    words, env = list(command.words), dict(command.env)
    while words and _ASSIGNMENT.match(words[0]):
        name, _, value = plain(words.pop(0)).partition("=")
        env[name] = value
    return Command(tuple(words), env)


def _unwrapped(scripts: Mapping[str, str], command: Command, depth: int) -> Iterator[Command]:
    """What a command comes down to when scripts and wrappers are taken off."""
    command = _without_assignments(command)
    words = [plain(word) for word in command.words]
    if not words:
        return
    program = command.program
    if program in WRAPPERS:
        rest = _after_options(words)
        if rest < len(words):
            yield from _unwrapped(scripts, Command(command.words[rest:], command.env), depth)
    elif program in CLIENTS and (called := _called(words, scripts)):
        name, more = called
        for inner in expand(scripts, name, depth + 1):
            extra = command.words[more:] if more and inner.runner else ()
            yield Command((*inner.words, *extra), {**command.env, **inner.env})
    elif program in SERIES:
        for pattern in (word for word in words[1:] if not word.startswith("-")):
            for name in _matching(scripts, pattern.split(" ")[0]):
                for inner in expand(scripts, name, depth + 1):
                    yield Command(inner.words, {**command.env, **inner.env})
    elif program == "node" and (runner := _started_by_node(words)):
        at, name = runner
        flags = {"NODE_OPTIONS": " ".join(words[1:at])} if at > 1 else {}
        yield Command((name, *command.words[at + 1 :]), {**command.env, **flags})
    else:
        yield command


def _after_options(words: list[str]) -> int:
    """Index of the command that a wrapper runs."""
    at = 1
    while at < len(words) and (words[at].startswith("-") or _ASSIGNMENT.match(words[at])):
        if _ASSIGNMENT.match(words[at]):
            return at
        at += 2 if words[at] in WITH_VALUE else 1
    return at + 1 if words[at : at + 1] == ["check"] else at


def _called(words: list[str], scripts: Mapping[str, str]) -> tuple[str, int] | None:
    """(script, index of the arguments for it) of a call through a package manager."""
    names = [i for i, word in enumerate(words) if i and not word.startswith("-")]
    if names and words[names[0]] in ("run", "run-script", "rum", "urn"):
        names = names[1:]
    if not names:
        return None
    name = {"t": "test", "tst": "test"}.get(words[names[0]], words[names[0]])
    if name not in scripts:
        return None
    return name, (words.index("--") + 1 if "--" in words else 0)


def _matching(scripts: Mapping[str, str], pattern: str) -> list[str]:
    regex = re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^:]*")
    return [name for name in scripts if re.fullmatch(regex, name)]


def _started_by_node(words: list[str]) -> tuple[int, str] | None:
    """(index, runner) where `node` is given a runner's own file."""
    for at, word in enumerate(words[1:], 1):
        if match := re.search(r"node_modules/(?:\.bin/)?(_?mocha|jest|vitest|ava|tape|tap)(?:/|$)", word):
            return at, match[1]
        if not word.startswith("-"):
            return None
    return None
