"""Test reports as records: one result per test id, ids verbatim as the runner printed them."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class TestStatus(StrEnum):
    """What became of one test. `docs/grading.md` says what each means for a reward."""

    __test__ = False

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"  # set-up or tear-down failed
    SKIPPED = "skipped"
    XFAILED = "xfailed"  # marked as expected to fail, and failed
    XPASSED = "xpassed"  # marked as expected to fail, and passed
    TIMEOUT = "timeout"  # ended by the limit of one test
    CRASHED = "crashed"  # the runner died while the test ran


class TestResult(BaseModel):
    """One test of one run."""

    __test__ = False
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    status: TestStatus
    seconds: float = 0.0
    message: str = Field("", description="First part of the failure text.")


class TestReport(BaseModel):
    """One run of a suite. A test that is in none of the lists was missing."""

    __test__ = False
    model_config = ConfigDict(frozen=True, extra="forbid")

    results: tuple[TestResult, ...]
    collection_errors: tuple[TestResult, ...] = Field(
        (), description="Files that could not be collected, by path."
    )
    exit_code: int | None = Field(description="Of the runner's last process; None when the limit ended it.")
    outcome: str = Field(
        description="finished | timeout | oom | crashed | no_tests | build_failed | rebuild_failed"
    )
    disagreements: tuple[str, ...] = Field(
        (), description="Where report stream, JUnit and exit code contradict each other."
    )
    seconds: float = 0.0
    log: str = Field("", description="End of the runner's output.")

    def by_id(self) -> dict[str, TestResult]:
        return {r.id: r for r in self.results}
