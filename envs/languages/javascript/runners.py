"""How each test runner is made to report: the project's own arguments, without those that change what is run
or how it is told, and ours.

A runner's words stay shell text. `"$@"` is the seed, there in shuffled runs only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from envs.languages.javascript.node import least
from envs.languages.javascript.scripts import Command, plain

BIN = "node_modules/.bin"


@dataclass(frozen=True)
class Runner:
    """A test runner that we know. `dropped` and `valued` are patterns of options that go; the latter take the
    next word with them.
    """

    line: str
    report: str
    dropped: str
    valued: str = r"(?!)"
    report_files: tuple[str, ...] = ()
    log_report: str = ""
    seed: str = ""
    """Argument of a shuffled run, `{seed}` in it."""


_WATCH = r"--watch(All)?(=.*)?|-w|--bail(=.*)?|-b|--colors?|--no-colors?|-c"

RUNNERS: dict[str, Runner] = {
    "jest": Runner(
        line=f"exec {BIN}/jest --ci --json --outputFile={{out}}/jest.json --verbose --coverage=false "
        "--reporters=default --watchman=false {arguments}",
        report="jest_json",
        dropped=rf"{_WATCH}|--(no-)?(ci|json|verbose|silent|coverage|collectCoverage|notify)(=.*)?|-u|-o"
        r"|--updateSnapshot|--onlyChanged|--passWithNoTests|--(coverage|outputFile|reporters|collectCoverage"
        r"|changedSince|json)[\w]*=.*|--detectOpenHandles",
        valued=r"--(coverage\w+|reporters|outputFile|collectCoverageFrom|changedSince)",
        report_files=("{out}/jest.json",),
        log_report="jest_log",
    ),
    "vitest": Runner(
        line=f"exec {BIN}/vitest run --reporter=json --reporter=verbose "
        "--outputFile.json={out}/vitest.json --coverage.enabled=false {arguments}",
        report="jest_json",
        dropped=rf"run|watch|dev|{_WATCH}|--coverage(\..*)?(=.*)?|--(reporter|outputFile|silent|ui|run|update)(=.*)?"
        r"|-u|--open|--passWithNoTests",
        valued=r"--reporter|--outputFile",
        report_files=("{out}/vitest.json",),
        log_report="jest_log",
        seed="--sequence.seed={seed}",
    ),
    "mocha": Runner(
        line=f"exec {BIN}/mocha --reporter json {{arguments}}",
        report="mocha_json",
        dropped=rf"{_WATCH}|--reporter(-options?)?=.*|--(no-)?(color|bail|diff)|-C",
        valued=r"--reporter(-options?)?|-R|-O",
    ),
    "ava": Runner(
        line=f"exec {BIN}/ava --tap {{arguments}}",
        report="tap",
        dropped=rf"{_WATCH}|--tap|-t|--verbose|-v|--fail-fast|--update-snapshots|-u",
    ),
    "tape": Runner(line=f"exec {BIN}/tape {{arguments}}", report="tap", dropped=r"(?!)"),
    "tap": Runner(
        line=f"exec {BIN}/tap --reporter=tap --no-coverage {{arguments}}",
        report="tap",
        dropped=rf"{_WATCH}|--(no-)?(cov|coverage|check-coverage)(=.*)?|--100|-B|--(coverage|reporter|cov)[\w-]*=.*"
        r"|--\w*-coverage(=.*)?|-R\w+|-C",
        valued=r"--reporter|-R|--coverage-report",
    ),
}
# node-tap's own words for "no coverage", since 18.
TAP_18 = "--disable-coverage"

# Node reports no file with a test, so files run one by one, each named before its report.
NODE = (
    'status=0; for file in {files}; do [ -f "$file" ] || continue; printf "%s ..\\n" "$file"; '
    'node {flags} --test --test-reporter=tap "$file" </dev/null || status=1; done; exit $status'
)
_NODE_PATTERN = (
    r"find . -name node_modules -prune -o -type f \( -name '*.test.[cm]js' -o -name '*.test.js' "
    r"-o -name '*-test.[cm]js' -o -name '*-test.js' -o -name '*_test.[cm]js' -o -name '*_test.js' "
    r"-o -name 'test-*.js' -o -name 'test-*.mjs' -o -name 'test.js' -o -name 'test.mjs' "
    r"-o -path '*/test/*.js' -o -path '*/test/*.mjs' -o -path '*/test/*.cjs' \) -print "
    r"| sed 's,^[.]/,,' | sort"
)
_DEFAULT_FILES = f"$({_NODE_PATTERN})"
_NODE_DROPPED = re.compile(
    r"--test(-reporter.*|-concurrency.*|-force-exit|-only)?|--experimental-test-coverage|--watch|--test-coverage.*"
)


def command(found: Command, versions: dict[str, str]) -> tuple[str, ...]:
    """The test command."""
    if found.runner == "node":
        return ("bash", "-O", "globstar", "-O", "nullglob", "-c", _node(found))
    name = found.runner
    runner = RUNNERS[name]
    line = runner.line
    version = least(versions.get(name, "")) or 0
    if name == "tap" and version >= 18:
        line = line.replace("--no-coverage", TAP_18)
    seed = _seed(name, version, versions.get(name, ""))
    shuffle = (
        {"vitest": " ${1:+--sequence.shuffle}", "jest": " ${1:+--randomize}"}.get(name, "") if seed else ""
    )
    words = arguments(found.words[1:], runner)
    # Not by format: the project's words may hold braces.
    text = line.replace("{arguments}", words).rstrip() + (f'{shuffle} "$@"' if seed else "")
    return ("bash", "-c", text, "bash", *([seed] if seed else []))


def _seed(name: str, version: int, requirement: str) -> str:
    """Jest shuffles since 29.5."""
    if name == "jest":
        newer = version >= 30 or re.search(r"(?<![\d.])29\.([5-9]|\d\d)", requirement)
        return "--seed={seed}" if newer else ""
    return RUNNERS[name].seed if version >= 1 else ""


def arguments(words: tuple[str, ...], runner: Runner) -> str:
    """The project's own arguments that may stay."""
    kept: list[str] = []
    skip = False
    for word in words:
        bare = plain(word)
        if skip and not bare.startswith("-"):
            skip = False
            continue
        skip = bool(re.fullmatch(runner.valued, bare))
        if not skip and not re.fullmatch(runner.dropped, bare) and bare != "--":
            kept.append(word)
    return " ".join(kept)


def _node(found: Command) -> str:
    flags, files = [], []
    for word in found.words[1:]:
        bare = plain(word)
        if _NODE_DROPPED.fullmatch(bare):
            continue
        if bare.startswith("-"):
            flags.append(word)
        elif flags and flags[-1] in (
            "-r",
            "--require",
            "--import",
            "--loader",
            "--experimental-loader",
            "-C",
        ):
            flags[-1] += f" {word}"
        else:
            files.append(_files(bare))
    text = NODE.replace("{files}", " ".join(files) or _DEFAULT_FILES)
    return text.replace("{flags}", " ".join(flags))


def _files(word: str) -> str:
    """Files that a word names: a pattern, a file, or all of a folder."""
    if re.search(r"[*?\[{]", word):
        return word
    if re.search(r"\.[cm]?[jt]sx?$", word):
        return word
    folder = word.rstrip("/")
    return f"{folder}/**/*.js {folder}/**/*.mjs {folder}/**/*.cjs {folder}/**/*.ts"
