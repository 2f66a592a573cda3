"""The turns of one session as an append-only tree of token ids.

A turn is one completion: what came before it (its parent's whole context), the ids that were put after that
(`suffix`), and the ids that were sampled (`response`). So the exact prompt of every completion is there, and
what turns share is there once. A request whose prompt begins with some turn's whole context continues that
turn; if another has continued it already, or if it begins with none, it is a branch. Nothing is ever dropped
or changed.

Sampled messages are known again by what an agent would send back: text and calls, compared so that dropped
reasoning, trimmed white space and arguments written as JSON anew make no difference (`likeness`).

Shapes: one-dimensional arrays; int32 ids, float32 log-probabilities.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.chat.messages import Message
from training.forge.gateway.ask import Ask, Finish, Said, Sampling
from training.forge.gateway.faults import Fault

Ids = NDArray[np.int32]

Likeness = tuple[str, str]


class Growth(StrEnum):
    """How a turn joined the tree."""

    ROOT = "root"  # the session's first
    EXTENSION = "extension"
    BRANCH = "branch"


@dataclass(eq=False, slots=True)
class Turn:
    """One completion, whole or partial (`fault`)."""

    number: int
    parent: Turn | None
    growth: Growth
    suffix: Ids
    response: Ids
    logprobs: NDArray[np.float32]
    sampling: Sampling
    versions: tuple[int, int]
    """Of the weights: the oldest and the newest that sampled a token of it."""
    said: Said
    ask: Ask
    finish: Finish | None = None
    fault: Fault | None = None
    routes: NDArray[Any] | None = None
    """Experts of the context's tokens from `routes_from` on: [tokens, layers, experts per token]."""
    routes_from: int = 0
    started: float = 0.0
    seconds: float = 0.0
    dialect: str = ""
    token: str = ""
    """Its name in answers."""
    trail: int = 0
    """Stands for the messages that it was asked with (`Tree.sampled`)."""
    said_from: int | None = None
    """Where in `response` the reasoning has ended, once somebody asked (`prompts`)."""
    above: int = field(init=False)
    """Tokens of the parent's whole context."""
    length: int = field(init=False)
    """Tokens of its whole context: prompt and response."""

    def __post_init__(self) -> None:
        self.above = self.parent.length if self.parent else 0
        self.length = self.above + len(self.suffix) + len(self.response)

    def chain(self) -> list[Turn]:
        """The turns from the root to this one."""
        found: list[Turn] = []
        turn: Turn | None = self
        while turn is not None:
            found.append(turn)
            turn = turn.parent
        return found[::-1]

    def prompt(self) -> Ids:
        """The exact prompt."""
        parts = [part for turn in self.chain() for part in (turn.suffix, turn.response)]
        return np.concatenate(parts[:-1])


def likeness(message: Message) -> Likeness:
    """What stays of an assistant's message when an agent keeps it and sends it back."""
    if not message.calls:
        return message.content.strip(), ""
    calls = [[call.name, _plain(call.arguments)] for call in message.calls]
    return message.content.strip(), json.dumps(calls, sort_keys=True)


def _plain(value: Any) -> Any:
    """JSON as it is after a language with one type of number wrote it."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value


@dataclass
class Tree:
    """The turns of a session, in the order in which they were recorded."""

    turns: list[Turn] = field(default_factory=list)
    _alike: dict[Likeness, list[Turn]] = field(default_factory=dict)
    _named: dict[str, Turn] = field(default_factory=dict)
    _continued: set[int] = field(default_factory=set)
    _begun: bool = False
    _numbered: int = 0

    def number(self) -> int:
        """The next turn's number: a parent's is smaller than its children's."""
        self._numbered += 1
        return self._numbered - 1

    def add(self, turn: Turn) -> None:
        """Appends a turn. Of a partial one an agent may have kept what it was shown."""
        self.turns.append(turn)
        if turn.fault is None or turn.said.message.content or turn.said.message.calls:
            self._alike.setdefault(likeness(turn.said.message), []).append(turn)
        self._named[turn.token] = turn

    def named(self, token: str) -> Turn | None:
        """The turn that was answered under this name."""
        return self._named.get(token)

    def sampled(
        self, messages: Sequence[Message], ids: Sequence[tuple[str, ...]]
    ) -> tuple[dict[int, Turn], int]:
        """Which messages, by their place, this session's model wrote, and in which turn; and the `trail`.

        Of several alike: the one whose calls have the ids, else the one that was asked with the same messages
        before it, with the same last message, or after the message found before; else the last. They say the
        same, so whichever is taken, the model sees what the agent shows it, in ids that were sampled for it.
        """
        found: dict[int, Turn] = {}
        before: Turn | None = None
        trail = 0
        for place, message in enumerate(messages):
            above = trail
            if message.role != "assistant":
                trail = hash((trail, message.role, message.content))
                continue
            like = likeness(message)
            trail = hash((trail, like))
            alike = self._alike.get(like, [])
            if message.reasoning:
                reasoning = message.reasoning.strip()
                alike = [turn for turn in alike if turn.said.message.reasoning.strip() == reasoning]
            if len(alike) == 1:
                before = found[place] = alike[0]
            elif alike:
                named = set(ids[place])
                before = max(
                    alike,
                    key=lambda turn, named=named, before=before, above=above, place=place: (
                        bool(named.intersection(turn.said.ids)),
                        turn.trail == above,
                        place > 0 and turn.ask.messages[-1:] == messages[place - 1 : place],
                        before is not None and turn.parent is before,
                        turn.number,
                    ),
                )
                found[place] = before
        return found, trail

    def deepest(self, prompt: Ids, candidates: Iterable[Turn]) -> Turn | None:
        """The turn of the most tokens, among these and those above them, that `prompt` begins with."""
        best: Turn | None = None
        held: dict[int, bool] = {}
        for candidate in candidates:
            for turn in _beginning(prompt, candidate, held):
                if best is None or turn.length > best.length:
                    best = turn
        return best

    def grow(self, parent: Turn | None) -> Growth:
        """How a turn after `parent` joins; two that are asked at once are a branch too."""
        if parent is None:
            first, self._begun = not self._begun, True
            return Growth.ROOT if first else Growth.BRANCH
        first = parent.number not in self._continued
        self._continued.add(parent.number)
        return Growth.EXTENSION if first else Growth.BRANCH


def _beginning(prompt: Ids, last: Turn, held: dict[int, bool]) -> Iterator[Turn]:
    """The turns from the root towards `last` whose whole contexts `prompt` begins with; `held` remembers."""
    for turn in last.chain():
        holds = held.get(turn.number)
        if holds is None:
            middle = turn.above + len(turn.suffix)
            holds = held[turn.number] = (
                turn.length <= len(prompt)
                and np.array_equal(prompt[turn.above : middle], turn.suffix)
                and np.array_equal(prompt[middle : turn.length], turn.response)
            )
        if not holds:
            return
        yield turn
