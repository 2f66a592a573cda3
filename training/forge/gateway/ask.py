"""The one form that every dialect is translated to, and from: what is asked, and what is answered.

A dialect module only translates (`dialects`); everything else in the gateway speaks this. Messages are those
of `training.chat`, which are also what models are trained on; ids of tool calls and what is ignored of a
request stand beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from training.chat.messages import Message, Tool, ToolCall
from training.forge.gateway.faults import Fault, Kind


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. `top_k` 0 is off; `max_tokens` None is what the context leaves; `seed` None is
    the engine's own."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        wrong = (
            "temperature is not within 0 and 2" if not 0 <= self.temperature <= 2
            else "top_p is not above 0 and at most 1" if not 0 < self.top_p <= 1
            else "top_k is negative" if self.top_k < 0
            else "the limit of tokens is not positive" if self.max_tokens is not None and self.max_tokens < 1
            else ""
        )  # fmt: skip
        if wrong:
            raise Fault(Kind.INVALID_REQUEST, f"A request's sampling does not fit: {wrong}.")


@dataclass(frozen=True)
class Asked:
    """What a request says about sampling; None: nothing."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()

    @classmethod
    def read(
        cls, found: Mapping[str, Any], *, stop: object = None, max_tokens: object = None, top_k: object = None
    ) -> Asked:
        """From a request's fields. Raises Fault where one is not of its type."""
        stops = [stop] if isinstance(stop, str) else stop or []
        if not isinstance(stops, Sequence) or not all(isinstance(s, str) and s for s in stops):
            raise Fault(Kind.INVALID_REQUEST, f"Stop sequences are not texts: {str(stop)[:200]}.")
        return cls(
            temperature=_number(found.get("temperature"), "temperature"),
            top_p=_number(found.get("top_p"), "top_p"),
            top_k=_whole(top_k, "top_k"),
            max_tokens=_whole(max_tokens, "the limit of tokens"),
            stop=tuple(map(str, stops)),
        )


def _number(value: object, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Fault(Kind.INVALID_REQUEST, f"A request's {name} is not a number: {str(value)[:80]!r}.")
    return float(value)


def _whole(value: object, name: str) -> int | None:
    number = _number(value, name)
    if number is None:
        return None
    if number % 1:
        raise Fault(Kind.INVALID_REQUEST, f"A request's {name} is not a whole number: {value!r}.")
    return int(number)


@dataclass(frozen=True)
class Ask:
    """One request. `ids[n]` are the ids of message n's calls, where the dialect has them."""

    messages: tuple[Message, ...]
    ids: tuple[tuple[str, ...], ...]
    tools: tuple[Tool, ...] = ()
    asked: Asked = field(default_factory=Asked)
    stream: bool = False
    model: str = ""
    previous: str | None = None
    """The answer that the messages go on from, where the dialect lets the server keep them."""
    reasoning: bool = True
    """Whether the agent is shown reasoning; the turn has it in any case."""
    usage: bool = True
    """Whether a stream tells how many tokens it took."""
    custom: frozenset[str] = frozenset()
    """Tools that take one text instead of arguments, where the dialect has such."""
    ignored: tuple[str, ...] = ()
    """Parameters that the gateway does not honour, by name: told in a header, and recorded."""


class Finish(StrEnum):
    """Why the model stopped."""

    STOP = "stop"
    LENGTH = "length"
    CALLS = "tool_calls"


@dataclass(frozen=True)
class Said:
    """What the model wrote, read. `malformed` says what of it is no well-formed tool call; that is kept as
    text."""

    message: Message
    ids: tuple[str, ...] = ()
    malformed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """A finished request."""

    id: str
    model: str
    created: int
    said: Said
    finish: Finish
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Head:
    """What is known of an answer when it begins to stream."""

    id: str
    model: str
    created: int
    prompt_tokens: int


@dataclass(frozen=True)
class Reasoned:
    """More reasoning."""

    text: str


@dataclass(frozen=True)
class Spoke:
    """More visible text."""

    text: str


@dataclass(frozen=True)
class Called:
    """One whole tool call."""

    id: str
    call: ToolCall


Event = Reasoned | Spoke | Called
