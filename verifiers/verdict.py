"""What a verifier says of a submission.

Four kinds, never mixed: `scored` is a reward that execution produced; `malformed` is a submission that cannot
be graded (reward 0, its own fault); `tampered` is one that attacked the grader (reward 0, with evidence);
`infrastructure` is our own failure: no reward, retried, and never a way out for a submission.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

from envs.sandbox import SandboxBackend


class VerdictKind(StrEnum):
    SCORED = "scored"
    MALFORMED = "malformed"
    TAMPERED = "tampered"
    INFRASTRUCTURE = "infrastructure"


class Check(BaseModel):
    """One thing that was checked, and what was seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    passed: bool
    score: float = Field(ge=0, le=1)
    evidence: str = ""


class Verdict(BaseModel):
    """The outcome of grading one submission."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: VerdictKind
    reward: float | None = Field(ge=0, le=1, description="None only for infrastructure.")
    checks: tuple[Check, ...] = ()
    reason: str = ""
    image_digest: str = ""
    seconds: float = 0.0
    inverted: int = Field(0, ge=0, description="Deciding tests that also ran with one assertion inverted.")

    @model_validator(mode="after")
    def _reward_fits_kind(self) -> Verdict:
        if (self.reward is None) != (self.kind is VerdictKind.INFRASTRUCTURE):
            raise ValueError("a verdict has a reward exactly when it is not 'infrastructure'")
        if self.kind in (VerdictKind.MALFORMED, VerdictKind.TAMPERED) and self.reward != 0:
            raise ValueError(f"a {self.kind} verdict has reward 0")
        return self


class Submission(BaseModel):
    """What left the agent's container: here, a patch in git format. Empty is the nop submission."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patch: bytes = b""


class Haste(BaseModel):
    """For submissions of which only the reward is asked: grading ends when there can be none any more.

    The reward is that of a patient grading; the report is cut short. Bundles from before this was known take
    no notice of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    patience: float | None = Field(
        None, gt=0, description="Limit of one test and of one import, s, for what is known to hang."
    )


class Verifier(Protocol):
    """Grades a submission against a bundle in fresh sandboxes; the same in validation, rollouts and RL."""

    async def grade(
        self, bundle: Path, submission: Submission, sandboxes: SandboxBackend, haste: Haste | None = None
    ) -> Verdict: ...
