"""Four published interfaces to a model. A dialect only translates: a request to an `Ask`, an answer from an
`Answer`, events to its stream, a fault to its error. It knows nothing of sessions, tokens or engines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import orjson

from training.chat.messages import Message, Tool, ToolCall
from training.forge.gateway.ask import Answer, Ask, Event, Head
from training.forge.gateway.faults import Fault, Kind
from warehouse.errors import FactoryError

Body = Mapping[str, Any]


class Stream(Protocol):
    """Turns one answer into server-sent events; each method gives the bytes to send."""

    def begin(self, head: Head) -> bytes: ...

    def event(self, event: Event) -> bytes: ...

    def end(self, answer: Answer) -> bytes: ...

    def fault(self, fault: Fault) -> bytes: ...


class Dialect(Protocol):
    """A published interface."""

    name: ClassVar[str]
    content_type: str
    """Of its streams."""

    def read(self, body: Body) -> Ask:
        """A request. Raises Fault where it is not one, or asks for what no text model can do."""
        ...

    def answer(self, answer: Answer, ask: Ask) -> dict[str, Any]: ...

    def stream(self, ask: Ask) -> Stream: ...

    def error(self, fault: Fault) -> dict[str, Any]: ...


def sse(data: Any, event: str = "") -> bytes:
    """One server-sent event."""
    named = b"event: " + event.encode() + b"\n" if event else b""
    return named + b"data: " + orjson.dumps(data) + b"\n\n"


def compact(value: Any) -> str:
    """JSON as text, characters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def refused(why: str) -> Fault:
    """A request that does not fit."""
    return Fault(Kind.INVALID_REQUEST, why)


def objects(value: object, what: str) -> list[Mapping[str, Any]]:
    """A list of objects. Raises Fault."""
    if value is None:
        return []
    if (
        not isinstance(value, Sequence)
        or isinstance(value, str)
        or not all(isinstance(v, Mapping) for v in value)
    ):
        raise refused(f"A request's {what} is not a list of objects.")
    return list(value)


def text(value: object, what: str) -> str:
    """A text, or nothing. Raises Fault."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise refused(f"A request's {what} is not text.")
    return value


def message(**fields: Any) -> Message:
    """A message in OpenAI's shape. Raises Fault."""
    try:
        return Message.read(fields)
    except FactoryError as error:
        raise refused(str(error)) from error


def call(name: object, arguments: object) -> ToolCall:
    """A call with its arguments, an object or its JSON. Raises Fault."""
    read = message(role="assistant", tool_calls=[{"function": {"name": name, "arguments": arguments}}])
    return read.calls[0]


def tool(name: object, description: object, parameters: object) -> Tool:
    """A tool as the template offers it."""
    if not isinstance(name, str) or not name:
        raise refused("A tool has no name.")
    function: dict[str, Any] = {"name": name}
    if description:
        function["description"] = text(description, "description of a tool")
    function["parameters"] = (
        parameters if isinstance(parameters, Mapping) else {"type": "object", "properties": {}}
    )
    return Tool(function=function)


def ignored(body: Body, neutral: Mapping[str, tuple[Any, ...]]) -> tuple[str, ...]:
    """Which parameters are given, and are not honoured: those with another value than the ones named."""
    return tuple(key for key, values in neutral.items() if body.get(key) not in (None, *values))
