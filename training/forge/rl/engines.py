"""The engines of an RL run: vLLM servers, started here or elsewhere, or our own model in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path
from typing import Protocol

from training.forge.gateway.engines import Engine
from training.forge.gateway.engines.own import OwnEngine
from training.forge.gateway.engines.router import Router
from training.forge.gateway.engines.vllm import VllmTokens
from training.forge.rl.settings import RlConfig
from training.forge.rollout.server import EngineError, Remote, Server, start_all
from training.forge.rollout.settings import SERVED, EngineConfig
from training.forge.rollout.sync import WeightSync
from training.model.model import Model

HEALTH_SECONDS = 30.0


class Supply(Protocol):
    """What makes tokens, and takes new weights."""

    @property
    def engine(self) -> Engine: ...

    async def update(self, model: Model, version: int) -> None:
        """From when this returns on, tokens are of `version`. Raises FactoryError."""
        ...


class Own:
    """Copies of the trainer's model."""

    def __init__(self, model: Model, config: EngineConfig) -> None:
        names = ["own model"] if config.count == 1 else [f"own model {n}" for n in range(config.count)]
        self.copies = [OwnEngine(deepcopy(model), name=name) for name in names]
        self.engine = routed(self.copies, config, seats=1)

    async def update(self, model: Model, version: int) -> None:
        await asyncio.gather(*(copy.update(model.state_dict(), version) for copy in self.copies))
        _emptied(self.engine)


class Vllm:
    """vLLM servers, and the way weights get into them: all have the same, or the run ends."""

    def __init__(self, servers: Sequence[Server | Remote], context: int, config: EngineConfig) -> None:
        self.servers = servers
        self.version = 0
        engines = [VllmTokens(s.url, SERVED, context, version=lambda: self.version) for s in servers]
        self.engine = routed(engines, config, seats=config.max_num_seqs)
        self.sync = WeightSync([server.url for server in servers], host=config.host)

    async def update(self, model: Model, version: int) -> None:
        await asyncio.to_thread(self._push, model, version)
        self.version = version
        _emptied(self.engine)

    def _push(self, model: Model, version: int) -> None:
        for server in self.servers:
            server.require_alive()
        self.sync.push(model, version)
        stamps = dict(zip(self.sync.urls, self.sync.versions(), strict=True))
        if wrong := {url: stamp for url, stamp in stamps.items() if stamp != str(version)}:
            raise EngineError(f"Engines have other weights than version {version}: {wrong}.")


def routed(engines: Sequence[Engine], config: EngineConfig, *, seats: int) -> Engine:
    """Them as one engine, each with so many seats; one alone needs no router."""
    if len(engines) == 1:
        return engines[0]
    return Router(
        engines,
        seats=seats,
        prefill=config.prefill_tokens_per_second,
        cached_tokens=config.cached_tokens,
    )


def _emptied(engine: Engine) -> None:
    if isinstance(engine, Router):
        engine.emptied()


@asynccontextmanager
async def supply(config: RlConfig, model: Model, folder: Path) -> AsyncGenerator[Supply]:
    """The engines, ready and with the weights of `config.start`; those started here end with the block."""
    vllm = config.vllm
    if config.engine == "own":
        yield Own(model, vllm)
        return
    started: list[Server] = []
    if isinstance(vllm.engines, int):
        names = ["engine.log"] if vllm.count == 1 else [f"engine-{n}.log" for n in range(vllm.count)]
        start = Path(config.start)
        started = [Server(vllm, start, folder / name, number=n) for n, name in enumerate(names)]
        servers: Sequence[Server | Remote] = started
    else:
        servers = [Remote(url, HEALTH_SECONDS) for url in vllm.engines]
    try:
        await asyncio.to_thread(start_all, started)
        for server in servers:
            await asyncio.to_thread(server.require_alive)
        context = min(model.config.max_positions, vllm.max_model_len)
        yield await asyncio.to_thread(Vllm, servers, context, vllm)
    finally:
        for server in started:
            await asyncio.to_thread(server.stop)
