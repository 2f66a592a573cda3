"""Where the time of a step goes: attention, the head with the loss, and the rest.

Identities in the graph tell when backward passes them, so the parts are measured in the step itself, forward
and backward, at no cost that could be seen. One thread runs the graph on a CPU, later nodes first, so between
the identity after attention and the one before it nothing else runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from training.model import block
from training.model.model import Model
from training.trees import step as steps


@dataclass
class Clock:
    """Seconds of attention, of the head and loss, and of what does not grow with tokens."""

    attention: float = 0.0
    edges: float = 0.0
    now: Callable[[], float] = time.perf_counter
    fixed: float = 0.0
    since: dict[str, float] = field(default_factory=dict)


class _Stamp(torch.autograd.Function):
    """The identity; tells when forward and when backward pass it."""

    @staticmethod
    def forward(ctx: Any, passed: Any, *tensors: Tensor) -> Any:
        ctx.passed = passed
        return tensors if len(tensors) > 1 else tensors[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        ctx.passed()
        return (None, *gradients)


@contextmanager
def timed_parts(model: Model, clock: Clock) -> Generator[None]:
    """Measures attention, forward and backward, and the head, while it is open."""
    attend, logits, evaluate = block.attend, model.logits, steps.evaluate

    def opened() -> None:
        clock.since["attention"] = clock.now()

    def closed() -> None:
        clock.attention += clock.now() - clock.since["attention"]

    def edges_closed() -> None:
        clock.edges += clock.now() - clock.since["edges"]
        clock.since["edges"] = clock.now()

    def timed_attend(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> Tensor:
        q, k, v = _Stamp.apply(closed, q, k, v)
        opened()
        out = attend(q, k, v, *rest)
        closed()
        return _Stamp.apply(opened, out)

    def timed_logits(rows: Tensor) -> Tensor:
        clock.since.setdefault("edges", clock.now())
        return logits(_Stamp.apply(edges_closed, rows))

    def timed_evaluate(*given: Any) -> Any:
        clock.since.pop("edges", None)
        found = evaluate(*given)
        edges_closed()  # forward; what follows is backward, from the loss to the rows
        return found

    block.attend, model.logits, steps.evaluate = timed_attend, timed_logits, timed_evaluate  # ty: ignore
    try:
        yield
    finally:
        block.attend, steps.evaluate = attend, evaluate
        del model.logits
