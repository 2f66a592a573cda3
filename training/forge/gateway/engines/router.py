"""Several engines as one: each request goes where it waits least and computes least anew.

The cost of engine e for a request is a time, in seconds:

    cost(e) = max(0, n_e + 1 − seats) · s / seats  +  (p − h_e) / r

n_e requests that e is answering, `seats` how many it answers at a time, s the mean time of an answer
(measured, over all engines), p the tokens of the prompt, h_e how many of its first tokens e has in its prefix
cache, r the tokens of a prompt that an engine computes in a second. So the samples of a group, whose prompts
begin alike, and the turns of a conversation stay with one engine as long as waiting for it takes less than
computing their context again elsewhere; a new group goes to the engine with the fewest requests, and never
joins a queue while another has a seat. Equal costs: fewer requests, then the order of the engines.

What an engine has cached is known by what was sent to it (`Cache`), and forgotten with its weights. An engine
that cannot be reached, or that breaks off, is named in the fault of that request; for `away_seconds` nothing
more is sent to it.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import numpy as np

from training.forge.gateway.ask import Sampling
from training.forge.gateway.engines import Engine, Piece
from training.forge.gateway.faults import Fault, Kind
from training.forge.gateway.tree import Ids

BLOCK = 64  # tokens; engines cache by blocks as well
SMOOTHING = 0.1  # weight of the newest answer in the mean time of one
_GONE = (Kind.ENGINE_UNREACHABLE, Kind.ENGINE_DIED)


@dataclass
class Cache:
    """Beginnings of contexts that an engine holds, the ones used longest ago left out first."""

    tokens: int
    """How many tokens it has room for."""
    _held: OrderedDict[bytes, None] = field(default_factory=OrderedDict)

    def hit(self, marks: Sequence[tuple[int, bytes]]) -> int:
        """How many first tokens of a context are there; `marks` as of `marks_of`."""
        return next((count for count, mark in reversed(marks) if mark in self._held), 0)

    def add(self, marks: Sequence[tuple[int, bytes]]) -> None:
        """A context that the engine computes."""
        for _, mark in reversed(marks):  # its beginning last: it is of use to most
            self._held[mark] = None
            self._held.move_to_end(mark)
        while len(self._held) > max(1, self.tokens // BLOCK):
            self._held.popitem(last=False)

    def clear(self) -> None:
        self._held.clear()


def marks_of(context: Ids) -> list[tuple[int, bytes]]:
    """A digest of each beginning of the context that ends a block, and of all of it, with its tokens."""
    data, digest = np.ascontiguousarray(context, np.int32), hashlib.blake2b(digest_size=16)
    found = []
    for start in range(0, len(data), BLOCK):
        part = data[start : start + BLOCK]
        digest.update(part.tobytes())
        found.append((start + len(part), digest.digest()))
    return found


@dataclass(eq=False)
class Seat:
    """One of the engines, with what the router knows of it; an engine itself."""

    engine: Engine
    cache: Cache
    router: Router
    running: int = 0
    away_until: float = 0.0

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def context(self) -> int:
        return self.engine.context

    def leave_out(self) -> None:
        """It does not answer: nothing more is sent to it for a while, and what it held may be lost."""
        self.away_until = time.monotonic() + self.router.away_seconds
        self.cache.clear()

    async def close(self) -> None:
        await self.engine.close()

    async def generate(
        self, prompt: Ids, sampling: Sampling, *, end: int, stream: bool, routes_from: int
    ) -> AsyncGenerator[Piece]:
        """As the engine's own. Raises Fault."""
        began, ids = time.monotonic(), list[int]()
        age = self.router.age
        try:
            pieces = self.engine.generate(prompt, sampling, end=end, stream=stream, routes_from=routes_from)
            async with aclosing(pieces):
                async for piece in pieces:
                    ids += piece.ids
                    yield piece
        except Fault as fault:
            if fault.kind in _GONE:
                self.leave_out()
            raise
        else:
            self.router.took(time.monotonic() - began)
            if age == self.router.age:
                self.cache.add(marks_of(np.concatenate([prompt, np.array(ids, np.int32)])))
        finally:
            self.running -= 1


@dataclass
class Router:
    """The engines as one. `route` chooses; `generate` does so for itself."""

    engines: Sequence[Engine]
    seats: int
    """Requests that an engine answers at a time."""
    prefill: float
    """Tokens of a prompt that an engine computes in a second."""
    cached_tokens: int
    """Tokens that an engine's prefix cache has room for."""
    away_seconds: float = 30.0
    answer_seconds: float = 1.0
    """Mean time of an answer; measured from the first on."""
    age: int = 0
    """Counts how often the engines' caches were emptied."""
    members: list[Seat] = field(init=False)
    _answers: int = 0

    def __post_init__(self) -> None:
        self.members = [Seat(engine, Cache(self.cached_tokens), self) for engine in self.engines]

    @property
    def name(self) -> str:
        return " and ".join(engine.name for engine in self.engines)

    @property
    def context(self) -> int:
        return min(engine.context for engine in self.engines)

    def route(self, prompt: Ids) -> Engine:
        """The engine for a request, which is its from now on: it has to be asked. Raises Fault."""
        now = time.monotonic()
        there = [seat for seat in self.members if seat.away_until <= now]
        if not there:
            raise Fault(Kind.ENGINE_UNREACHABLE, f"None of {self.name} can be reached.", self.name)
        marks = marks_of(prompt)
        chosen = min(there, key=lambda seat: (self.cost(seat, marks), seat.running))
        chosen.running += 1
        chosen.cache.add(marks)  # the next of its group shall find it
        return chosen

    def cost(self, seat: Seat, marks: Sequence[tuple[int, bytes]]) -> float:
        """Seconds until the engine would sample the first token, beyond what any engine takes."""
        waiting = max(0, seat.running + 1 - self.seats) * self.answer_seconds / self.seats
        tokens = marks[-1][0] if marks else 0
        return waiting + (tokens - seat.cache.hit(marks)) / self.prefill

    def took(self, seconds: float) -> None:
        """An answer took so long."""
        self._answers += 1
        weight = max(SMOOTHING, 1 / self._answers)
        self.answer_seconds += weight * (seconds - self.answer_seconds)

    def emptied(self) -> None:
        """The engines' caches are empty: they have new weights."""
        self.age += 1
        for seat in self.members:
            seat.cache.clear()

    def loads(self) -> Iterator[tuple[str, int]]:
        """How many requests each engine is answering."""
        for seat in self.members:
            yield seat.name, seat.running

    async def generate(
        self, prompt: Ids, sampling: Sampling, *, end: int, stream: bool, routes_from: int
    ) -> AsyncGenerator[Piece]:
        """By the engine that `route` chooses. Raises Fault."""
        pieces = self.route(prompt).generate(
            prompt, sampling, end=end, stream=stream, routes_from=routes_from
        )
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        for engine in self.engines:
            await engine.close()
