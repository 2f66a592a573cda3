"""Messages of a conversation, read from the shape that OpenAI-compatible endpoints speak.

An assistant's reasoning may arrive as `reasoning_content`, as `reasoning_details`, or inside `content`
between `<think>` and `</think>`; here it is one field. Arguments of a call are an object, though they travel
as JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from warehouse.errors import FactoryError

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")
OPEN, CLOSE = "<think>", "</think>"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ToolCall(_Record):
    """A call of a tool by its name; arguments keep their order."""

    name: str = Field(min_length=1)
    arguments: dict[str, Any] = Field(default_factory=dict)


class Tool(_Record):
    """A tool as it is offered: its JSON Schema under `function` in OpenAI's shape, kept as it came."""

    function: dict[str, Any]

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Tool:
        """A tool from `{"type": "function", "function": {…}}`, or from the function itself."""
        function = data.get("function", data)
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise FactoryError(f"A tool has no name: {json.dumps(data, default=str)[:200]}; give it one.")
        return cls(function=dict(function))


class Message(_Record):
    """One message. `reasoning` and `calls` are an assistant's."""

    role: Role
    content: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Message:
        """A message in OpenAI's shape. Raises FactoryError where it is not one."""
        role = data.get("role")
        if role not in ROLES:
            raise FactoryError(f"A message has role {role!r}; the roles are {', '.join(ROLES)}.")
        content = text_of(data.get("content"))
        if role != "assistant":
            return cls(role=role, content=content)
        reasoning = data.get("reasoning_content")
        if reasoning is None and data.get("reasoning_details"):
            reasoning = data["reasoning_details"]
        if reasoning is not None:
            reasoning = text_of(reasoning)
        elif CLOSE in content:
            reasoning = content.split(CLOSE)[0].strip("\n").split(OPEN)[-1].strip("\n")
            content = content.split(CLOSE)[-1].strip("\n")
        calls = tuple(_call(call) for call in data.get("tool_calls") or ())
        return cls(role="assistant", content=content, reasoning=reasoning or "", calls=calls)


def text_of(content: Any) -> str:
    """The visible text of a content: a string, or parts of which those of text are joined."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "".join(_texts(content))
    raise FactoryError(
        f"A message's content is {type(content).__name__}; it must be text or a list of parts."
    )


def _texts(parts: Sequence[Any]) -> list[str]:
    texts = []
    for part in parts:
        text = part.get("text") if isinstance(part, Mapping) else part
        if not isinstance(text, str):
            raise FactoryError(
                f"A part of a message is not text: {json.dumps(part, default=str)[:200]}; leave it out."
            )
        texts.append(text)
    return texts


def _call(data: Mapping[str, Any]) -> ToolCall:
    function = data.get("function", data)
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except json.JSONDecodeError as error:
            raise FactoryError(
                f"The arguments of a call of {function.get('name')} are not JSON ({error}): {arguments[:200]}"
            ) from error
    if not isinstance(arguments, dict) or not function.get("name"):
        raise FactoryError(f"A tool call is not a name with an object of arguments: {str(function)[:200]}")
    return ToolCall(name=function["name"], arguments=arguments)
