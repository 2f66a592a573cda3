"""A policy as a run's settings name it.

One section, `[scheduler]`, for all policies. What a policy does not use is refused, not ignored. `slots`
follows from the bound where a policy has one, so that nobody computes `(bound + 1) * batch` by hand.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.forge.scheduler.policies import Cohorts, Greedy, Policy, StalenessCapped, WindowedFifo

USES = {
    "cohorts": {"bound", "burst", "block", "long_share"},
    "fifo": {"bound"},
    "windowed": {"slots", "window"},
    "greedy": {"slots"},
    "capped": {"slots", "bound"},
}


class SchedulerConfig(BaseModel):
    """Which prompts start, and which finished groups train."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: Literal["cohorts", "fifo", "windowed", "greedy", "capped"] = Field(
        "cohorts",
        description="cohorts (ours), fifo (strict), windowed (the report), greedy (no bound), capped (drops)",
    )
    bound: int = Field(
        6,
        ge=0,
        description="cohorts, fifo, capped: most versions between a group's start and its training step.",
    )
    burst: int = Field(
        0, ge=0, description="cohorts: steps' worth of groups that start at once; 0: the bound."
    )
    block: int = Field(
        8, ge=1, description="cohorts: so many cohorts are sorted together by predicted length."
    )
    long_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="cohorts: share of prompts, the longest predicted, that is sorted; 0: none.",
    )
    slots: int = Field(0, ge=0, description="windowed, greedy, capped: groups in flight; 0: 5 batches.")
    window: int = Field(0, ge=0, description="windowed: reach of the window in groups; 0: 0.3 of the slots.")

    @model_validator(mode="after")
    def _used(self) -> SchedulerConfig:
        fields = type(self).model_fields
        given = {name for name in fields if getattr(self, name) != fields[name].default}
        foreign = given - USES[self.policy] - {"policy"}
        if foreign:
            uses = ", ".join(sorted(USES[self.policy]))
            raise ValueError(f"policy {self.policy!r} has no {', '.join(sorted(foreign))}; it uses {uses}")
        if self.policy == "cohorts" and self.burst > max(self.bound, 1):
            raise ValueError(
                f"burst {self.burst} is over the bound {self.bound}: lower it, or 0 for the bound"
            )
        return self

    def policy_for(self, batch: int) -> Policy:
        """The policy, for steps of `batch` groups."""
        slots = self.slots or 5 * batch
        match self.policy:
            case "cohorts":
                return Cohorts(
                    bound=self.bound,
                    batch=batch,
                    burst=self.burst or max(self.bound, 1),
                    block=self.block,
                    long_share=self.long_share,
                )
            case "fifo":
                return WindowedFifo(slots=(self.bound + 1) * batch, batch=batch)
            case "windowed":
                return WindowedFifo(
                    slots=slots, batch=batch, window=self.window or max(round(0.3 * slots), 1)
                )
            case "greedy":
                return Greedy(slots=slots)
            case "capped":
                return StalenessCapped(slots=slots, cap=self.bound)
