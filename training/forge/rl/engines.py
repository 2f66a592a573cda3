"""The engine of an RL run: a vLLM server of our own, or our own model in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path
from typing import Protocol

from training.forge.gateway.engines import Engine
from training.forge.gateway.engines.own import OwnEngine
from training.forge.gateway.engines.vllm import VllmTokens
from training.forge.rl.settings import RlConfig
from training.forge.rollout.server import Server
from training.forge.rollout.settings import SERVED
from training.forge.rollout.sync import WeightSync
from training.model.model import Model


class Supply(Protocol):
    """What makes tokens, and takes new weights."""

    @property
    def engine(self) -> Engine: ...

    async def update(self, model: Model, version: int) -> None:
        """From when this returns on, tokens are of `version`. Raises FactoryError."""
        ...


class Own:
    """A copy of the trainer's model."""

    def __init__(self, model: Model) -> None:
        self.engine = OwnEngine(deepcopy(model))

    async def update(self, model: Model, version: int) -> None:
        await self.engine.update(model.state_dict(), version)


class Vllm:
    """A vLLM server, and the way weights get into it."""

    def __init__(self, server: Server, context: int) -> None:
        self.server = server
        self.version = 0
        self.engine = VllmTokens(server.url, SERVED, context, version=lambda: self.version)
        self.sync = WeightSync([server.url])

    async def update(self, model: Model, version: int) -> None:
        self.server.require_alive()
        await asyncio.to_thread(self.sync.push, model, version)
        self.version = version


@asynccontextmanager
async def supply(config: RlConfig, model: Model, folder: Path) -> AsyncGenerator[Supply]:
    """The engine, ready and with the weights of `config.start`; ended when the block is."""
    if config.engine == "own":
        yield Own(model)
        return
    server = Server(config.vllm, Path(config.start), folder / "engine.log")
    await asyncio.to_thread(server.start)
    try:
        context = min(model.config.max_positions, config.vllm.max_model_len)
        yield await asyncio.to_thread(Vllm, server, context)
    finally:
        await asyncio.to_thread(server.stop)
