"""What a model is shown of a conversation that outgrows its context: s' = f(s ⊕ a ⊕ o) (report §6.1).

A conversation is a log that only grows and a state: the numbers of the messages that the next call shows. A
context manager moves from state to state, and may add messages of its own (a summary). Each call's state is
kept, so that what the model saw at any turn can be rebuilt exactly. States stay whole: a tool's answer never
stands without its call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from envs.model import Message

LEFT_OUT = "[The output was left out to save space. Run the command again if you need it.]"
ASK_SUMMARY = (
    "The conversation has become long. Sum up for yourself, in at most 400 words, what was asked, what you "
    "found out, what you changed in which files, and what is left to do. Nothing else will be kept."
)
Summarise = Callable[[Sequence[Message]], Awaitable[str]]


@dataclass
class Conversation:
    """The log, and which of it is shown."""

    log: list[Message] = field(default_factory=list)
    state: tuple[int, ...] = ()
    opening: int = 0
    """How many messages of the log are the task itself: they are always shown."""
    stand_ins: set[int] = field(default_factory=set)
    """Messages that were never said: they are shown in the place of others."""

    @classmethod
    def of(cls, opening: Sequence[Message]) -> Conversation:
        return cls(list(opening), tuple(range(len(opening))), len(opening))

    def say(self, *messages: Message) -> None:
        """Adds messages to the log and to what is shown."""
        self.state += tuple(range(len(self.log), len(self.log) + len(messages)))
        self.log += messages

    def replace(self, old: int, message: Message) -> None:
        """Shows `message` in the place of number `old`."""
        self.stand_ins.add(len(self.log))
        self.state = tuple(len(self.log) if number == old else number for number in self.state)
        self.log.append(message)

    @property
    def shown(self) -> list[Message]:
        return [self.log[number] for number in self.state]

    def turns(self) -> list[tuple[int, ...]]:
        """The shown messages after the opening, cut before each of the model's."""
        turns: list[tuple[int, ...]] = []
        for number in self.state[self.opening :]:
            if self.log[number]["role"] == "assistant" or not turns:
                turns.append(())
            turns[-1] += (number,)
        return turns


class ContextManager(Protocol):
    """Called before each of the model's turns. `share`: of the context, by the last call's count."""

    async def manage(self, talk: Conversation, share: float, summarise: Summarise) -> None: ...


@dataclass(frozen=True)
class Whole:
    """Everything is shown; a conversation that is too long ends."""

    async def manage(self, talk: Conversation, share: float, summarise: Summarise) -> None: ...


@dataclass(frozen=True)
class SlidingWindow:
    """Past `limit` of the context, only the opening and the last `keep` turns are shown."""

    limit: float = 0.5
    keep: int = 8

    async def manage(self, talk: Conversation, share: float, summarise: Summarise) -> None:
        if share <= self.limit:
            return
        kept = talk.turns()[-self.keep :]
        talk.state = (*talk.state[: talk.opening], *(number for turn in kept for number in turn))


@dataclass(frozen=True)
class DiscardToolResults:
    """Past `limit` of the context, what was answered to all but the last `keep` turns is left out."""

    limit: float = 0.3
    keep: int = 3

    async def manage(self, talk: Conversation, share: float, summarise: Summarise) -> None:
        if share <= self.limit:
            return
        for turn in talk.turns()[: -self.keep]:
            for number in turn:
                message = talk.log[number]
                if message["role"] != "assistant" and message["content"] != LEFT_OUT:
                    talk.replace(number, {**message, "content": LEFT_OUT})


@dataclass(frozen=True)
class Summary:
    """Past `limit` of the context, the model sums up, and goes on from the opening and its summary."""

    limit: float = 0.6

    async def manage(self, talk: Conversation, share: float, summarise: Summarise) -> None:
        if share <= self.limit or len(talk.turns()) < 2:
            return
        asked: Message = {"role": "user", "content": ASK_SUMMARY}
        text = await summarise([*talk.shown, asked])
        talk.state = talk.state[: talk.opening]
        talk.say({"role": "user", "content": f"What you noted when the conversation became long:\n\n{text}"})


CONTEXTS: dict[str, type[ContextManager]] = {
    "whole": Whole,
    "sliding-window": SlidingWindow,
    "discard-tool-results": DiscardToolResults,
    "summary": Summary,
}
