"""Which tests waver over repeated runs, why, and how sure the rest is. Pure.

A run wavers for a test when it disagrees with the test's role in that state. A test that wavers in natural
order is `flaky`; one that wavers only when shuffled `order_dependent`; one that wavers only at another date
`date_dependent`. All are quarantined: kept, with the reason, and left out of the reward.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from envs.reports import TestReport, TestResult
from verifiers.tests.classify import Classification, Role, Seen, seen

Z = 1.96  # two-sided 95 %

State = Literal["before", "after"]

# What a run of a state may show of a test in a role. A maintained test may be skipped: see docs/grading.md.
AGREES: dict[tuple[State, Role], frozenset[Seen]] = {
    ("before", Role.FAIL_TO_PASS): frozenset({Seen.FAILS, Seen.UNCOLLECTABLE}),
    ("before", Role.PASS_TO_PASS): frozenset({Seen.PASSES, Seen.OTHER, Seen.UNCOLLECTABLE}),
    ("before", Role.NEW): frozenset({Seen.ABSENT, Seen.UNCOLLECTABLE}),
    ("after", Role.FAIL_TO_PASS): frozenset({Seen.PASSES}),
    ("after", Role.PASS_TO_PASS): frozenset({Seen.PASSES, Seen.OTHER}),
    ("after", Role.NEW): frozenset({Seen.PASSES}),
}


class Run(BaseModel):
    """One run of the suite in one state."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: State
    conditions: str = Field(
        "", pattern=r"^(|shuffled:\d+|date:\+\d+d)$", description="'' is natural order, today."
    )
    report: TestReport

    @cached_property
    def results(self) -> dict[str, TestResult]:
        return self.report.by_id()

    @property
    def reason(self) -> str:
        """What a test that wavers only under these conditions is called."""
        if self.conditions.startswith("date:"):
            return "date_dependent"
        return "order_dependent" if self.conditions else "flaky"


class Flakiness(BaseModel):
    """How often the worst of the tests kept disagreed with its role, and the bound that follows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: State
    runs: int = Field(ge=1)
    wavered: int = Field(ge=0)

    @property
    def upper(self) -> float:
        """Wilson 95 % upper bound of the chance that one run disagrees."""
        return wilson(self.wavered, self.runs)[1]


class Stability(BaseModel):
    """What is left of a classification, what was quarantined, and the bounds per state."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stable: Classification
    quarantined: dict[str, str] = Field(description="Test id → flaky | order_dependent | date_dependent.")
    flakiness: tuple[Flakiness, ...]

    def quarantine_lines(self) -> tuple[str, ...]:
        """'<reason> <test id>' as `Task.quarantined` holds them."""
        return tuple(f"{reason} {test_id}" for test_id, reason in sorted(self.quarantined.items()))


def wilson(wavered: int, runs: int, z: float = Z) -> tuple[float, float]:
    """The Wilson score interval of a proportion (Wilson 1927): honest at 0 of n, where the normal one is [0,
    0].
    """
    if not 0 <= wavered <= runs or runs < 1:
        raise ValueError(f"{wavered} of {runs} runs is no proportion")
    share, square = wavered / runs, z * z
    centre = (share + square / (2 * runs)) / (1 + square / runs)
    half = z / (1 + square / runs) * math.sqrt(share * (1 - share) / runs + square / (4 * runs * runs))
    return max(0.0, centre - half), min(1.0, centre + half)


def wavers(test_id: str, role: Role, run: Run) -> bool:
    """Whether `run` disagrees with the role of a test."""
    return seen(test_id, run.report, run.results) not in AGREES[run.state, role]


def assess(classification: Classification, runs: Sequence[Run]) -> Stability:
    """Quarantine what wavered in any of `runs` (all states and conditions together)."""
    roles = {test_id: role for role in Role for test_id in getattr(classification, role.value)}
    reasons = {test_id: _reason(test_id, role, runs) for test_id, role in roles.items()}
    quarantined = {test_id: reason for test_id, reason in reasons.items() if reason}
    return Stability(
        stable=_without(classification, quarantined),
        quarantined=quarantined,
        flakiness=tuple(_flakiness(state, roles, quarantined, runs) for state in _states(runs)),
    )


def _reason(test_id: str, role: Role, runs: Sequence[Run]) -> str:
    """The reason that explains most: wavering in natural order beats shuffled beats dated."""
    seen_reasons = {run.reason for run in runs if wavers(test_id, role, run)}
    return next((r for r in ("flaky", "order_dependent", "date_dependent") if r in seen_reasons), "")


def _without(classification: Classification, quarantined: Iterable[str]) -> Classification:
    out = frozenset(quarantined)
    kept = {
        role.value: tuple(t for t in getattr(classification, role.value) if t not in out) for role in Role
    }
    decides = kept["fail_to_pass"] or kept["new"]
    return Classification(**kept, reason="" if decides else classification.reason or "no_stable_fail_to_pass")


def _states(runs: Sequence[Run]) -> list[State]:
    return [state for state in ("before", "after") if any(r.state == state and not _dated(r) for r in runs)]


def _dated(run: Run) -> bool:
    return run.conditions.startswith("date:")


def _flakiness(
    state: State, roles: dict[str, Role], quarantined: Iterable[str], runs: Sequence[Run]
) -> Flakiness:
    """Runs at another date do not count: they ask another question."""
    counted = [run for run in runs if run.state == state and not _dated(run)]
    out = frozenset(quarantined)
    kept = {test_id: role for test_id, role in roles.items() if test_id not in out}
    worst = max((sum(wavers(t, role, run) for run in counted) for t, role in kept.items()), default=0)
    return Flakiness(state=state, runs=len(counted), wavered=worst)


def status_of(test_id: str, report: TestReport) -> str:
    """The outcome to store for a test of a run: its status, or 'missing'."""
    result = report.by_id().get(test_id)
    return result.status.value if result is not None else "missing"
