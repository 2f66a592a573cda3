"""Gemini's generateContent. Names come in camel or snake case, as protocol buffers allow.

Streams are server-sent events where the request says `alt=sse`, else one JSON list that grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

from training.chat.messages import Message, Tool, ToolCall
from training.forge.gateway.ask import Answer, Ask, Asked, Called, Event, Finish, Head, Reasoned, Spoke
from training.forge.gateway.dialects import Body, call, compact, ignored, objects, refused, text, tool
from training.forge.gateway.faults import Fault

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequencyPenalty": (0,), "presencePenalty": (0,), "responseMimeType": ("text/plain",),
    "responseSchema": (), "responseJsonSchema": (), "responseLogprobs": (False,), "logprobs": (), "seed": (),
    "cachedContent": (),
}  # fmt: skip
STATUSES = {
    400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
REASONS = {Finish.STOP: "STOP", Finish.CALLS: "STOP", Finish.LENGTH: "MAX_TOKENS"}


class Gemini:
    """POST /v1beta/models/MODEL:generateContent and :streamGenerateContent."""

    name: ClassVar[str] = "gemini"

    def __init__(self, model: str = "", *, stream: bool = False, sse: bool = False) -> None:
        self._model, self._streams, self._sse = model, stream, sse
        self.content_type: str = "text/event-stream" if sse else "application/json"

    def read(self, body: Body) -> Ask:
        config = _camel(_get(body, "generationConfig") or {})
        if config.get("candidateCount") not in (None, 1):
            raise refused("This endpoint gives one candidate a request; leave out candidateCount.")
        messages: list[Message] = []
        ids: list[tuple[str, ...]] = []
        if instruction := _get(body, "systemInstruction"):
            messages.append(Message(role="system", content=_text(instruction)))
            ids.append(())
        contents = _get(body, "contents")
        for content in objects([contents] if isinstance(contents, Mapping) else contents, "contents"):
            for read, named in _read(content):
                messages.append(read)
                ids.append(named)
        if not messages:
            raise refused("A request has no contents.")
        thinking = _camel(config.get("thinkingConfig") or {})
        tools, unknown = _tools(body)
        asked = {"temperature": config.get("temperature"), "top_p": config.get("topP")}
        return Ask(
            messages=tuple(messages),
            ids=tuple(ids),
            tools=tools,
            asked=Asked.read(
                asked,
                stop=config.get("stopSequences"),
                max_tokens=config.get("maxOutputTokens"),
                top_k=config.get("topK"),
            ),
            stream=self._streams,
            model=self._model,
            reasoning=thinking.get("includeThoughts") is True,
            ignored=ignored({**config, **_camel(body)}, NEUTRAL) + unknown,
        )

    def answer(self, answer: Answer, ask: Ask) -> dict[str, Any]:
        said, parts = answer.said.message, []
        if said.reasoning and ask.reasoning:
            parts.append({"text": said.reasoning, "thought": True})
        if said.content:
            parts.append({"text": said.content})
        parts += [_called(id, found) for id, found in zip(answer.said.ids, said.calls, strict=True)]
        head = Head(answer.id, answer.model, answer.created, answer.prompt_tokens)
        return _chunk(head, parts, answer)

    def stream(self, ask: Ask) -> _Stream:
        return _Stream(ask.reasoning, self._sse)

    def error(self, fault: Fault) -> dict[str, Any]:
        status = fault.manner.status
        reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": fault.kind.value}
        told = {"code": status, "message": fault.message, "status": STATUSES.get(status, "INTERNAL")}
        return {"error": {**told, "details": [reason]}}


class _Stream:
    def __init__(self, reasoning: bool, sse: bool) -> None:
        self._reasoning, self._sse = reasoning, sse
        self._head: Head | None = None
        self._begun = False

    def begin(self, head: Head) -> bytes:
        self._head = head
        return b""

    def event(self, event: Event) -> bytes:
        match event:
            case Reasoned(said):
                return self._send([{"text": said, "thought": True}]) if self._reasoning else b""
            case Spoke(said):
                return self._send([{"text": said}])
            case Called(id, found):
                return self._send([_called(id, found)])

    def end(self, answer: Answer) -> bytes:
        return self._send([{"text": ""}], answer) + (b"" if self._sse else b"]")

    def fault(self, fault: Fault) -> bytes:
        return self._framed(Gemini().error(fault)) + (b"" if self._sse else b"]")

    def _send(self, parts: list[dict[str, Any]], answer: Answer | None = None) -> bytes:
        assert self._head is not None
        return self._framed(_chunk(self._head, parts, answer))

    def _framed(self, data: dict[str, Any]) -> bytes:
        if self._sse:
            return b"data: " + orjson.dumps(data) + b"\r\n\r\n"
        before, self._begun = b",\r\n" if self._begun else b"[", True
        return before + orjson.dumps(data)


def _chunk(head: Head, parts: list[dict[str, Any]], answer: Answer | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    usage = {"promptTokenCount": head.prompt_tokens}
    if answer is not None:
        candidate["finishReason"] = REASONS[answer.finish]
        usage["candidatesTokenCount"] = answer.completion_tokens
        usage["totalTokenCount"] = answer.prompt_tokens + answer.completion_tokens
    return {
        "candidates": [candidate], "usageMetadata": usage, "modelVersion": head.model, "responseId": head.id,
    }  # fmt: skip


def _called(id: str, found: ToolCall) -> dict[str, Any]:
    return {"functionCall": {"id": id, "name": found.name, "args": found.arguments}}


def _read(content: Mapping[str, Any]) -> list[tuple[Message, tuple[str, ...]]]:
    parts = [_camel(part) for part in objects(content.get("parts"), "parts")]
    results = [_result(part["functionResponse"]) for part in parts if "functionResponse" in part]
    if content.get("role") == "model":
        thoughts = [text(p.get("text"), "text") for p in parts if p.get("thought") and "text" in p]
        said = [_said(p) for p in parts if not p.get("thought") and "functionCall" not in p]
        calls = [p["functionCall"] for p in parts if "functionCall" in p]
        if not all(isinstance(found, Mapping) for found in calls):
            raise refused("A functionCall is not an object.")
        message = Message(
            role="assistant",
            content="".join(said),
            reasoning="".join(thoughts),
            calls=tuple(call(found.get("name"), found.get("args") or {}) for found in calls),
        )
        return [(message, tuple(str(found["id"]) for found in calls if found.get("id")))]
    said = "".join(_said(part) for part in parts if "functionResponse" not in part)
    if not results:
        return [(Message(role="user", content=said), ())]
    if said:
        results[-1] += f"\n{said}"
    return [(Message(role="tool", content=result), ()) for result in results]


def _said(part: Mapping[str, Any]) -> str:
    if "text" not in part:
        raise refused(f"This endpoint takes text only, not a part with {', '.join(part)[:80]}.")
    return text(part["text"], "text")


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, Mapping):
        raise refused("The system instruction has no parts.")
    return "\n".join(_said(part) for part in objects(content.get("parts"), "parts"))


def _result(response: object) -> str:
    """What a tool answered: the text, where the response is nothing but one."""
    given = response.get("response") if isinstance(response, Mapping) else None
    if isinstance(given, Mapping) and len(given) == 1:
        only = next(iter(given.values()))
        if isinstance(only, str):
            return only
    return compact(given)


def _tools(body: Body) -> tuple[tuple[Tool, ...], tuple[str, ...]]:
    calling = _camel(_camel(_get(body, "toolConfig") or {}).get("functionCallingConfig") or {})
    if calling.get("mode") == "NONE":
        return (), ()
    tools, unknown = [], [] if calling.get("mode") in (None, "AUTO") else ["toolConfig"]
    for data in objects(_get(body, "tools"), "tools"):
        found = _camel(data)
        for raw in objects(found.pop("functionDeclarations", None), "functionDeclarations"):
            declared = _camel(raw)
            parameters = declared.get("parametersJsonSchema") or _lowered(declared.get("parameters"))
            tools.append(tool(declared.get("name"), declared.get("description"), parameters))
        unknown += [f"tools.{key[:40]}" for key in found]
    return tuple(tools), tuple(unknown)


def _lowered(schema: Any) -> Any:
    """A schema with its types as JSON Schema has them: `STRING` is `string`."""
    if isinstance(schema, list):
        return [_lowered(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {
        key: value.lower() if key == "type" and isinstance(value, str) else _lowered(value)
        for key, value in schema.items()
    }


def _get(data: Mapping[str, Any], key: str) -> Any:
    return data[key] if key in data else data.get(_snake(key))


def _snake(key: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in key)


def _camel(data: object) -> dict[str, Any]:
    """An object with its own names in camel case."""
    if not isinstance(data, Mapping):
        raise refused("A part of the request is not an object.")
    found: dict[str, Any] = {}
    for key, value in data.items():
        first, *rest = str(key).split("_")
        found[first + "".join(word.title() for word in rest)] = value
    return found
