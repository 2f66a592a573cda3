"""Which changes are worth building an environment for: rules as data, asked before anything costly is done.

`PATHS` says what a file is, `RULES` what disqualifies a change. Both are tried in order and the first hit
wins, so the order is part of the meaning: a reverted documentation change is a `revert`. Every source asks
the same rules, as often as it likes: a rule breaks on what is known and never on what is not known yet, so a
source may ask with what an API tells before it fetches anything, and again with what the trees tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

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
    ("lock", re.compile(
        r"(^|/)([^/]+\.(lock|lockb|lockfile)|package-lock\.json|npm-shrinkwrap\.json|pnpm-lock\.yaml"
        r"|packages\.lock\.json|go\.sum|cpanfile\.snapshot|MODULE\.bazel\.lock)$")),
    ("derived", re.compile(
        r"\.min\.(js|css|mjs)$|\.(js|css)\.map$|_pb2(_grpc)?\.pyi?$|\.pb\.(go|cc|h)$|\.generated\.[^/]+$"
        r"|(^|/)zz_generated[^/]*$|(^|/)__generated__/|(^|/)dist/[^/]+\.(js|mjs|cjs|css)$")),
    ("project", re.compile(
        r"(^|/)(CMakeLists\.txt|meson\.build|(dev-|test-)?(requirements|constraints)[^/]*\.(txt|in)"
        r"|requirements/[^/]+\.(txt|in)|go\.mod|pom\.xml|build\.gradle(\.kts)?)$")),
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
    changed_lines: int = 50_000
    changed_bytes: int = 32 << 20


@dataclass(frozen=True)
class Facts:
    """What is known about a change before its environment is built; a default is what breaks no rule.

    `paths` is None until they are known. `told` is whether any linked text says what the change is about.
    `number` is the pull request's. `changed_bytes` counts the larger side of each file that differs.
    """

    subject: str = ""
    author: str = ""
    paths: Mapping[str, tuple[str, ...]] | None = None
    number: int | None = None
    merged: bool = True
    by_program: bool = False
    told: bool | None = None
    changed_lines: int = 0
    changed_bytes: int = 0

    def of(self, kind: str) -> tuple[str, ...]:
        return (self.paths or {}).get(kind, ())

    def only(self, *kinds: str) -> bool:
        """Whether the paths are known and all are of `kinds`."""
        return self.paths is not None and not any(
            found for kind, found in self.paths.items() if kind not in kinds
        )

    def lacks(self, kind: str) -> bool:
        """Whether the paths are known and none is of `kind`."""
        return self.paths is not None and not self.of(kind)


def kind_of(path: str, is_test: IsTest) -> str:
    """generated | vendored | test | lock | derived | docs | project | source."""
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
    return (
        len(facts.of("source")) > limits.source_files
        or len(facts.of("test")) > limits.test_files
        or facts.changed_lines > limits.changed_lines
        or facts.changed_bytes > limits.changed_bytes
    )


# reason → does it disqualify? In order; the first hit wins.
RULES: tuple[tuple[str, Callable[[Facts, ChangeLimits], bool]], ...] = (
    ("not_merged", lambda f, _: not f.merged),
    ("bot", lambda f, _: f.by_program or bool(_BOTS.search(f.author))),
    ("revert", lambda f, _: bool(_REVERT.search(f.subject))),
    ("branch_sync", lambda f, _: bool(_SYNC.search(f.subject))),
    ("no_change", lambda f, _: f.only("generated")),
    ("docs_only", lambda f, _: f.only("generated", "docs")),
    ("lock_files_only", lambda f, _: f.only("generated", "docs", "lock")),
    ("generated_only", lambda f, _: f.only("generated", "docs", "lock", "derived")),
    ("vendored", lambda f, _: bool(f.of("vendored")) and f.lacks("source")),
    ("no_test_change", lambda f, _: f.lacks("test")),
    ("no_source_change", lambda f, _: f.lacks("source")),
    ("too_large", _too_large),
    ("no_linked_statement", lambda f, _: f.told is False),
)


def disqualified(facts: Facts, limits: ChangeLimits | None = None) -> str | None:
    """The reason code of the first rule that the change breaks."""
    return next((reason for reason, broken in RULES if broken(facts, limits or ChangeLimits())), None)
