"""Which changes are worth building an environment for: rules as data, asked before anything costly is done.

`PATHS` says what a file is, `RULES` what disqualifies a change. Both are tried in order and the first hit
wins, so the order is part of the meaning: a reverted documentation change is a `revert`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

IsTest = Callable[[str], bool]

# kind of file → path pattern. `generated` comes from packaging tools; it is in no patch.
PATHS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "generated",
        re.compile(r"(^|/)([^/]+\.(egg|dist)-info(/|$)|PKG-INFO$|SOURCES\.txt$|\.hg_archival\.txt$)"),
    ),
    ("vendored", re.compile(r"(^|/)_?(vendor|vendored|vendors|third_party|node_modules|extern)/")),
)
# asked after the toolchain's own test rule
OTHER_PATHS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("docs", re.compile(r"(^|/)(docs?|documentation|examples?)/", re.I)),
    ("docs", re.compile(r"\.(md|rst|txt|adoc|png|jpe?g|svg|gif|ico|pot?|mo)$", re.I)),
    ("docs", re.compile(
        r"(^|/)(authors|changes|changelog|contributors|copying|history|licen[cs]e|news|notice|readme)"
        r"([-_][^/.]*)?(\.(?!py)[^/.]*)?$", re.I)),
    ("project", re.compile(
        r"^(\.[^/]+(/|$)|[^/]+\.(toml|cfg|ini|ya?ml|lock|in|json)$"
        r"|(setup|noxfile|tasks)\.py$|Makefile$|Dockerfile$)")),
)  # fmt: skip


@dataclass(frozen=True)
class ChangeLimits:
    """Bounds of one change: past them a task says too little about too much."""

    source_files: int = 60
    test_files: int = 200
    patch_bytes: int = 400_000


@dataclass(frozen=True)
class Facts:
    """What is known about a change before its environment is built."""

    subject: str = ""
    author: str = ""
    paths: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, kind: str) -> tuple[str, ...]:
        return self.paths.get(kind, ())


def kind_of(path: str, is_test: IsTest) -> str:
    """generated | vendored | test | docs | project | source."""
    for kind, pattern in PATHS:
        if pattern.search(path):
            return kind
    if is_test(path):
        return "test"
    return next((kind for kind, pattern in OTHER_PATHS if pattern.search(path)), "source")


def sort_paths(paths: Iterable[str], is_test: IsTest) -> dict[str, tuple[str, ...]]:
    """Paths by their kind."""
    found: dict[str, list[str]] = {}
    for path in sorted(set(paths)):
        found.setdefault(kind_of(path, is_test), []).append(path)
    return {kind: tuple(paths) for kind, paths in found.items()}


_BOTS = re.compile(
    r"\[bot\]|\b(dependabot|renovate|greenkeeper|pyup|snyk|pre-commit-ci|github-actions)\b", re.I
)
_REVERT = re.compile(r"^(revert|back ?out|undo)\b", re.I)
_SYNC = re.compile(
    r"^merge (remote-tracking )?branch '?(upstream/|origin/)?"
    r"(main|master|dev|develop|trunk|stable|release[-/]?[^ ']*|v?\d[^ ']*)'"
    r"|^merge tag |^(release|prepare|bump)( for)?( version| release)? ?v?\d|^(back|forward)port\b",
    re.I,
)


def _too_large(facts: Facts, limits: ChangeLimits) -> bool:
    return len(facts.of("source")) > limits.source_files or len(facts.of("test")) > limits.test_files


# reason → does it disqualify? In order; the first hit wins.
RULES: tuple[tuple[str, Callable[[Facts, ChangeLimits], bool]], ...] = (
    ("bot", lambda f, _: bool(_BOTS.search(f.author))),
    ("revert", lambda f, _: bool(_REVERT.search(f.subject))),
    ("branch_sync", lambda f, _: bool(_SYNC.search(f.subject))),
    ("no_change", lambda f, _: not any(paths for kind, paths in f.paths.items() if kind != "generated")),
    ("docs_only", lambda f, _: not any(map(f.of, ("source", "test", "project", "vendored")))),
    ("vendored", lambda f, _: bool(f.of("vendored")) and not f.of("source")),
    ("no_test_change", lambda f, _: not f.of("test")),
    ("no_source_change", lambda f, _: not f.of("source")),
    ("too_large", _too_large),
)


def disqualified(facts: Facts, limits: ChangeLimits | None = None) -> str | None:
    """The reason code of the first rule that the change breaks."""
    return next((reason for reason, broken in RULES if broken(facts, limits or ChangeLimits())), None)
