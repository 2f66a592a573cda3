"""What a step minimises, as settings. Takes no torch."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Loss(StrEnum):
    """The loss of the trunk."""

    SFT = "sft"
    CISPO = "cispo"


class MtpLoss(StrEnum):
    """What MTP modules learn."""

    NONE = "none"
    TARGETS = "targets"  # the tokens that follow, with the weights of the trunk's edges
    POLICY = "policy"  # what the trunk says there: top-K KL, no gradient into the trunk's logits


class Objective(BaseModel):
    """The loss of a step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    loss: Loss = Field(
        Loss.SFT, description="sft, or cispo (samples need advantages and behaviour log-probs)."
    )
    ratio_max: float = Field(
        5.0, gt=0, description="CISPO: the largest importance ratio itself, not a distance from 1."
    )
    mtp: MtpLoss = Field(MtpLoss.TARGETS, description="What MTP modules learn: targets, policy, or none.")
    mtp_weight: float = Field(0.3, ge=0, description="Weight of the mean over MTP depths of their losses.")
    mtp_top_k: int = Field(64, ge=1, description="policy: likeliest tokens that are told apart.")
