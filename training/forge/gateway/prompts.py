"""The token ids of a request: text is encoded, what was sampled is put in as it was sampled.

The template gives the conversation in segments (`training.chat.m2`). Each segment of text is encoded by
itself, as in supervised training, so its ids depend on nothing around it. An assistant's message that this
session's model wrote is not encoded at all: the ids of its turn stand there. Hence a longer conversation's
ids begin with the shorter one's wherever the template's text does, and no sampled id is ever made again.

The template drops an assistant's reasoning at the next user message. Then the turn's ids from the end of
its reasoning on stand there (`spelling.content_start`), and the request is a branch. With `keep_reasoning`
nothing is dropped, and a conversation with many user messages is one path.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from training.chat.m2 import ASK, BLOCK, IDENTITY, segments
from training.chat.messages import Message, Tool, ToolCall
from training.corpus.tokens import Tokenizer
from training.forge.gateway.faults import Fault, Kind
from training.forge.gateway.spelling import content_start, end_id
from training.forge.gateway.tree import Ids, Turn
from warehouse.errors import FactoryError

LONG_CHARACTERS = 1 << 14
CACHED_CHARACTERS = 1 << 26  # of segments whose ids are kept
# What stands for sampled messages, without calls and with, while the template writes those around them.
WRITTEN = (
    Message(role="assistant"),
    Message(role="assistant", calls=(ToolCall(name="call"),)),
)


@dataclass
class Prompter:
    """Makes prompts for one tokenizer. Keeps the ids of recent texts, most of which come again."""

    tokenizer: Tokenizer
    keep_reasoning: bool = False
    identity: str = IDENTITY
    end: int = field(init=False)
    _kept: OrderedDict[str, Ids] = field(default_factory=OrderedDict)
    _size: int = 0

    def __post_init__(self) -> None:
        self.end = end_id(self.tokenizer)

    async def prompt(
        self, messages: Sequence[Message], tools: Sequence[Tool], sampled: Mapping[int, Turn]
    ) -> Ids:
        """The ids up to where the model goes on. Raises Fault where the messages are no conversation."""
        shown = [
            message if place not in sampled else WRITTEN[bool(message.calls)]
            for place, message in enumerate(messages)
        ]
        try:
            written = segments(shown, tools, identity=self.identity)
        except FactoryError as error:
            raise Fault(Kind.INVALID_REQUEST, str(error)) from error
        await self._encode_long(segment.text for segment in written if segment.message not in sampled)
        last_user = max((n for n, message in enumerate(messages) if message.role == "user"), default=-1)
        parts: list[Ids] = []
        for place, group in groupby(written, key=lambda segment: segment.message):
            turn = sampled.get(place)
            if turn is None:
                parts += [self.ids(segment.text) for segment in group]
            else:
                parts += self._sampled(turn, whole=self.keep_reasoning or place > last_user)
        parts.append(self.ids(ASK))
        return np.concatenate(parts)

    def ids(self, text: str) -> Ids:
        """The ids of a segment of text."""
        found = self._kept.get(text)
        if found is not None:
            self._kept.move_to_end(text)
            return found
        return self._keep(text, self._encoded(text))

    def _encoded(self, text: str) -> Ids:
        found = np.array(self.tokenizer.encode(text), np.int32)
        found.flags.writeable = False
        return found

    async def _encode_long(self, texts: Iterable[str]) -> None:
        """Encodes long texts in a thread: other sessions need not wait for them."""
        for text in [text for text in texts if len(text) > LONG_CHARACTERS and text not in self._kept]:
            self._keep(text, await asyncio.to_thread(self._encoded, text))

    def _keep(self, text: str, found: Ids) -> Ids:
        if text not in self._kept:
            self._size += len(text)
        self._kept[text] = found
        while self._size > CACHED_CHARACTERS:
            self._size -= len(self._kept.popitem(last=False)[0])
        return found

    def _sampled(self, turn: Turn, *, whole: bool) -> list[Ids]:
        """A message as it was sampled; what stands around it is the template's."""
        response = turn.response
        ended = len(response) > 0 and response[-1] == self.end
        closing = [] if ended else [np.array([self.end], np.int32)]
        if whole:
            return [self.ids(ASK), response, *closing, self.ids("\n")]
        if turn.said_from is None:
            turn.said_from = content_start(self.tokenizer, response.tolist())
        said = response[turn.said_from :]
        if not len(said):
            closing = [np.array([self.end], np.int32)]
        return [self.ids(f"{BLOCK}ai\n"), said, *closing, self.ids("\n")]


def conversation(
    messages: Sequence[Message], ids: Sequence[tuple[str, ...]]
) -> tuple[tuple[Message, ...], tuple[tuple[str, ...], ...]]:
    """Messages as the template takes them: one system message in front, later ones said by the user."""
    leading = 0
    while leading < len(messages) and messages[leading].role == "system":
        leading += 1
    said = "\n\n".join(message.content for message in messages[:leading])
    first = (Message(role="system", content=said),) if leading else ()
    rest = (
        message if message.role != "system" else Message(role="user", content=message.content)
        for message in messages[leading:]
    )
    return first + tuple(rest), tuple(ids[:1]) * bool(leading) + tuple(ids[leading:])
