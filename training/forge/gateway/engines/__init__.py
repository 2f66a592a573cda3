"""What produces tokens: one protocol, vLLM's server over HTTP, and our own model in this process.

An engine is given token ids and gives token ids. It never sees text.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from training.forge.gateway.ask import Finish, Sampling
from training.forge.gateway.tree import Ids


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens that were sampled, one after another; the last piece has `finish`.

    logprobs   one a token, of the distribution that it was drawn from
    versions   of the weights: the oldest and the newest that may have drawn one of them
    routes     experts of the context's tokens from the `routes_from` asked for: [tokens, layers, experts
               per token]; the last sampled token has none yet. With the last piece, where the engine has them
    """

    ids: list[int]
    logprobs: list[float]
    versions: tuple[int, int]
    finish: Finish | None = None
    routes: NDArray[Any] | None = None


class Engine(Protocol):
    """Produces tokens."""

    @property
    def name(self) -> str:
        """How errors name it."""
        ...

    @property
    def context(self) -> int:
        """Most tokens of prompt and response together."""
        ...

    def generate(
        self, prompt: Ids, sampling: Sampling, *, end: int, stream: bool, routes_from: int
    ) -> AsyncGenerator[Piece]:
        """The response, up to and with the token `end`. Without `stream` one piece is enough.

        `sampling.max_tokens` is set; `sampling.stop` is not the engine's concern. Raises Fault. Whoever stops
        reading early closes the iterator, which ends the request.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
