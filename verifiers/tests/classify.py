"""Which role a test has, from what became of it in the states base, before and after. Pure.

| base | before | after | role |
|---|---|---|---|
| fails | fails, or cannot be collected | passes | fail_to_pass |
| absent | fails (collected, and ran) | passes | fail_to_pass |
| passes | fails | passes | fail_to_pass |
| passes | passes | passes | pass_to_pass |
| passes | cannot be collected | passes | pass_to_pass: it is no new test, its file only names new things |
| absent | absent, or cannot be collected | passes | new |

Anything else has no role: a test that does not pass after, one that passes before but not in base, one
skipped on the way. `new` alone validates only a feature task whose statement names the interface.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from envs.reports import TestReport, TestResult, TestStatus

PASSING = frozenset({TestStatus.PASSED, TestStatus.XFAILED})
"""What counts as passing where it earns something (SWE-bench 5)."""

FAILING = frozenset({TestStatus.FAILED, TestStatus.ERROR, TestStatus.TIMEOUT, TestStatus.CRASHED})


class Seen(StrEnum):
    """What one state shows of one test."""

    PASSES = "passes"
    FAILS = "fails"
    OTHER = "other"  # skipped, or passed although marked as failing: neither
    ABSENT = "absent"
    UNCOLLECTABLE = "uncollectable"


class Role(StrEnum):
    FAIL_TO_PASS = "fail_to_pass"
    PASS_TO_PASS = "pass_to_pass"
    NEW = "new"


RULES: tuple[tuple[frozenset[Seen], frozenset[Seen], Role], ...] = (
    (frozenset({Seen.FAILS}), frozenset({Seen.FAILS, Seen.UNCOLLECTABLE}), Role.FAIL_TO_PASS),
    (frozenset({Seen.ABSENT, Seen.UNCOLLECTABLE, Seen.PASSES}), frozenset({Seen.FAILS}), Role.FAIL_TO_PASS),
    (frozenset({Seen.PASSES}), frozenset({Seen.PASSES, Seen.UNCOLLECTABLE}), Role.PASS_TO_PASS),
    (frozenset({Seen.ABSENT, Seen.UNCOLLECTABLE}), frozenset({Seen.ABSENT, Seen.UNCOLLECTABLE}), Role.NEW),
)
"""(base, before) → role of a test that passes after. Disjoint, so their order does not matter."""


class Classification(BaseModel):
    """The roles of one task's tests, in the order in which the run after reported them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fail_to_pass: tuple[str, ...] = ()
    pass_to_pass: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    reason: str = Field("", description="Why this is no task: 'no_fail_to_pass', or ''.")

    @property
    def kind(self) -> str:
        """`feature` when nothing but new tests tells the states apart."""
        return "bug_fix" if self.fail_to_pass else "feature"


def seen(test_id: str, report: TestReport, results: dict[str, TestResult]) -> Seen:
    """What `report` shows of a test. `results` is `report.by_id()`."""
    if test_id in results:
        status = results[test_id].status
        return Seen.PASSES if status in PASSING else Seen.FAILS if status in FAILING else Seen.OTHER
    if uncollectable(test_id, report):
        return Seen.UNCOLLECTABLE
    return Seen.ABSENT


def uncollectable(test_id: str, report: TestReport) -> bool:
    """Whether a test's file (class, package) could not be collected, or the run never got that far."""
    if not report.results and not report.collection_errors and report.exit_code not in (0, 5):
        return True
    return any(_below(test_id, error.id) for error in report.collection_errors)


def _below(test_id: str, path: str) -> bool:
    """Whether `path` (a file or class of pytest, a module of unittest) holds the test."""
    return test_id == path or test_id.startswith((path + "::", path.rstrip("/") + "/", path + "."))


def classify(base: TestReport, before: TestReport, after: TestReport) -> Classification:
    """Roles of every test that passes after. A report with disagreements has to be rejected before (see
    docs/grading.md).
    """
    of_base, of_before = base.by_id(), before.by_id()
    roles: dict[Role, list[str]] = {role: [] for role in Role}
    for test_id, result in after.by_id().items():
        if result.status in PASSING:
            states = seen(test_id, base, of_base), seen(test_id, before, of_before)
            for in_base, in_before, role in RULES:
                if states[0] in in_base and states[1] in in_before:
                    roles[role].append(test_id)
    return Classification(
        fail_to_pass=tuple(roles[Role.FAIL_TO_PASS]),
        pass_to_pass=tuple(roles[Role.PASS_TO_PASS]),
        new=tuple(roles[Role.NEW]),
        reason="" if roles[Role.FAIL_TO_PASS] or roles[Role.NEW] else "no_fail_to_pass",
    )
