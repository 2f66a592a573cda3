"""OpenAI's chat completions. Reasoning travels as `reasoning_content`, as other open servers send it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from training.chat.messages import Tool
from training.forge.gateway.ask import Answer, Ask, Asked, Called, Event, Head, Reasoned, Said, Spoke
from training.forge.gateway.dialects import Body, compact, ignored, message, objects, refused, sse, tool
from training.forge.gateway.faults import Fault, Kind

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,), "presence_penalty": (0,), "repetition_penalty": (1,), "min_p": (0,),
    "logit_bias": ({},), "logprobs": (False,), "top_logprobs": (0,), "seed": (),
    "response_format": ({"type": "text"},), "parallel_tool_calls": (True,), "tool_choice": ("auto", "none"),
    "reasoning_effort": (),
}  # fmt: skip
ROLES = {"developer": "system", "function": "tool"}


class OpenAIChat:
    """POST /v1/chat/completions."""

    name: ClassVar[str] = "openai-chat"
    content_type: str = "text/event-stream"

    def read(self, body: Body) -> Ask:
        if body.get("n") not in (None, 1):
            raise refused("This endpoint gives one answer a request; leave out n, or set it to 1.")
        found = objects(body.get("messages"), "messages")
        if not found:
            raise refused("A request has no messages.")
        options = body.get("stream_options")
        return Ask(
            messages=tuple(
                message(**{**data, "role": ROLES.get(str(data.get("role")), data.get("role"))})
                for data in found
            ),
            ids=tuple(_ids(data) for data in found),
            tools=_tools(body),
            asked=Asked.read(
                body,
                stop=body.get("stop"),
                max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
                top_k=None if body.get("top_k") == -1 else body.get("top_k"),
            ),
            stream=body.get("stream") is True,
            model=str(body.get("model") or ""),
            usage=isinstance(options, Mapping) and options.get("include_usage") is True,
            ignored=ignored(body, NEUTRAL),
        )

    def answer(self, answer: Answer, ask: Ask) -> dict[str, Any]:
        said: dict[str, Any] = {"role": "assistant", "content": answer.said.message.content, "refusal": None}
        if answer.said.message.reasoning:
            said["reasoning_content"] = answer.said.message.reasoning
        if answer.said.message.calls:
            said["tool_calls"] = _calls(answer.said)
        choice = {"index": 0, "message": said, "finish_reason": answer.finish.value, "logprobs": None}
        return {
            "id": f"chatcmpl-{answer.id}", "object": "chat.completion", "created": answer.created,
            "model": answer.model, "choices": [choice], "usage": _usage(answer),
        }  # fmt: skip

    def stream(self, ask: Ask) -> _Stream:
        return _Stream(ask.usage)

    def error(self, fault: Fault) -> dict[str, Any]:
        return openai_error(fault)


class _Stream:
    def __init__(self, usage: bool) -> None:
        self._usage = usage
        self._frame: dict[str, Any] = {}
        self._calls = 0

    def begin(self, head: Head) -> bytes:
        self._frame = {
            "id": f"chatcmpl-{head.id}", "object": "chat.completion.chunk", "created": head.created,
            "model": head.model,
        }  # fmt: skip
        return self._chunk({"role": "assistant", "content": ""})

    def event(self, event: Event) -> bytes:
        match event:
            case Reasoned(text):
                return self._chunk({"reasoning_content": text})
            case Spoke(text):
                return self._chunk({"content": text})
            case Called(id, call):
                function = {"name": call.name, "arguments": compact(call.arguments)}
                delta = {"index": self._calls, "id": id, "type": "function", "function": function}
                self._calls += 1
                return self._chunk({"tool_calls": [delta]})

    def end(self, answer: Answer) -> bytes:
        data = self._chunk({}, answer.finish.value)
        if self._usage:
            data += sse({**self._frame, "choices": [], "usage": _usage(answer)})
        return data + b"data: [DONE]\n\n"

    def fault(self, fault: Fault) -> bytes:
        return sse(openai_error(fault)) + b"data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return sse({**self._frame, "choices": [choice]})


def openai_error(fault: Fault) -> dict[str, Any]:
    """OpenAI's error object, for both of its interfaces."""
    mine = fault.manner.status < 500
    kind = "invalid_request_error" if mine and fault.kind is not Kind.BUDGET else "server_error"
    if fault.kind is Kind.BUDGET:
        kind = "insufficient_quota"
    return {"error": {"message": fault.message, "type": kind, "param": None, "code": fault.kind.value}}


def _ids(data: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        str(found["id"]) for found in objects(data.get("tool_calls"), "tool calls") if found.get("id")
    )


def _tools(body: Body) -> tuple[Tool, ...]:
    if body.get("tool_choice") == "none":
        return ()
    functions = [data.get("function", data) for data in objects(body.get("tools"), "tools")]
    functions += objects(body.get("functions"), "functions")
    if not all(isinstance(function, Mapping) for function in functions):
        raise refused("A tool has no function.")
    return tuple(tool(f.get("name"), f.get("description"), f.get("parameters")) for f in functions)


def _calls(said: Said) -> list[dict[str, Any]]:
    return [
        {"id": id, "type": "function", "function": {"name": call.name, "arguments": compact(call.arguments)}}
        for id, call in zip(said.ids, said.message.calls, strict=True)
    ]


def _usage(answer: Answer) -> dict[str, int]:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
    }
