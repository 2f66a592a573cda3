"""One attempt: a scaffold works on a task until it submits or its budget is over.

Whatever way it ends, what it left is there to be graded, and the record says how it ended: a budget that is
over is not an error, and a model that does not answer is no verdict on the work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import entry_points
from typing import ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field

from envs.agents.context import CONTEXTS, Conversation
from envs.agents.workspace import Workspace
from envs.model import Message, Model, ModelError, Reply, Tool, Usage, metered
from warehouse.errors import FactoryError


class Ending(StrEnum):
    """How an attempt ended."""

    SUBMITTED = "submitted"
    TURNS = "turns"
    TOKENS = "tokens"
    MINUTES = "minutes"
    CONTEXT_FULL = "context_full"
    WRONG_ANSWERS = "wrong_answers"
    AGENT_FAILED = "agent_failed"  # a black box, with an exit status that says so
    MODEL_FAILED = "model_failed"


class Budget(BaseModel):
    """What an attempt may take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    turns: int = Field(60, ge=1, description="Most answers of the model.")
    tokens: int = Field(2_000_000, ge=1, description="Most tokens, prompts and answers of all turns.")
    minutes: float = Field(30, gt=0, description="Time limit.")
    command_seconds: float = Field(180, gt=0, description="Time limit of one command.")
    context_tokens: int = Field(
        128_000, ge=1, description="Tokens that the model takes, by which context managers go."
    )
    wrong_answers: int = Field(5, ge=1, description="Most answers in a row that are no use of the tools.")


class Over(Exception):
    """The attempt is over."""

    def __init__(self, ending: Ending, detail: str = "") -> None:
        super().__init__(detail)
        self.ending = ending


@dataclass(frozen=True)
class Turn:
    """One answer of the model: which conversation, the messages it was shown, and the message it gave."""

    conversation: int
    state: tuple[int, ...]
    answer: int
    read: int
    written: int
    seconds: float


@dataclass
class Desk:
    """What a scaffold has: the model, a workspace, and a budget that is watched for it."""

    instruction: str
    model: Model
    workspace: Workspace
    budget: Budget
    context: str = "whole"
    talks: list[Conversation] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    wrong: int = 0

    def open(self, *opening: Message) -> Conversation:
        """A conversation of its own: for a scaffold with more roles than one."""
        talk = Conversation.of(opening)
        self.talks.append(talk)
        return talk

    async def turn(self, talk: Conversation, tools: Sequence[Tool] = ()) -> Reply:
        """The model's next answer, which is added to the conversation. Raises Over."""
        manager = CONTEXTS[self.context]()
        await manager.manage(talk, self._share(talk), self._summary)
        state = talk.state
        before, began = (self.usage.read, self.usage.written), time.monotonic()
        reply = await self._say(talk.shown, tools)
        talk.say(reply.message)
        self.turns.append(
            Turn(
                self.talks.index(talk), state, talk.state[-1],
                self.usage.read - before[0], self.usage.written - before[1], time.monotonic() - began,
            )
        )  # fmt: skip
        return reply

    def judged(self, useful: bool) -> None:
        """Notes whether the last answer was of use. Raises Over after too many that were not."""
        self.wrong = 0 if useful else self.wrong + 1
        if self.wrong >= self.budget.wrong_answers:
            raise Over(Ending.WRONG_ANSWERS, f"{self.wrong} answers in a row used no tool")

    async def run(self, command: str) -> str:
        return await self.workspace.run(command, seconds=self.budget.command_seconds)

    async def _say(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Reply:
        if len(self.turns) >= self.budget.turns:
            raise Over(Ending.TURNS)
        if self.usage.tokens >= self.budget.tokens:
            raise Over(Ending.TOKENS)
        try:
            return await self.model.say(messages, tools)
        except ModelError as error:
            full = error.reason == "model_context_full"
            raise Over(Ending.CONTEXT_FULL if full else Ending.MODEL_FAILED, str(error)) from error

    async def _summary(self, messages: Sequence[Message]) -> str:
        return (await self._say(messages, ())).text

    def _share(self, talk: Conversation) -> float:
        """Of the context that the conversation's last call took."""
        mine = [turn for turn in self.turns if self.talks[turn.conversation] is talk]
        return (mine[-1].read + mine[-1].written) / self.budget.context_tokens if mine else 0.0


class Scaffold(Protocol):
    """One way of letting a model work on a task."""

    name: ClassVar[str]

    async def work(self, desk: Desk) -> None:
        """Returns when the model has submitted. Raises Over."""
        ...


@dataclass(frozen=True)
class Attempt:
    """What an attempt was. What it left is in the workspace."""

    agent: str
    ending: Ending
    detail: str
    talks: tuple[Conversation, ...]
    turns: tuple[Turn, ...]
    usage: Usage
    seconds: float


async def attempt(scaffold: Scaffold, desk: Desk) -> Attempt:
    """Lets `scaffold` work at `desk`. Raises SandboxError for infrastructure only."""
    began, ending, detail = time.monotonic(), Ending.SUBMITTED, ""
    limit = asyncio.timeout(desk.budget.minutes * 60)
    with metered() as desk.usage:
        try:
            async with limit:
                await scaffold.work(desk)
        except Over as over:
            ending, detail = over.ending, str(over)
        except TimeoutError:
            if not limit.expired():
                raise
            ending = Ending.MINUTES
    return Attempt(
        scaffold.name, ending, detail, tuple(desk.talks), tuple(desk.turns), desk.usage,
        time.monotonic() - began,
    )  # fmt: skip


def agents() -> dict[str, type[Scaffold]]:
    """Installed scaffolds by name."""
    return {entry.name: entry.load() for entry in entry_points(group="verifactory.agents")}


def agent(name: str) -> Scaffold:
    """The scaffold called `name`. Raises FactoryError."""
    known = agents()
    if name not in known:
        raise FactoryError(f"There is no agent called {name!r}; installed are: {', '.join(sorted(known))}.")
    return known[name]()


def require_context(name: str) -> str:
    """`name`, if a context manager is called that. Raises FactoryError."""
    if name not in CONTEXTS:
        raise FactoryError(f"There is no context manager {name!r}; there are: {', '.join(CONTEXTS)}.")
    return name
