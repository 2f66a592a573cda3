"""Anthropic's messages. Thinking is shown where the agent asks for it, and may come back or not.

Text that stands beside tool results in one user message is part of what the agent observed, not a new turn of
the user: it goes to the last result. Agents add reminders there in every message, and as a user's words these
would drop all reasoning before them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from training.chat.messages import Message, Tool, ToolCall
from training.forge.gateway.ask import Answer, Ask, Asked, Called, Event, Finish, Head, Reasoned, Spoke
from training.forge.gateway.dialects import Body, call, compact, ignored, objects, refused, sse, text, tool
from training.forge.gateway.faults import Fault, Kind

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "tool_choice": ({"type": "auto"}, {"type": "none"}), "container": (), "mcp_servers": ([],),
}  # fmt: skip
STOPS = {Finish.STOP: "end_turn", Finish.LENGTH: "max_tokens", Finish.CALLS: "tool_use"}
ERRORS = {
    400: "invalid_request_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error",
    503: "overloaded_error", 504: "timeout_error",
}  # fmt: skip


class Anthropic:
    """POST /v1/messages."""

    name: ClassVar[str] = "anthropic"
    content_type: str = "text/event-stream"

    def read(self, body: Body) -> Ask:
        found: list[Message] = []
        ids: list[tuple[str, ...]] = []
        if body.get("system"):
            found.append(Message(role="system", content=_text(body["system"])))
            ids.append(())
        given = objects(body.get("messages"), "messages")
        if not given:
            raise refused("A request has no messages.")
        for data in given:
            for read, named in _read(data):
                found.append(read)
                ids.append(named)
        tools, unknown = _tools(body)
        thinking = body.get("thinking")
        return Ask(
            messages=tuple(found),
            ids=tuple(ids),
            tools=tools,
            asked=Asked.read(
                body,
                stop=body.get("stop_sequences"),
                max_tokens=body.get("max_tokens"),
                top_k=body.get("top_k"),
            ),
            stream=body.get("stream") is True,
            model=str(body.get("model") or ""),
            reasoning=isinstance(thinking, Mapping) and thinking.get("type") in ("enabled", "adaptive"),
            ignored=ignored(body, NEUTRAL) + unknown,
        )

    def answer(self, answer: Answer, ask: Ask) -> dict[str, Any]:
        said, content = answer.said.message, []
        if said.reasoning and ask.reasoning:
            content.append({"type": "thinking", "thinking": said.reasoning, "signature": answer.id})
        if said.content:
            content.append({"type": "text", "text": said.content, "citations": None})
        content += [
            {"type": "tool_use", "id": id, "name": found.name, "input": found.arguments}
            for id, found in zip(answer.said.ids, said.calls, strict=True)
        ]
        head = Head(answer.id, answer.model, answer.created, answer.prompt_tokens)
        return _message(head, content, STOPS[answer.finish], answer.completion_tokens)

    def stream(self, ask: Ask) -> _Stream:
        return _Stream(ask.reasoning)

    def error(self, fault: Fault) -> dict[str, Any]:
        """With the words that agents look for where a prompt is too long."""
        said = fault.message
        if fault.kind is Kind.CONTEXT_LENGTH:
            said = f"prompt is too long: {said}"
        kind = ERRORS.get(fault.manner.status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": said, "code": fault.kind.value}}


class _Stream:
    def __init__(self, reasoning: bool) -> None:
        self._reasoning = reasoning
        self._index = -1
        self._open = ""
        self._id = ""

    def begin(self, head: Head) -> bytes:
        self._id = head.id
        return _send("message_start", message=_message(head, [], None, 0))

    def event(self, event: Event) -> bytes:
        match event:
            case Reasoned(said):
                if not self._reasoning:
                    return b""
                empty = {"type": "thinking", "thinking": "", "signature": ""}
                return self._block("thinking", empty) + self._delta(type="thinking_delta", thinking=said)
            case Spoke(said):
                empty = {"type": "text", "text": "", "citations": None}
                return self._block("text", empty) + self._delta(type="text_delta", text=said)
            case Called(id, found):
                empty = {"type": "tool_use", "id": id, "name": found.name, "input": {}}
                given = compact(found.arguments)
                return self._block("tool_use", empty) + self._delta(
                    type="input_json_delta", partial_json=given
                )

    def end(self, answer: Answer) -> bytes:
        delta = {"stop_reason": STOPS[answer.finish], "stop_sequence": None}
        usage = {"output_tokens": answer.completion_tokens, "input_tokens": answer.prompt_tokens}
        return self._close() + _send("message_delta", delta=delta, usage=usage) + _send("message_stop")

    def fault(self, fault: Fault) -> bytes:
        return sse(Anthropic().error(fault), "error")

    def _block(self, kind: str, empty: dict[str, Any]) -> bytes:
        if self._open == kind != "tool_use":
            return b""
        done = self._close()
        self._open, self._index = kind, self._index + 1
        return done + _send("content_block_start", index=self._index, content_block=empty)

    def _delta(self, **delta: Any) -> bytes:
        return _send("content_block_delta", index=self._index, delta=delta)

    def _close(self) -> bytes:
        if not self._open:
            return b""
        signed = self._open == "thinking"
        self._open = ""
        signature = self._delta(type="signature_delta", signature=self._id) if signed else b""
        return signature + _send("content_block_stop", index=self._index)


def _send(name: str, **data: Any) -> bytes:
    return sse({"type": name, **data}, name)


def _message(head: Head, content: list[dict[str, Any]], stop: str | None, written: int) -> dict[str, Any]:
    return {
        "id": f"msg_{head.id}", "type": "message", "role": "assistant", "model": head.model,
        "content": content, "stop_reason": stop, "stop_sequence": None,
        "usage": {"input_tokens": head.prompt_tokens, "output_tokens": written},
    }  # fmt: skip


def _read(data: Mapping[str, Any]) -> list[tuple[Message, tuple[str, ...]]]:
    """One message as ours: an assistant's, or a user's with the results of tools."""
    content = data.get("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else objects(content, "content")
    if data.get("role") == "assistant":
        return [_assistant(blocks)]
    if data.get("role") not in ("user", "system"):
        raise refused(f"A message has role {str(data.get('role'))[:80]!r}; the roles are user and assistant.")
    results = [_text(block.get("content")) for block in blocks if block.get("type") == "tool_result"]
    said = _text([block for block in blocks if block.get("type") != "tool_result"])
    if not results:
        return [(Message(role="system" if data["role"] == "system" else "user", content=said), ())]
    if said:
        results[-1] += f"\n{said}"
    return [(Message(role="tool", content=result), ()) for result in results]


def _assistant(blocks: Sequence[Mapping[str, Any]]) -> tuple[Message, tuple[str, ...]]:
    reasoning: list[str] = []
    content: list[str] = []
    calls: list[tuple[str, ToolCall]] = []
    for block in blocks:
        match block.get("type"):
            case "thinking":
                reasoning.append(text(block.get("thinking"), "thinking"))
            case "redacted_thinking":
                continue  # not ours: we send none
            case "text":
                content.append(text(block.get("text"), "text"))
            case "tool_use":
                calls.append((str(block.get("id")), call(block.get("name"), block.get("input") or {})))
            case other:
                raise refused(f"An assistant's message has a block of type {str(other)[:80]!r}.")
    said = Message(
        role="assistant",
        content="".join(content),
        reasoning="".join(reasoning),
        calls=tuple(found for _, found in calls),
    )
    return said, tuple(id for id, _ in calls)


def _text(content: object) -> str:
    if isinstance(content, str) or content is None:
        return content or ""
    parts = []
    for block in objects(content, "content"):
        if block.get("type") != "text":
            kind = str(block.get("type"))[:80]
            raise refused(f"This endpoint takes text only, not a block of type {kind!r}.")
        parts.append(text(block.get("text"), "text"))
    return "\n".join(parts)


def _tools(body: Body) -> tuple[tuple[Tool, ...], tuple[str, ...]]:
    """Tools, and kinds that run at the vendor, which the gateway does not have."""
    choice = body.get("tool_choice")
    if isinstance(choice, Mapping) and choice.get("type") == "none":
        return (), ()
    tools, unknown = [], []
    for data in objects(body.get("tools"), "tools"):
        if data.get("type") in (None, "custom"):
            tools.append(tool(data.get("name"), data.get("description"), data.get("input_schema")))
        else:
            unknown.append(f"tools.{str(data['type'])[:40]}")
    return tuple(tools), tuple(unknown)
