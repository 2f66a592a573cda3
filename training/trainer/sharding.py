"""One model over several processes: FSDP2 keeps a share of every weight in each, and sums their gradients.

A *group* is the workers of a run. Each computes its share of a step; losses and expert counts are summed over
all in the order of their ranks, so every worker knows the same numbers to the bit and decides the same: rate,
phase, clip, selection biases, the end of the run. Gradients are summed, never averaged, since weights of
samples hold their normaliser.

Units of sharding are a block, an MTP module and the rest (embedding, last norm, head). With bfloat16, blocks
and MTP modules compute in it; the weights themselves, gradients, optimiser, and all of embedding, head and
routers stay in float32. One process trains in bfloat16 the same way, as a group of one.

What is written to disk is whole and plain, as of one process without any of this.
"""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

from training.model import checkpoint
from training.model.layout import Forest
from training.model.model import Model
from training.trainer.phases import routers
from training.trees.step import Tally

# Type of the weights, by the type that blocks compute in.
WEIGHTS = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.float32}


@dataclass(frozen=True)
class Group:
    """The workers of a run, seen by number `rank` of `size`; they meet in `folder`.

    `timeout` is how many seconds a worker waits for the others before it fails.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    folder: Path | None = None
    timeout: float = 600.0

    @property
    def first(self) -> bool:
        """Whether this is the worker that writes."""
        return self.rank == 0

    def shards(self, dtype: str) -> bool:
        """Whether weights are sharded: over several workers, or to compute in a lower type than theirs."""
        return self.size > 1 or dtype == "bfloat16"

    def total(self, tally: Tally) -> Tally:
        """What all workers' batches added up to, the same on each."""
        if self.size == 1:
            return tally
        counts_LE = tally.expert_counts_LE
        here = replace(tally, expert_counts_LE=None if counts_LE is None else counts_LE.cpu())
        every: list[Any] = [None] * self.size
        dist.all_gather_object(every, here)
        summed = _summed(every)
        assert summed.expert_counts_LE is not None, "a step has at least one batch"
        return replace(summed, expert_counts_LE=summed.expert_counts_LE.to(self.device))

    def agreed(self, flag: bool) -> bool:
        """What the first worker says, on each."""
        if self.size == 1:
            return flag
        said = [flag]
        dist.broadcast_object_list(said, src=0)
        return said[0]


@contextmanager
def process_group(group: Group) -> Generator[None]:
    """The channels between the workers, for as long as the context lasts.

    They stay open when one of several fails: others that wait for it would fail too, and be heard of first.
    """
    if group.folder is None:
        store: dist.Store = dist.HashStore()
    else:
        store = dist.FileStore(str(group.folder / "store"), group.size)
        # workers are of one machine, so nothing of theirs has to be reachable from another
        loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", loopback)
    cuda = group.device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(group.device)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        store=store,
        rank=group.rank,
        world_size=group.size,
        timeout=timedelta(seconds=group.timeout),
    )
    well = False
    try:
        with warnings.catch_warnings():
            # values are a view of their projection; nothing changes what a block returns in place
            warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")
            yield
        well = True
    finally:
        if well or group.size == 1:
            dist.destroy_process_group()


def shard(model: Model, group: Group, dtype: str) -> Model:
    """Leaves this worker its share of `model`, which computes in `dtype` from now on."""
    mesh = init_device_mesh(torch.device(group.device).type, (group.size,))
    compute = torch.bfloat16 if dtype == "bfloat16" else None
    policy = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=WEIGHTS[dtype])
    for router in routers(model):  # a bias moves in steps of 10⁻³, and a gate decides by comparing
        fully_shard(router, mesh=mesh)
    for depth in range(1, len(model.mtp) + 1):
        fully_shard(model.depth(depth).norm, mesh=mesh)  # the model calls it outside of the module
        fully_shard(model.depth(depth), mesh=mesh, mp_policy=policy)
    for block in model.blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    # gathered from `states` until its backward is over, so that `logits` has embedding and head
    fully_shard(model, mesh=mesh, reshard_after_forward=False)
    register_fsdp_forward_method(model, "states")
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    with torch.no_grad():  # the first pass settles the types of gradients, of units that learn at that time
        model.states(Forest.packed([[0]]).to(torch.device(group.device)))
    assert isinstance(model, FSDPModule)
    model.reshard()
    return model


def assembled(model: Model, group: Group) -> Model:
    """The whole model on the first worker's CPU; others, who must call this too, get one of empty weights."""
    if not isinstance(model, FSDPModule):
        return model
    plain = checkpoint.allocate(model.config, "meta")
    weights = whole(model.state_dict(), group)
    if group.first:
        plain.load_state_dict(weights, assign=True)
    return plain


def whole(content: Any, group: Group) -> Any:
    """`content` with whole tensors instead of shares, on the first worker; on others they are empty.

    All workers must call this with the same content.
    """

    def gather(value: Any) -> Any:
        if not isinstance(value, DTensor):
            return value
        full = value.full_tensor()
        return full.cpu() if group.first else full.new_empty(0)

    return tree_map(gather, content)


def share_of(full: Tensor, like: Tensor) -> Tensor:
    """This worker's share of a tensor that every worker has whole, where `like` is one."""
    if not isinstance(like, DTensor):
        return full
    local = full.to(like.device)
    return distribute_tensor(local, like.device_mesh, like.placements, src_data_rank=None)


def clip_(weights: Sequence[nn.Parameter], largest: float) -> Tensor:
    """Scales gradients to a norm of at most `largest` over all of them, and returns what it was."""
    norm = nn.utils.get_total_norm([w.grad for w in weights if w.grad is not None])
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    nn.utils.clip_grads_with_norm_(weights, largest, norm)
    return norm


def _summed(tallies: Sequence[Tally]) -> Tally:
    """Sums in the order given; a worker that computed nothing has neither counts nor losses of depths."""
    counts = [tally.expert_counts_LE for tally in tallies if tally.expert_counts_LE is not None]
    mtp = [tally.mtp_losses for tally in tallies if tally.expert_counts_LE is not None]
    return Tally(
        loss=sum(tally.loss for tally in tallies),
        trunk_loss=sum(tally.trunk_loss for tally in tallies),
        mtp_losses=[sum(depth) for depth in zip(*mtp, strict=True)],
        tokens=sum(tally.tokens for tally in tallies),
        edges=sum(tally.edges for tally in tallies),
        pairs=sum(tally.pairs for tally in tallies),
        cut=sum(tally.cut for tally in tallies),
        ratio_sum=sum(tally.ratio_sum for tally in tallies),
        ratio_max=max(tally.ratio_max for tally in tallies),
        expert_counts_LE=torch.stack(counts).sum(0),
    )
