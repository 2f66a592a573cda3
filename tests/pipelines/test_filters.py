"""The rules: each by the change that breaks it alone, their order, and what is not known yet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from pipelines.swe.filters import RULES, ChangeLimits, Facts, disqualified, kind_of


def is_test(path: str) -> bool:
    return "tests" in PurePosixPath(path).parts


GOOD = Facts(
    "Count from one",
    "Ann",
    {"source": ("a.py",), "test": ("tests/a.py",)},
    number=1,
    told=True,
    changed_lines=9,
)
# reason → what breaks that rule and no other
BREAKING = {
    "not_merged": {"merged": False},
    "bot": {"by_program": True},
    "revert": {"subject": 'Revert "Count from one"'},
    "branch_sync": {"subject": "Merge tag 'v1'"},
    "no_change": {"paths": {"generated": ("PKG-INFO",)}},
    "docs_only": {"paths": {"docs": ("a.md",), "generated": ("PKG-INFO",)}},
    "lock_files_only": {"paths": {"lock": ("uv.lock",), "docs": ("a.md",)}},
    "generated_only": {"paths": {"derived": ("a.min.js",), "lock": ("yarn.lock",)}},
    "vendored": {"paths": {"vendored": ("vendor/a.py",), "test": ("tests/a.py",)}},
    "no_test_change": {"paths": {"source": ("a.py",)}},
    "no_source_change": {"paths": {"test": ("tests/a.py",), "project": ("setup.py",)}},
    "too_large": {"changed_lines": 60_000},
    "no_linked_statement": {"told": False},
}


def test_every_rule_has_its_case() -> None:
    assert [reason for reason, _ in RULES] == list(BREAKING)


@pytest.mark.parametrize("reason", BREAKING)
def test_a_change_that_breaks_one_rule(reason: str) -> None:
    assert disqualified(replace(GOOD, **BREAKING[reason])) == reason


def test_a_change_that_breaks_none() -> None:
    assert disqualified(GOOD) is None


@pytest.mark.parametrize("earlier", range(len(BREAKING)))
def test_the_first_rule_that_is_broken_counts(earlier: int) -> None:
    """Of two rules that can be broken at once, the earlier one is the reason."""
    reasons = list(BREAKING)
    for later in reasons[earlier + 1 :]:
        if not BREAKING[reasons[earlier]].keys() & BREAKING[later].keys():
            both = replace(GOOD, **BREAKING[reasons[earlier]], **BREAKING[later])
            assert disqualified(both) == reasons[earlier]


def test_what_is_not_known_breaks_no_rule() -> None:
    assert disqualified(Facts("Count from one", "Ann")) is None
    assert disqualified(Facts("Count from one", "Ann", paths={})) == "no_change"


@pytest.mark.parametrize(
    "facts",
    [
        {"paths": {"test": ("tests/a.py",), "source": tuple(map(str, range(61)))}},
        {"paths": {"test": tuple(map(str, range(201))), "source": ("a.py",)}},
        {"changed_bytes": 33 << 20},
    ],
)
def test_sizes(facts: dict[str, object]) -> None:
    assert disqualified(replace(GOOD, **facts)) == "too_large"
    roomy = ChangeLimits(source_files=99, test_files=999, changed_bytes=1 << 40)
    assert disqualified(replace(GOOD, **facts), roomy) is None


KINDS = {
    "lock": [
        "uv.lock", "poetry.lock", "js/package-lock.json", "yarn.lock", "pnpm-lock.yaml", "Cargo.lock",
        "Gemfile.lock", "composer.lock", "go.sum", "bun.lockb", "gradle.lockfile",
    ],
    "derived": ["web/app.min.js", "a/b_pb2.py", "a_pb2_grpc.pyi", "api.pb.go", "x.generated.ts",
                "dist/index.js"],
    "project": ["CMakeLists.txt", "requirements-dev.txt", "requirements/test.txt", "sub/go.mod",
                "pyproject.toml"],
    "docs": ["docs/a.py", "README", "notes.txt", "CHANGELOG.md"],
    "source": ["a.py", "dist/build.py", "locks.py", "src/lock.c", "requirements.py", "generated.py"],
    "test": ["tests/package-lock.json", "tests/a_pb2.py"],
    "vendored": ["vendor/uv.lock", "third_party/x.min.js"],
    "generated": ["x.egg-info/requires.txt", "PKG-INFO"],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "path"), [(kind, path) for kind, paths in KINDS.items() for path in paths])
def test_kinds_of_paths(kind: str, path: str) -> None:
    assert kind_of(path, is_test) == kind
