"""Which kind a change is of, by which rule; what goes on to a validation of its own; and workloads."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_git import History, is_test

from envs.reports import TestReport, TestResult, TestStatus
from pipelines.family import Rejected
from pipelines.swe import kinds, routes, workload
from pipelines.swe.git import mine
from pipelines.swe.kinds import KINDS, ROUTED, RULES, Signs, Tag, tags
from verifiers.tests.classify import Classification
from verifiers.tests.spec import TestSpec
from warehouse.settings import Settings


def told(title: str, text: str = "", **signs: Any) -> tuple[str, str]:
    """(kind, rule) of the first tag."""
    first = tags(Signs(title, text, **signs))[0]
    return first.kind, first.rule


@pytest.mark.parametrize(
    ("title", "kind", "rule"),
    [
        ("fix(parser): keep empty lines", "bug_fix", "conventional_prefix"),
        ("feat!: streams", "feature", "conventional_prefix"),
        ("perf: cache the table", "performance", "conventional_prefix"),
        ("MNT: drop shims", "refactor", "conventional_prefix"),
        ("docs: fix a typo", "other", "conventional_prefix"),
        ("Speed up lookups", "performance", "subject_opens"),
        ("#130: Improve partition() memory efficiency", "performance", "subject_opens"),
        ("urlutils: add a parser of queries", "feature", "subject_opens"),
        ("Fixed handling of tabs", "bug_fix", "subject_opens"),
        ("Don't lose the last line", "bug_fix", "subject_opens"),
        ("Simplify and speed up permutations", "refactor", "subject_opens"),
        ("Renamed range2list to parse_list", "refactor", "subject_opens"),
        ("Remove unused helpers", "refactor", "subject_opens"),
        ("Add tests for tabs", "test", "subject_opens"),
        ("add missing regression test", "test", "subject_opens"),
        ("Measure offsets backwards to avoid quadratic CPU use", "performance", "subject_says"),
        ("couple of small cleanups", "refactor", "subject_says"),
        ("Descend into subgroups (fixes #782)", "bug_fix", "subject_says"),
        ("Tidyverse is supported", "other", "no_rule"),
        ("Perform the upgrade", "other", "no_rule"),
        ("Long live indexes", "other", "no_rule"),
    ],
)
def test_titles(title: str, kind: str, rule: str) -> None:
    assert told(title) == (kind, rule)


def test_what_is_trusted_more_comes_first() -> None:
    by_author = Signs("refactor: faster lookups", labels=("bug",))
    assert [(tag.kind, tag.rule) for tag in tags(by_author)] == [
        ("refactor", "conventional_prefix"), ("bug_fix", "label"), ("performance", "subject_opens"),
    ]  # fmt: skip
    assert told("Lookups", labels=("good first issue", "Type: Performance")) == ("performance", "label")
    assert told("Lookups", sections=("Bug fixes",)) == ("bug_fix", "changelog_section")
    assert told("Lookups", sections=("1.2.0 (2024-01-01)",)) == ("other", "no_rule")
    news = {"docs": ("changes/130.feature.rst",)}
    assert told("Fix lookups", paths=news) == ("feature", "news_fragment")
    assert told("Lookups", "They were slow.") == ("performance", "text_says")


def test_a_fix_that_also_tidies_up_is_a_fix_first() -> None:
    found = tags(Signs("Fix a crash", "While at it, refactored the parser and made it faster."))
    assert found[0].kind == "bug_fix"
    assert [tag.kind for tag in kinds.route(found)] == ["performance", "refactor"]


def test_the_diff_tells_where_no_word_does() -> None:
    lines = Counter({f"line number {i}": 1 for i in range(10)})
    assert told("Lookups", added=lines, removed=lines) == ("refactor", "only_moved_code")
    assert told("Lookups", added=lines, new_names=("find",)) == ("feature", "only_new_names")
    assert told("Lookups", added=lines, removed=Counter(["def find():"]), new_names=("find",)) == (
        "other", "no_rule",
    )  # fmt: skip
    assert told("Lookups", removed=lines) == ("refactor", "only_removed_code")
    assert told("Lookups", paths={"test": ("tests/a.py",), "docs": ("README.md",)}) == ("test", "only_tests")
    bench = {"source": ("benchmarks/lookup.py", "pkg/a.py")}
    assert told("Lookups", paths=bench) == ("performance", "benchmark_touched")
    everything = {"source": (*bench["source"], *(f"pkg/{i}.py" for i in range(20)))}
    assert told("Upgrade syntax", paths=everything) == ("other", "no_rule")


def test_a_model_is_asked_only_where_no_rule_tells() -> None:
    asked: list[str] = []

    def model(signs: Signs) -> Tag | None:
        asked.append(signs.title)
        return Tag("refactor", "model") if signs.title == "Lookups" else None

    assert tags(Signs("Fix lookups"), model)[0].kind == "bug_fix"
    assert tags(Signs("Lookups"), model) == (Tag("refactor", "model"),)
    assert tags(Signs("Long live indexes"), model) == (Tag("other", "no_rule"),)
    assert asked == ["Lookups", "Long live indexes"]


def test_rules_name_known_kinds() -> None:
    assert len({rule for rule, _ in RULES}) == len(RULES)
    assert set(ROUTED) == set(routes.ROUTES)
    named = {
        kind for table in (kinds.LABELS, kinds.OPENINGS, kinds.WORDS, kinds.SECTIONS) for kind, _ in table
    }
    assert named | set(kinds.PREFIXES.values()) <= set(KINDS)


# Of a real history


def test_mined_candidates_carry_their_kind(tmp_path: Path) -> None:
    history = History(tmp_path / "clone")
    body = "".join(f"def name_{i}(value):\n    return value + {i}\n\n\n" for i in range(6))
    changelog = "# Changes\n\n## Unreleased\n\n### Fixed\n\n"
    history.commit("Start", {"pkg/b.py": body, "CHANGELOG.md": changelog, "tests/test_a.py": "assert 1\n"})
    history.commit(
        "Elsewhere now (#2)", {"pkg/b.py": None, "pkg/c.py": body, "tests/test_a.py": "assert 2\n"}
    )
    history.commit(
        "More words here (#3)\n\nThe parser of words takes any word that it is given now.",
        {
            "pkg/c.py": body + "X = 1\n",
            "CHANGELOG.md": changelog + "- Words\n",
            "tests/test_a.py": "assert 3\n",
        },
    )
    history.commit("Update the readme (#4)", {"README.md": "hello"})
    settings = Settings(cache=tmp_path / "cache", home=tmp_path / "home")
    found = {}
    for mined in mine(str(history.folder), settings, is_test=is_test):
        tagged = kinds.tagged(mined, is_test)
        detail = json.loads(tagged.candidate.detail)
        assert detail["paths"] == json.loads(mined.candidate.detail)["paths"]  # nothing else is lost
        assert kinds.of(tagged.candidate)[0] == Tag(*detail["kinds"][0])
        found[mined.candidate.title] = (detail["kind"], detail["kind_rule"])
    assert found == {
        "Elsewhere now": ("refactor", "only_moved_code"),
        "More words here": ("bug_fix", "changelog_section"),
        "Update the readme": ("other", "no_rule"),
    }
    assert kinds.of(mined.candidate) == ()


# Routes


def report(**seconds: float) -> TestReport:
    return TestReport(
        results=tuple(
            TestResult(id=f"tests/test_a.py::{name}", status=TestStatus.PASSED, seconds=value)
            for name, value in seconds.items()
        ),
        outcome="finished", exit_code=0,
    )  # fmt: skip


async def test_what_has_no_route_keeps_its_reason() -> None:
    candidate = SimpleNamespace(detail=json.dumps({"kinds": [["bug_fix", "label", "bug"]]}))
    draft: Any = SimpleNamespace(
        classification=Classification(pass_to_pass=("a",), reason="no_fail_to_pass"),
        built=SimpleNamespace(mined=SimpleNamespace(candidate=candidate)), after=report(test_x=0.1),
    )  # fmt: skip
    outcome = await routes.routed(draft, SimpleNamespace())  # ty: ignore[invalid-argument-type]
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "no_fail_to_pass"


SPEC = TestSpec(runner="pytest", args=("tests",))
KEPT = tuple(
    f"tests/test_a.py::{name}" for name in ("test_quick", "test_slow[1]", "test_slow[2]", "test_same")
)


def test_the_workload_is_what_saved_most() -> None:
    before = report(**{"test_quick": 0.001, "test_slow[1]": 2.0, "test_slow[2]": 0.001, "test_same": 3.0})
    after = report(**{"test_quick": 0.001, "test_slow[1]": 0.5, "test_slow[2]": 0.001, "test_same": 3.0})
    found = workload.choose(SPEC, KEPT, before, after)
    assert found is not None
    assert found.args == ("tests/test_a.py::test_slow",)  # parameters are not told to the runner …
    assert found.tests == ("tests/test_a.py::test_slow[1]", "tests/test_a.py::test_slow[2]")  # … so all run


def test_without_a_saving_the_slowest_are_tried() -> None:
    same = report(**{"test_quick": 0.001, "test_slow[1]": 1.0, "test_same": 0.2})
    found = workload.choose(SPEC, KEPT, same, same)
    assert found is not None
    assert set(found.args) == {f"tests/test_a.py::test_{name}" for name in ("slow", "same", "quick")}


def test_what_takes_no_time_cannot_be_measured() -> None:
    quick = report(test_quick=0.002, test_same=0.001)
    assert workload.choose(SPEC, KEPT, quick, quick) is None
    assert workload.choose(SPEC, (), quick, quick) is None


def test_suites_that_are_a_command_run_as_they_are() -> None:
    command = TestSpec(runner="command", command=("go", "test"), report="go", args=("./...",))
    before, after = report(test_slow=1.0), report(test_slow=0.1)
    found = workload.choose(command, ("tests/test_a.py::test_slow",), before, after)
    assert found is not None
    assert found.args == ("./...",)
    module = TestSpec(runner="unittest", args=("tests/test_a.py", "tests/test_b.py"))
    result = TestResult(id="tests.test_b.Case.test_x", status=TestStatus.PASSED, seconds=1.0)
    one = TestReport(results=(result,), outcome="finished", exit_code=0)
    found = workload.choose(module, ("tests.test_b.Case.test_x",), one, one)
    assert found is not None
    assert found.args == ("tests/test_b.py",)
