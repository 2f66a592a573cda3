"""Weights on their way from the trainer into an engine: many small tensors as few large ones.

Both ends cut the same list of tensors (name, type, shape) into the same parcels, so nothing but bytes is
sent. Imported by the trainer and, in its own environment, by vLLM: torch is all it needs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PARCEL_BYTES = 64 << 20


@dataclass(frozen=True)
class Item:
    """One tensor of a checkpoint."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def parcels(items: Sequence[Item], limit: int = PARCEL_BYTES) -> list[list[Item]]:
    """The items in order, cut where their bytes would exceed `limit`; an item alone may."""
    cut: list[list[Item]] = []
    size = 0
    for item in items:
        if not cut or size + item.nbytes > limit:
            cut.append([])
            size = 0
        cut[-1].append(item)
        size += item.nbytes
    return cut


def pack(tensors: Sequence[Tensor]) -> Tensor:
    """Their bytes, one after another, on the CPU."""
    return torch.cat([t.detach().to("cpu").contiguous().flatten().view(torch.uint8) for t in tensors])


def unpack(data: Tensor, items: Sequence[Item]) -> Iterator[tuple[str, Tensor]]:
    """The inverse of `pack`."""
    at = 0
    for item in items:
        piece = data[at : at + item.nbytes].clone()  # a view may not start where its type can
        yield item.name, piece.view(item.dtype).view(item.shape)
        at += item.nbytes
