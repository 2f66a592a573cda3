"""What attempts by agents of others need beside a sandbox: a session for each, and its record."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from envs.agents.attempt import Attempt, Budget
from envs.agents.blackbox import Ended, Layers, Recipe
from envs.model import Model, Usage
from training.forge.gateway.relay import Relay, Relayed
from training.forge.gateway.serve import running
from training.forge.gateway.server import Server
from training.forge.gateway.session import new_secret
from training.forge.gateway.settings import GatewaySettings, Limits
from training.forge.gateway.transcript import transcript


@dataclass(frozen=True)
class Session:
    """Where an attempt's model is, and what was said there, if that is known here."""

    url: str
    """Without /v1."""
    turns: list[Relayed]


Opened = Callable[[str], AbstractAsyncContextManager[Session]]
"""A session for the trajectory of that name, ended when the block is."""


@dataclass(frozen=True)
class Others:
    """An agent of others: how it is installed and started, on which images it is, and where its model is."""

    recipe: Recipe
    layers: Layers
    opened: Opened


@asynccontextmanager
async def relayed(model: Model, budget: Budget) -> AsyncGenerator[Opened]:
    """Sessions at a gateway of our own in front of the configured model."""
    limits = Limits(
        turns=1_000_000,  # answers are counted at the attempt's door, and retries are no turns
        tokens=budget.tokens,
        seconds=budget.minutes * 60 + 600,
    )
    relay = Relay(model, settings=GatewaySettings(limits=limits))

    @asynccontextmanager
    async def opened(trajectory: str) -> AsyncGenerator[Session]:
        session, turns = relay.open(trajectory), relay.turns.setdefault(trajectory, [])
        try:
            yield Session(f"{url}/s/{session.secret}", turns)
        finally:
            await relay.end(trajectory)
            relay.turns.pop(trajectory, None)

    async with running(Server(relay, new_secret())) as url:
        yield opened


def given(url: str) -> Opened:
    """The session at `url`, which is somebody else's to open, to record and to end."""

    @asynccontextmanager
    async def opened(trajectory: str) -> AsyncGenerator[Session]:
        yield Session(url.rstrip("/").removesuffix("/v1"), [])

    return opened


def recorded(name: str, ended: Ended, session: Session) -> Attempt:
    """The attempt, from its session's turns."""
    talks, turns = transcript(session.turns)
    usage = Usage(
        len(turns),
        sum(turn.usage.read for turn in session.turns),
        sum(turn.usage.written for turn in session.turns),
        sum(turn.usage.cost_usd for turn in session.turns),
    )
    return Attempt(name, ended.ending, ended.detail, talks, turns, usage, ended.seconds)
