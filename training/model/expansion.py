"""More MTP depths from fewer: each new one starts as a copy.

Pre-training uses one module (K = 1); before RL, K grows to 3 by copying weights, the new modules are trained
alone until their loss settles, then with the trunk (report §9).
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import nn

from training.model.model import Model
from training.model.mtp import MtpModule
from warehouse.errors import FactoryError

Source = Literal["mtp", "trunk"]


def expand_mtp(model: Model, depth: int, source: Source | None = None) -> Model:
    """A model with `depth` MTP modules that shares the other weights, in place of `model`.

    New modules copy the deepest one there is ("mtp"), or the trunk's last block ("trunk"), which then reads
    the parent's state and the token's embedding in equal parts. By default "mtp" where the model has one.
    """
    have = len(model.mtp)
    if depth <= have:
        raise FactoryError(f"The model has {have} MTP modules already; expand it to more than that.")
    source = source or ("mtp" if have else "trunk")
    if source == "mtp" and not have:
        raise FactoryError("The model has no MTP module to copy; copy from the trunk.")
    template = copy.deepcopy(model.depth(have)) if source == "mtp" else _from_trunk(model)
    with torch.device("meta"):
        expanded = Model(model.config.replace(mtp_depth=depth), seed=None)
    for name in ("embedding", "blocks", "norm", "head"):
        setattr(expanded, name, getattr(model, name))
    added = (copy.deepcopy(template) for _ in range(depth - have))
    expanded.mtp = nn.ModuleList([*model.mtp, *added])
    return expanded


@torch.no_grad()
def _from_trunk(model: Model) -> MtpModule:
    weight = model.norm.weight
    module = MtpModule(model.config).to(device=weight.device, dtype=weight.dtype)
    module.block.load_state_dict(model.blocks[-1].state_dict())
    module.norm.load_state_dict(model.norm.state_dict())
    identity = torch.eye(model.config.hidden, device=weight.device, dtype=weight.dtype)
    module.join.weight.copy_(torch.cat((identity, identity), dim=1) / 2)
    return module
