"""The gateway as an object: an engine, a tokenizer, a recorder, and the sessions that are open."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.chat.m2 import IDENTITY
from training.corpus.tokens import Tokenizer
from training.forge.gateway.ask import Ask
from training.forge.gateway.engines import Engine
from training.forge.gateway.exchange import Exchange
from training.forge.gateway.prompts import Prompter
from training.forge.gateway.recorder import Recorder
from training.forge.gateway.session import Session
from training.forge.gateway.sessions import Sessions
from training.forge.gateway.settings import GatewaySettings


@dataclass
class Gateway(Sessions):
    """Opens, finds and ends sessions, and runs their requests."""

    engine: Engine
    tokenizer: Tokenizer
    recorder: Recorder
    settings: GatewaySettings = field(default_factory=GatewaySettings)
    identity: str = IDENTITY
    sessions: dict[str, Session] = field(default_factory=dict)
    prompter: Prompter = field(init=False)
    _by_trajectory: dict[str, Session] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.prompter = Prompter(self.tokenizer, self.settings.keep_reasoning, self.identity)

    @property
    def name(self) -> str:
        """What answers."""
        return self.engine.name

    def exchange(self, session: Session, ask: Ask, dialect: str) -> Exchange:
        """A request, ready to run."""
        return Exchange(
            session, ask, dialect, self.engine, self.prompter, self.recorder, self.settings.deadlines
        )

    async def close(self) -> None:
        """Ends every session and lets go of engine and recorder."""
        await self.end_all()
        await self.engine.close()
        await self.recorder.close()
