"""Roles from three states, and what repeated runs do to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.reports import TestReport, TestResult, TestStatus
from verifiers.tests.classify import PASSING, Classification, classify
from verifiers.tests.stability import Run, assess, status_of, wilson

FILE = "tests/test_a.py"
T = f"{FILE}::test_t"
OTHER = "tests/test_b.py::test_o"


def report(outcomes: dict[str, str], *, broken: tuple[str, ...] = (), exit_code: int = 0) -> TestReport:
    results = tuple(TestResult(id=i, status=TestStatus(s)) for i, s in outcomes.items())
    errors = tuple(TestResult(id=path, status=TestStatus.ERROR) for path in broken)
    return TestReport(results=results, collection_errors=errors, exit_code=exit_code, outcome="finished")


def state(kind: str) -> TestReport:
    """A report in which the test is absent, uncollectable, or has a status."""
    others = {OTHER: "passed"}
    if kind == "absent":
        return report(others)
    return report(others, broken=(FILE,)) if kind == "uncollectable" else report({**others, T: kind})


def role(base: str, before: str, after: str) -> str:
    found = classify(state(base), state(before), state(after))
    roles = [name for name in ("fail_to_pass", "pass_to_pass", "new") if T in getattr(found, name)]
    assert len(roles) <= 1
    return roles[0] if roles else ""


@pytest.mark.parametrize(
    ("base", "before", "after", "expected"),
    [
        ("failed", "failed", "passed", "fail_to_pass"),
        ("error", "timeout", "passed", "fail_to_pass"),
        ("failed", "failed", "xfailed", "fail_to_pass"),
        ("passed", "failed", "passed", "fail_to_pass"),
        ("absent", "failed", "passed", "fail_to_pass"),
        ("absent", "crashed", "passed", "fail_to_pass"),
        ("failed", "uncollectable", "passed", "fail_to_pass"),
        ("passed", "passed", "passed", "pass_to_pass"),
        ("passed", "uncollectable", "passed", "pass_to_pass"),
        ("absent", "uncollectable", "passed", "new"),
        ("absent", "absent", "passed", "new"),
        ("uncollectable", "uncollectable", "passed", "new"),
        ("failed", "failed", "failed", ""),
        ("failed", "failed", "skipped", ""),
        ("failed", "failed", "xpassed", ""),
        ("failed", "failed", "absent", ""),
        ("skipped", "skipped", "passed", ""),
        ("passed", "skipped", "passed", ""),
        ("failed", "passed", "passed", ""),
        ("absent", "passed", "passed", ""),
        ("passed", "absent", "passed", ""),
    ],
)
def test_roles(base: str, before: str, after: str, expected: str) -> None:
    assert role(base, before, after) == expected


KINDS = st.sampled_from(["absent", "uncollectable", *TestStatus])


@given(KINDS, KINDS, KINDS)
def test_a_role_needs_a_pass_after_and_a_difference_unless_it_is_maintained(
    base: str, before: str, after: str
) -> None:
    found = role(base, before, after)
    if after not in PASSING:
        assert found == ""
    if found in ("fail_to_pass", "new"):
        assert before not in PASSING
    if found == "pass_to_pass":
        assert base in PASSING


def test_prefixes_are_of_whole_names() -> None:
    """`tests/test_a.py` being broken says nothing about `tests/test_a.pyx` or `tests/test_ab.py`."""
    after = report({"tests/test_ab.py::t": "passed", "pkg.test_a.T.t": "passed", "pkg.test_ab.T.t": "passed"})
    before = report({OTHER: "passed"}, broken=("tests/test_a.py", "pkg.test_a"))
    base = report({"tests/test_ab.py::t": "passed", "pkg.test_a.T.t": "passed", "pkg.test_ab.T.t": "passed"})
    assert classify(base, before, after).pass_to_pass == ("pkg.test_a.T.t",)


def test_a_suite_that_never_got_to_collecting_is_uncollectable() -> None:
    before = TestReport(results=(), exit_code=4, outcome="no_tests")
    found = classify(report({OTHER: "passed"}), before, report({OTHER: "passed", T: "passed"}))
    assert (found.pass_to_pass, found.new, found.fail_to_pass) == ((OTHER,), (T,), ())


def test_kind_and_reason() -> None:
    feature = classify(state("absent"), state("absent"), state("passed"))
    assert (feature.kind, feature.reason) == ("feature", "")
    bug = classify(state("failed"), state("failed"), state("passed"))
    assert (bug.kind, bug.reason) == ("bug_fix", "")
    assert classify(state("passed"), state("passed"), state("passed")).reason == "no_fail_to_pass"


# -- stability

ROLES = Classification(fail_to_pass=("f",), pass_to_pass=("p",), new=("n",))
BEFORE = {"f": "failed", "p": "passed"}
AFTER = {"f": "passed", "p": "passed", "n": "passed"}


def steady(natural: int = 1, shuffled: int = 4) -> list[Run]:
    conditions = [""] * natural + [f"shuffled:{seed}" for seed in range(shuffled)]
    runs = [Run(state="before", conditions=c, report=report(BEFORE, exit_code=1)) for c in conditions]
    return runs + [Run(state="after", conditions=c, report=report(AFTER)) for c in conditions]


def odd(where: str, conditions: str, changed: dict[str, str]) -> Run:
    outcomes = {**(BEFORE if where == "before" else AFTER), **changed}
    return Run(
        state="before" if where == "before" else "after", conditions=conditions, report=report(outcomes)
    )


def test_steady_runs_keep_everything() -> None:
    found = assess(ROLES, steady())
    assert found.stable == ROLES
    assert found.quarantined == {}
    assert [(f.state, f.runs, f.wavered) for f in found.flakiness] == [("before", 5, 0), ("after", 5, 0)]
    assert found.flakiness[0].upper == pytest.approx(1.96**2 / (5 + 1.96**2))


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([odd("after", "", {"p": "failed"})], {"p": "flaky"}),
        ([odd("before", "", {"f": "passed"})], {"f": "flaky"}),
        ([odd("after", "shuffled:9", {"p": "failed"})], {"p": "order_dependent"}),
        ([odd("after", "date:+400d", {"p": "failed"})], {"p": "date_dependent"}),
        ([odd("after", "date:+400d", {"n": "error"})], {"n": "date_dependent"}),
        ([odd("after", "shuffled:9", {"p": "failed"}), odd("after", "", {"p": "timeout"})], {"p": "flaky"}),
        (
            [odd("after", "date:+400d", {"p": "failed"}), odd("after", "shuffled:9", {"p": "failed"})],
            {"p": "order_dependent"},
        ),
        ([odd("after", "", {"p": "skipped"})], {}),
        ([odd("before", "", {"n": "failed"})], {"n": "flaky"}),
    ],
)  # fmt: skip
def test_what_wavers_is_quarantined_with_its_reason(runs: list[Run], expected: dict[str, str]) -> None:
    found = assess(ROLES, [*steady(), *runs])
    assert found.quarantined == expected
    kept = {*found.stable.fail_to_pass, *found.stable.pass_to_pass, *found.stable.new}
    assert kept == {"f", "p", "n"} - set(expected)
    assert found.quarantine_lines() == tuple(f"{reason} {test}" for test, reason in sorted(expected.items()))


def test_nothing_left_that_decides() -> None:
    found = assess(
        Classification(fail_to_pass=("f",), pass_to_pass=("p",)),
        [*steady(), odd("after", "", {"f": "failed"})],
    )
    assert found.stable.reason == "no_stable_fail_to_pass"


@given(st.integers(0, 200), st.integers(1, 200))
def test_wilson_bounds_hold_the_proportion_and_narrow_with_runs(wavered: int, runs: int) -> None:
    wavered = min(wavered, runs)
    low, high = wilson(wavered, runs)
    rounding = 1e-12  # at 0 and n of n a bound equals the proportion
    assert 0 <= low <= wavered / runs + rounding
    assert wavered / runs - rounding <= high <= 1
    narrower = wilson(wavered * 4, runs * 4)
    assert narrower[1] - narrower[0] < high - low


def test_wilson_of_known_values() -> None:
    """Newcombe 1998, table I, case 81 of 263; and 0 of 20."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    with pytest.raises(ValueError, match="no proportion"):
        wilson(3, 2)


def test_status_to_store() -> None:
    assert status_of("f", report(BEFORE)) == "failed"
    assert status_of("gone", report(BEFORE)) == "missing"
