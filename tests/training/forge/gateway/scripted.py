"""An engine that samples what a script says, and a few ways for it to go wrong."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from training.forge.gateway.ask import Finish, Sampling
from training.forge.gateway.engines import Piece
from training.forge.gateway.faults import Fault, Kind
from training.forge.gateway.tree import Ids


def logprob(prompt: list[int], token: int) -> float:
    """A number that only the exact context gives."""
    return -(hash((tuple(prompt[-8:]), len(prompt), token)) % 10_000) / 1_000


@dataclass
class ScriptedEngine:
    """Gives `script(prompt)`, a few tokens at a time; `fail` may come after some tokens."""

    script: Callable[[list[int]], list[int]]
    context: int = 1 << 20
    version: int = 0
    fail: str = ""
    after: int = 3
    seconds: float = 0.0
    name: str = "engine scripted"
    seen: list[tuple[list[int], list[int], list[float]]] = field(default_factory=list)
    rng: random.Random = field(default_factory=lambda: random.Random(0))

    async def close(self) -> None:
        return

    async def generate(
        self, prompt: Ids, sampling: Sampling, *, end: int, stream: bool, routes_from: int
    ) -> AsyncGenerator[Piece]:
        assert sampling.max_tokens is not None
        before = prompt.tolist()
        whole = self.script(before)
        ids = whole[: sampling.max_tokens]
        finish = Finish.STOP if len(ids) == len(whole) else Finish.LENGTH
        path, logprobs = list(before), []
        for token in ids:
            logprobs.append(logprob(path, token))
            path.append(token)
        if self.fail == "nan":
            logprobs[min(self.after, len(logprobs) - 1)] = math.nan
        self.seen.append((before, ids, logprobs))
        if self.fail == "unreachable":
            raise Fault(Kind.ENGINE_UNREACHABLE, f"The {self.name} cannot be reached: refused.", self.name)
        start = 0
        while start < len(ids):
            size = self.rng.randint(1, 5) if stream or self.fail else len(ids)
            if self.fail in ("dies", "hangs") and start + size > self.after:
                if start < self.after:
                    yield Piece(ids[start : self.after], logprobs[start : self.after], (self.version,) * 2)
                if self.fail == "dies":
                    raise Fault(Kind.ENGINE_DIED, f"The {self.name} broke off its answer.", self.name)
                await asyncio.sleep(3600)
            await asyncio.sleep(self.seconds)
            stop = min(start + size, len(ids))
            yield Piece(
                ids[start:stop],
                logprobs[start:stop],
                (self.version, self.version),
                finish if stop == len(ids) else None,
            )
            start = stop
