"""One rollout's session: its secret address, what it may use, and the tree of its turns."""

from __future__ import annotations

import hashlib
import secrets
import time
from asyncio import Task
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from training.forge.gateway.ask import Ask, Asked, Sampling
from training.forge.gateway.faults import Fault, Kind
from training.forge.gateway.settings import Limits, Policy
from training.forge.gateway.tree import Tree

N = TypeVar("N", int, float)


def new_secret() -> str:
    """What stands in a session's address: 192 random bits."""
    return secrets.token_urlsafe(24)


@dataclass
class Session:
    """One rollout. `trajectory` is its name in the pool."""

    trajectory: str
    limits: Limits
    policy: Policy
    secret: str = field(default_factory=new_secret, repr=False)
    tree: Tree = field(default_factory=Tree)
    opened: float = field(default_factory=time.monotonic)
    used: float = field(default_factory=time.monotonic)
    drawn_as: str = ""
    """The name that goes into its seeds; empty: the trajectory's."""
    asked: int = 0
    running: set[Task[Any]] = field(default_factory=set, repr=False)
    sampled: int = 0
    """Tokens."""
    spent: bool = False
    """A request was refused because the session has used up what it may."""
    ended: str | None = None
    """Why it takes no more requests; empty: its agent ended as it should."""

    def admit(self) -> None:
        """Counts a request in. Raises Fault where the session has ended or has used up what it may."""
        self.used = time.monotonic()
        if self.ended is not None:
            raise Fault(Kind.SESSION_ENDED, f"The session has ended ({self.ended or 'its agent is done'}).")
        age = self.used - self.opened
        spent = (
            f"{self.limits.turns} requests" if self.asked >= self.limits.turns
            else f"{self.limits.tokens} sampled tokens" if self.sampled >= self.limits.tokens
            else f"{self.limits.seconds:g} seconds" if age >= self.limits.seconds
            else ""
        )  # fmt: skip
        if spent:
            self.spent = True
            raise Fault(Kind.BUDGET, f"The session has used up its {spent}.")
        if len(self.running) >= self.limits.parallel:
            raise Fault(Kind.BUSY, f"The session has {len(self.running)} requests running already.")
        self.asked += 1

    def sampling(self, asked: Asked, room: int) -> Sampling:
        """How tokens are drawn: the run's policy, then the request's wish; at most `room` of them."""
        policy = self.policy
        limits = [policy.max_tokens, asked.max_tokens, room, self.limits.tokens - self.sampled]
        return Sampling(
            temperature=_first(policy.temperature, asked.temperature, 1.0),
            top_p=_first(policy.top_p, asked.top_p, 1.0),
            top_k=_first(policy.top_k, asked.top_k, 0),
            max_tokens=max(1, min(limit for limit in limits if limit is not None)),
            stop=asked.stop,
            seed=self._seed(),
        )

    def _seed(self) -> int | None:
        """Equal for the n-th request of a trajectory in any run. An agent's own seed is not honoured: all
        samples of a group would be one."""
        if self.policy.seed is None:
            return None
        text = f"{self.policy.seed}/{self.drawn_as or self.trajectory}/{self.asked}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6])

    def whole(self, ask: Ask) -> Ask:
        """The request with the messages that it goes on from, where the dialect lets the server keep them."""
        if ask.previous is None:
            return ask
        turn = self.tree.named(ask.previous)
        if turn is None:
            raise Fault(Kind.INVALID_REQUEST, f"This session has given no answer {ask.previous[:80]!r}.")
        before = turn.ask
        own = ask.messages[:1] if ask.messages and ask.messages[0].role == "system" else ()
        kept = [
            (message, ids)
            for message, ids in zip(before.messages, before.ids, strict=True)
            if message.role != "system"
        ]
        rest = len(own)
        return replace(
            ask,
            messages=(*own, *(m for m, _ in kept), turn.said.message, *ask.messages[rest:]),
            ids=(*ask.ids[:rest], *(i for _, i in kept), turn.said.ids, *ask.ids[rest:]),
            previous=None,
        )


def _first(*values: N | None) -> N:
    return next(value for value in values if value is not None)
