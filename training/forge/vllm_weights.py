"""vLLM's end of a weight update without a GPU: parcels broadcast by the trainer over gloo.

Imported by vLLM only, in its own environment. The trainer's end is `training.forge.rollout.sync`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from vllm.distributed.weight_transfer.base import (  # ty: ignore[import-not-found]
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.model_loader.reload import (  # ty: ignore[import-not-found]
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)

from training.forge.rollout.parcels import Item, parcels, unpack


@dataclass
class GlooInit(WeightTransferInitInfo):
    """Where the trainer's store listens, how many take part, and how long a wait may be."""

    host: str
    port: int
    world_size: int
    rank_offset: int
    seconds: float


@dataclass
class GlooUpdate(WeightTransferUpdateInfo):
    """What will come: names, types and shapes, in order, and the size at which parcels are cut."""

    names: list[str]
    dtype_names: list[str]
    shapes: list[list[int]]
    parcel_bytes: int


class GlooEngine(WeightTransferEngine):
    """Takes weights as rank `rank_offset` + its own rank; the trainer is rank 0."""

    init_info_cls = GlooInit
    update_info_cls = GlooUpdate
    group: Any = None

    def init_transfer_engine(self, init_info: GlooInit) -> None:
        patience = timedelta(seconds=init_info.seconds)
        rank = init_info.rank_offset + self.parallel_config.rank
        store = dist.TCPStore(init_info.host, init_info.port, init_info.world_size, False, patience)
        self.group = dist.ProcessGroupGloo(
            dist.PrefixStore("weights", store), rank, init_info.world_size, patience
        )

    def start_weight_update(self) -> None:
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self.receive_weights(self.parse_update_info(update_info))  # without the base's wait for a GPU

    def receive_weights(self, update_info: GlooUpdate) -> None:
        self.model.load_weights(self._arriving(update_info))

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        self.group = None

    def _arriving(self, update: GlooUpdate) -> Iterator[tuple[str, torch.Tensor]]:
        items = [
            Item(name, getattr(torch, dtype), tuple(shape))
            for name, dtype, shape in zip(update.names, update.dtype_names, update.shapes, strict=True)
        ]
        for parcel in parcels(items, update.parcel_bytes):
            data = torch.empty(sum(item.nbytes for item in parcel), dtype=torch.uint8)
            self.group.broadcast(data, 0).wait()
            yield from unpack(data, parcel)
