"""Our own model in this process: the engine of unit tests and of runs without vLLM.

Slow and exact: every token is sampled from a forward pass over the whole path, the very function that the
trainer differentiates, so that log-probabilities of engine and trainer can be compared to the last digits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from training.forge.gateway.ask import Finish, Sampling
from training.forge.gateway.engines import Piece
from training.forge.gateway.tree import Ids
from training.model.layout import Forest
from training.model.model import Model


@dataclass
class OwnEngine:
    """Samples from `model`. One token at a time, one request at a time."""

    model: Model
    version: int = 0
    seed: int = 0
    name: str = "own model"
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "own-engine"))
    _asked: int = 0

    @property
    def context(self) -> int:
        return self.model.config.max_positions

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def update(self, weights: Mapping[str, Tensor], version: int) -> None:
        """New weights, between two tokens."""

        def load() -> None:
            self.model.load_state_dict(weights)
            self.version = version

        await asyncio.get_running_loop().run_in_executor(self._thread, load)

    async def generate(
        self, prompt: Ids, sampling: Sampling, *, end: int, stream: bool, routes_from: int
    ) -> AsyncGenerator[Piece]:
        assert sampling.max_tokens is not None
        self._asked += 1
        seed = sampling.seed if sampling.seed is not None else (self.seed << 32) + self._asked
        generator = torch.Generator().manual_seed(seed)
        path = prompt.tolist()
        loop = asyncio.get_running_loop()
        for count in range(1, sampling.max_tokens + 1):
            version = self.version
            token, logprob, routes = await loop.run_in_executor(
                self._thread, self._next, path, sampling, generator
            )
            path.append(token)
            finish = Finish.STOP if token == end else None
            if finish is None and count == sampling.max_tokens:
                finish = Finish.LENGTH
            kept = None if finish is None else routes[routes_from:]
            yield Piece([token], [logprob], (version, version), finish, kept)
            if finish is not None:
                return

    @torch.no_grad()
    def _next(
        self, path: list[int], sampling: Sampling, generator: torch.Generator
    ) -> tuple[int, float, np.ndarray]:
        hidden = self.model.states(Forest.packed([path]))
        logits_V = self.model.logits(hidden.trunk_TD[-1:])[0]
        config = self.model.config
        small = torch.uint8 if config.experts <= 256 else torch.int16
        routes = hidden.routes_TLK[:, : config.layers].to(small)
        if sampling.temperature == 0:
            token = int(logits_V.argmax())
            return token, 0.0, routes.numpy()
        logp_V = processed(logits_V, sampling)
        token = int(torch.multinomial(logp_V.exp(), 1, generator=generator))
        return token, float(logp_V[token]), routes.numpy()


def processed(logits_V: Tensor, sampling: Sampling) -> Tensor:
    """Log-probabilities of the distribution that is drawn from: temperature, then top_k, then top_p."""
    scaled_V = logits_V / sampling.temperature
    if 0 < sampling.top_k < len(scaled_V):
        least = scaled_V.topk(sampling.top_k).values[-1]
        scaled_V = scaled_V.masked_fill(scaled_V < least, -torch.inf)
    if sampling.top_p < 1:
        ordered_V, order_V = scaled_V.softmax(-1).sort(descending=True)
        outside_V = ordered_V.cumsum(-1) - ordered_V >= sampling.top_p
        scaled_V = scaled_V.masked_fill(outside_V[order_V.argsort()], -torch.inf)
    return scaled_V.log_softmax(-1)
