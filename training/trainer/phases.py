"""Who learns when: MTP modules alone until their loss settles, then everything (M2 §2).

Fresh copies of MTP modules would pull the trunk towards their own mistakes. The phase is a function of the
metrics of the steps before, so a resumed run makes the same choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from training.model.experts import Router
from training.model.model import Model
from training.objective import MtpLoss
from training.settings import MtpConfig


class Phase(StrEnum):
    """Which weights a step changes."""

    MTP = "mtp"
    JOINT = "joint"


def phase(mtp_losses: Sequence[float | None], before: Sequence[Phase], config: MtpConfig) -> Phase:
    """The phase of the next step, from the MTP loss and the phase of each step before it."""
    done = len(before)
    if config.loss is MtpLoss.NONE or done >= config.alone_steps or Phase.JOINT in before:
        return Phase.JOINT
    window = config.settled_steps
    if done < 2 * window:
        return Phase.MTP
    losses = [loss or 0.0 for loss in mtp_losses]
    last, previous = sum(losses[-window:]), sum(losses[-2 * window : -window])
    return Phase.MTP if last < (1 - config.settled_change) * previous else Phase.JOINT


def enter(model: Model, now: Phase) -> None:
    """Lets only the phase's weights learn."""
    model.requires_grad_(now is Phase.JOINT)
    model.mtp.requires_grad_(True)


def routers(model: Model) -> list[Router]:
    """The routers in the order of `Hidden.expert_counts_LE`: the trunk's, then the MTP modules'."""
    parts = [module for part in (model.blocks, model.mtp) for module in part.modules()]
    return [module for module in parts if isinstance(module, Router)]
