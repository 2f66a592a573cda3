"""An attempt as a document in ATIF, Harbor's Agent Trajectory Interchange Format (v1.4).

A step of the agent holds its message, reasoning, tool calls and what they answered. What ATIF has no field
for lies under `extra`: for each turn the numbers of the messages it was shown, so that a state after a
context manager's work can be rebuilt exactly from `extra.log`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from envs.agents.attempt import Attempt
from envs.agents.context import Conversation
from envs.model import Message, Tool

VERSION = "ATIF-v1.4"
REASONING = ("reasoning_content", "reasoning")


def document(made: Attempt, *, session: str, model: str, tools: tuple[Tool, ...] = ()) -> dict[str, Any]:
    """The trajectory of `made`, all conversations one after another."""
    steps = [step for talk in made.talks for step in _steps(talk)]
    agent: dict[str, Any] = {"name": f"verifactory/{made.agent}", "version": "1", "model_name": model}
    if tools:
        agent["tool_definitions"] = [tool.schema() for tool in tools]
    return {
        "schema_version": VERSION,
        "session_id": session,
        "agent": agent,
        "steps": [{"step_id": number, **step} for number, step in enumerate(steps, 1)],
        "final_metrics": {
            "total_prompt_tokens": made.usage.read,
            "total_completion_tokens": made.usage.written,
            "total_cost_usd": made.usage.cost_usd,
            "total_steps": len(steps),
        },
        "extra": {
            "ending": made.ending,
            "log": [talk.log for talk in made.talks],
            "turns": [
                {"conversation": t.conversation, "shown": t.state, "answer": t.answer, "seconds": t.seconds}
                for t in made.turns
            ],
        },
    }


def _steps(talk: Conversation) -> Iterator[dict[str, Any]]:
    """The log as it was said; what a context manager put in place of something is not said again."""
    said = [message for number, message in enumerate(talk.log) if number not in talk.stand_ins]
    answers: dict[str, Message] = {m["tool_call_id"]: m for m in reversed(said) if m["role"] == "tool"}
    for message in said:
        if message["role"] == "assistant":
            yield _agent_step(message, answers)
        elif message["role"] != "tool":
            yield {"source": message["role"], "message": message["content"]}


def _agent_step(message: Message, answers: dict[str, Message]) -> dict[str, Any]:
    step: dict[str, Any] = {"source": "agent", "message": message["content"] or ""}
    reasoning = next((message[key] for key in REASONING if message.get(key)), None)
    if reasoning:
        step["reasoning_content"] = reasoning
    if calls := message.get("tool_calls"):
        step["tool_calls"] = [
            {
                "tool_call_id": call["id"],
                "function_name": call["function"]["name"],
                "arguments": json.loads(call["function"]["arguments"]),
            }
            for call in calls
        ]
        results = [answers[call["id"]] for call in calls if call["id"] in answers]
        step["observation"] = {
            "results": [{"source_call_id": m["tool_call_id"], "content": m["content"]} for m in results]
        }
    return step
