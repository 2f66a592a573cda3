"""Where turns go before the agent sees them.

A turn is answered only after it was recorded: whatever process is killed, what an agent has seen is kept.
`pool.recorder` writes to the data pool; `MemoryRecorder` keeps a list, for runs that need no more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from training.forge.gateway.tree import Turn


class Recorder(Protocol):
    """Keeps turns. Each method returns when what it was given is kept."""

    @property
    def name(self) -> str:
        """How errors name it."""
        ...

    async def turn(self, trajectory: str, turn: Turn) -> None:
        """A turn, whole or partial; its parent was kept before."""
        ...

    async def ended(self, trajectory: str, reason: str) -> None:
        """The session takes no more turns. `reason` is empty where the agent ended as it should."""
        ...

    async def close(self) -> None:
        """Let go of what it holds."""
        ...


@dataclass
class MemoryRecorder:
    """Keeps turns in this process."""

    turns: list[tuple[str, Turn]] = field(default_factory=list)
    ends: dict[str, str] = field(default_factory=dict)
    name: str = "memory"

    async def turn(self, trajectory: str, turn: Turn) -> None:
        self.turns.append((trajectory, turn))

    async def ended(self, trajectory: str, reason: str) -> None:
        self.ends[trajectory] = reason

    async def close(self) -> None:
        return
