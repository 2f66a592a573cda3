"""Trajectories in Harbor's ATIF (Agent Trajectory Interchange Format) as conversations.

A trajectory is a list of steps; a step of the agent may call tools, and holds what they answered. Tools'
definitions, where the agent recorded them, come along.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.chat.messages import Message, Role, Tool, ToolCall, text_of
from warehouse.errors import FactoryError

VERSION = "ATIF-v1"
ROLE_OF: dict[str, Role] = {"system": "system", "user": "user", "agent": "assistant"}


def read_atif(data: Any) -> tuple[tuple[Message, ...], tuple[Tool, ...]]:
    """Messages and tools of an ATIF v1 trajectory. Raises FactoryError where it is not one."""
    if not isinstance(data, Mapping) or not str(data.get("schema_version", "")).startswith(VERSION):
        raise FactoryError(f"A trajectory is not {VERSION}; give it schema_version and steps.")
    messages: list[Message] = []
    for number, step in enumerate(data.get("steps") or ()):
        if not isinstance(step, Mapping) or step.get("source") not in ROLE_OF:
            raise FactoryError(
                f"Step {number} of a trajectory has no source of {', '.join(ROLE_OF)}; mend or drop it."
            )
        if step.get("is_copied_context"):
            continue  # said before, in the trajectory that this one continues
        messages += _messages(step)
    if not messages:
        raise FactoryError("A trajectory has no steps; drop it.")
    agent = data.get("agent") or {}
    tools = agent.get("tool_definitions") or () if isinstance(agent, Mapping) else ()
    return tuple(messages), tuple(Tool.read(tool) for tool in tools)


def _messages(step: Mapping[str, Any]) -> list[Message]:
    calls = tuple(_call(call) for call in step.get("tool_calls") or ())
    said = Message(
        role=ROLE_OF[step["source"]],
        content=text_of(step.get("message")),
        reasoning=text_of(step.get("reasoning_content")),
        calls=calls,
    )
    observation = step.get("observation") or {}
    answers = [text_of(result.get("content")) for result in observation.get("results") or ()]
    if calls or not answers:
        return [said, *(Message(role="tool", content=answer) for answer in answers)]
    # an agent that acts through its text is answered as by a user
    return [said, Message(role="user", content="\n".join(answers))]


def _call(data: Any) -> ToolCall:
    name = data.get("function_name") if isinstance(data, Mapping) else None
    arguments = data.get("arguments") or {} if name else None
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise FactoryError(f"A tool call of a trajectory is not a name with arguments: {str(data)[:200]}")
    return ToolCall(name=name, arguments=arguments)
