"""What a session was asked and answered, as the conversations of an agent nobody has looked into.

A request shows all its messages. Those that a conversation holds already are the same messages; what is new
was said. A request whose opening (all up to the model's first message) is another's belongs to a
conversation of its own: a sub-agent, or one that was begun again. So an agent that leaves out, sums up or
repeats needs no help to be understood: each turn keeps the numbers of the messages it was shown.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from envs.agents.attempt import Turn
from envs.agents.context import Conversation
from envs.model import Message
from training.forge.gateway.relay import Relayed


def transcript(turns: Sequence[Relayed]) -> tuple[tuple[Conversation, ...], tuple[Turn, ...]]:
    """Conversations, and the turns in the order in which they were answered."""
    talks: list[Conversation] = []
    made: list[Turn] = []
    for turn in turns:
        opening = _opening(turn.shown)
        place = next((n for n, talk in enumerate(talks) if _same(talk.log[: talk.opening], opening)), None)
        if place is None:
            place = len(talks)
            talks.append(Conversation.of(opening))
        talk = talks[place]
        talk.state = _state(talk, turn.shown)
        state = talk.state
        talk.say(turn.answer)
        usage = turn.usage
        made.append(Turn(place, state, talk.state[-1], usage.read, usage.written, turn.seconds))
    return tuple(talks), tuple(made)


def _opening(shown: Sequence[Message]) -> list[Message]:
    first = next((n for n, message in enumerate(shown) if message["role"] == "assistant"), len(shown))
    return list(shown[:first])


def _state(talk: Conversation, shown: Sequence[Message]) -> tuple[int, ...]:
    """The numbers of what is shown: of messages that are there, in order, and of new ones."""
    numbers: list[int] = []
    known = [_key(message) for message in talk.log]
    for message in shown:
        key, after = _key(message), numbers[-1] + 1 if numbers else 0
        found = next((n for n in range(after, len(known)) if known[n] == key), None)
        if found is None:
            found = len(talk.log)
            talk.log.append(message)
            known.append(key)
        numbers.append(found)
    return tuple(numbers)


def _same(one: Sequence[Message], other: Sequence[Message]) -> bool:
    return [_key(m) for m in one] == [_key(m) for m in other]


def _key(message: Message) -> str:
    return json.dumps(message, sort_keys=True)
