"""A gateway in front of somebody else's endpoint: sessions, dialects and budgets, but no tokens.

Where a model is an OpenAI-compatible endpoint there are no token ids to own, and nothing is trained on. What
is left of a gateway is what agents of others need: one address for each attempt, any of the four dialects,
and every turn kept as messages (`transcript`). The server, its dialects and its sessions are the gateway's
own. How tokens are drawn is the endpoint's business; an answer is asked for whole, and streamed from there.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pydantic import BaseModel

from envs.model import Message as Sent
from envs.model import Model, ModelError, Reply, Tool, Usage, metered
from training.chat.messages import Message, ToolCall
from training.forge.gateway.ask import Answer, Ask, Called, Finish, Head, Reasoned, Said, Sampling, Spoke
from training.forge.gateway.exchange import Item
from training.forge.gateway.faults import Fault, Kind
from training.forge.gateway.recorder import MemoryRecorder, Recorder
from training.forge.gateway.session import Session
from training.forge.gateway.sessions import Sessions
from training.forge.gateway.settings import GatewaySettings
from training.forge.gateway.tree import Growth, Ids, Turn, likeness

_KINDS = {"model_context_full": Kind.CONTEXT_LENGTH, "model_invalid_answer": Kind.ENGINE_INVALID}
_NONE = np.zeros(0, np.int32)


@dataclass(frozen=True)
class Relayed:
    """One answered request, as messages in the endpoint's shape."""

    shown: tuple[Sent, ...]
    answer: Sent
    usage: Usage
    seconds: float


@dataclass(frozen=True)
class _Offered(Tool):
    """A tool of an agent's: its schema as it came."""

    function: dict[str, Any] = field(default_factory=dict)

    def schema(self) -> dict[str, Any]:
        return {"type": "function", "function": self.function}


@dataclass
class Relay(Sessions):
    """Opens, finds and ends sessions, and passes their requests on to `model`, which is open."""

    model: Model
    recorder: Recorder = field(default_factory=MemoryRecorder)
    settings: GatewaySettings = field(default_factory=GatewaySettings)
    sessions: dict[str, Session] = field(default_factory=dict)
    turns: dict[str, list[Relayed]] = field(default_factory=dict)
    """What was answered, by trajectory, in order; whoever wants it takes it out."""
    _by_trajectory: dict[str, Session] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What answers."""
        return f"endpoint {self.model.settings.model_base_url}"

    def exchange(self, session: Session, ask: Ask, dialect: str) -> RelayExchange:
        """A request, ready to run."""
        return RelayExchange(session, ask, dialect, self.model, self.turns.setdefault(session.trajectory, []))

    async def close(self) -> None:
        """Ends every session. The model is whoever's opened it."""
        await self.end_all()
        await self.recorder.close()


@dataclass
class RelayExchange:
    """One request of a session, in progress."""

    session: Session
    ask: Ask
    dialect: str
    model: Model
    kept: list[Relayed]
    token: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    async def prompt(self) -> tuple[Ids, dict[int, Turn], int]:
        """There are no ids to count. Raises Fault."""
        raise Fault(Kind.INVALID_REQUEST, "This endpoint does not count tokens ahead.")

    async def run(self) -> AsyncGenerator[Item]:
        """The head, the events, and last the answer. Raises Fault."""
        self.session.admit()
        task = asyncio.current_task()
        assert task is not None
        self.session.running.add(task)
        try:
            self.ask = ask = self.session.whole(self.ask)
            reply, said, usage = await self._asked(ask)
            finish = Finish.LENGTH if reply.cut else Finish.CALLS if said.message.calls else Finish.STOP
            yield Head(self.token, ask.model, self.created, usage.read)
            if said.message.reasoning:
                yield Reasoned(said.message.reasoning)
            if said.message.content:
                yield Spoke(said.message.content)
            for name, call in zip(said.ids, said.message.calls, strict=True):
                yield Called(name, call)
            yield Answer(self.token, ask.model, self.created, said, finish, usage.read, usage.written)
        finally:
            self.session.running.discard(task)

    async def _asked(self, ask: Ask) -> tuple[Reply, Said, Usage]:
        """The model's answer, which is kept before anybody sees it. Raises Fault."""
        shown = tuple(self._sent(ask))
        began = time.monotonic()
        tools = [
            _Offered(str(t.function["name"]), "", arguments=_NoArguments, function=t.function)
            for t in ask.tools
        ]
        try:
            with metered() as usage:
                reply = await self.model.say(shown, tools)
        except ModelError as error:
            # the client has tried again by itself: there is no sense in an agent's doing so for long
            kind = _KINDS.get(error.reason, Kind.ENGINE_REFUSED)
            raise Fault(kind, f"The model failed: {error}", self.model.name) from error
        self.session.sampled += usage.tokens
        said = _said(reply)
        answer = _assistant(said.message, said.ids, len(shown)) if said.malformed else reply.message
        self._keep(said, Relayed(shown, answer, usage, time.monotonic() - began))
        return reply, said, usage

    def _sent(self, ask: Ask) -> Iterator[Sent]:
        """The messages as the endpoint takes them; one that it wrote goes back as it came, thinking and all.

        An answer of a tool belongs to the call at its place: that is how all dialects order them.
        """
        waiting: list[str] = []
        for place, (message, names) in enumerate(zip(ask.messages, ask.ids, strict=True)):
            if message.role == "tool":
                name = waiting.pop(0) if waiting else f"call_{place}"
                yield {"role": "tool", "tool_call_id": name, "content": message.content}
                continue
            if message.role != "assistant":
                yield {"role": message.role, "content": message.content}
                continue
            sent = self._written(message) or _assistant(message, names, place)
            waiting = [call["id"] for call in sent.get("tool_calls", ())]
            yield sent

    def _written(self, message: Message) -> Sent | None:
        like = likeness(message)
        for turn in reversed(self.session.tree.turns):
            if likeness(turn.said.message) == like:
                return self.kept[turn.number].answer
        return None

    def _keep(self, said: Said, turn: Relayed) -> None:
        """The turn; in the session's tree, by which later requests know or name it, it has no tokens."""
        tree, number = self.session.tree, len(self.kept)
        self.kept.append(turn)
        tree.add(
            Turn(
                number=number, parent=None, growth=Growth.BRANCH if number else Growth.ROOT, suffix=_NONE,
                response=_NONE, logprobs=np.zeros(0, np.float32), sampling=Sampling(), versions=(0, 0),
                said=said, ask=replace(self.ask), started=self.created, dialect=self.dialect,
                token=self.token,
            )
        )  # fmt: skip


class _NoArguments(BaseModel):
    """Stands where our own tools have their form."""


def _assistant(message: Message, names: tuple[str, ...], place: int) -> Sent:
    sent: Sent = {"role": "assistant", "content": message.content}
    if message.reasoning:
        sent["reasoning_content"] = message.reasoning
    if message.calls:
        sent["tool_calls"] = [
            {
                "id": names[n] if n < len(names) else f"call_{place}_{n}", "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for n, call in enumerate(message.calls)
        ]  # fmt: skip
    return sent


def _said(reply: Reply) -> Said:
    """What the model said; a call whose arguments are no object is told as text, as it came."""
    calls, names, text = [], [], [reply.text] if reply.text else []
    malformed = []
    for call in reply.calls:
        try:
            arguments = json.loads(call.arguments or "{}")
            if not isinstance(arguments, dict) or not call.name:
                raise ValueError("it is no name with an object")
        except ValueError as error:
            malformed.append(f"{call.name}: {error}"[:200])
            text.append(f"{call.name}: {call.arguments}")
            continue
        calls.append(ToolCall(name=call.name, arguments=arguments))
        names.append(call.id)
    thinking = next((v for key in ("reasoning_content", "reasoning") if (v := reply.message.get(key))), "")
    message = Message(
        role="assistant", content="\n".join(text), reasoning=thinking if isinstance(thinking, str) else "",
        calls=tuple(calls),
    )  # fmt: skip
    return Said(message, tuple(names), tuple(malformed))
