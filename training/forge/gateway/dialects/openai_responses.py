"""OpenAI's Responses. An answer is a list of items; consecutive items of the assistant are one message here.

With `previous_response_id` the conversation stays with the gateway, as the session's turns have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from training.chat.messages import Message, Tool, text_of
from training.forge.gateway.ask import Answer, Ask, Asked, Called, Event, Finish, Head, Reasoned, Spoke
from training.forge.gateway.dialects import (
    Body,
    call,
    compact,
    ignored,
    message,
    objects,
    refused,
    sse,
    text,
    tool,
)  # fmt: skip
from training.forge.gateway.dialects.openai_chat import openai_error
from training.forge.gateway.faults import Fault
from warehouse.errors import FactoryError

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "parallel_tool_calls": (True,), "tool_choice": ("auto", "none"), "truncation": ("disabled",),
    "background": (False,), "top_logprobs": (0,), "max_tool_calls": (), "conversation": (), "prompt": (),
}  # fmt: skip
OUTPUTS = ("function_call_output", "custom_tool_call_output")


class OpenAIResponses:
    """POST /v1/responses."""

    name: ClassVar[str] = "openai-responses"
    content_type: str = "text/event-stream"

    def read(self, body: Body) -> Ask:
        given = body.get("input")
        items = [{"role": "user", "content": given}] if isinstance(given, str) else objects(given, "input")
        found = _Items()
        if body.get("instructions"):
            found.add(Message(role="system", content=text(body["instructions"], "instructions")), ())
        for item in items:
            found.read(item)
        found.flush()
        previous = text(body.get("previous_response_id"), "previous_response_id").removeprefix("resp_")
        if not found.messages and not previous:
            raise refused("A request has no input.")
        tools, custom, unknown = _tools(body)
        return Ask(
            messages=tuple(found.messages),
            ids=tuple(found.ids),
            tools=tools,
            asked=Asked.read(body, max_tokens=body.get("max_output_tokens")),
            stream=body.get("stream") is True,
            model=str(body.get("model") or ""),
            previous=previous or None,
            custom=custom,
            ignored=ignored(body, NEUTRAL) + unknown,
        )

    def answer(self, answer: Answer, ask: Ask) -> dict[str, Any]:
        stream = _Stream(ask)
        stream.begin(Head(answer.id, answer.model, answer.created, answer.prompt_tokens))
        said = answer.said
        if said.message.reasoning:
            stream.event(Reasoned(said.message.reasoning))
        if said.message.content:
            stream.event(Spoke(said.message.content))
        for id, found in zip(said.ids, said.message.calls, strict=True):
            stream.event(Called(id, found))
        return stream.finished(answer)

    def stream(self, ask: Ask) -> _Stream:
        return _Stream(ask)

    def error(self, fault: Fault) -> dict[str, Any]:
        return openai_error(fault)


class _Items:
    """Reads a request's items into messages."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.ids: list[tuple[str, ...]] = []
        self._reasoning: list[str] = []
        self._content: list[str] = []
        self._calls: list[tuple[str, Any]] = []
        self._open = False

    def add(self, read: Message, ids: tuple[str, ...]) -> None:
        self.messages.append(read)
        self.ids.append(ids)

    def read(self, item: Mapping[str, Any]) -> None:
        kind = item.get("type") or "message"
        if kind == "message" and item.get("role") != "assistant":
            self.flush()
            role = "system" if item.get("role") == "developer" else item.get("role")
            self.add(message(role=role, content=item.get("content")), ())
        elif kind == "message":
            self._content.append(_text(item.get("content")))
            self._open = True
        elif kind == "reasoning":
            if self._content or self._calls:
                self.flush()
            told = objects(item.get("content"), "reasoning") or objects(item.get("summary"), "reasoning")
            self._reasoning.append(_text(told))
            self._open = True
        elif kind in ("function_call", "custom_tool_call"):
            arguments = item.get("arguments") if kind == "function_call" else {"input": item.get("input")}
            self._calls.append((str(item.get("call_id")), call(item.get("name"), arguments)))
            self._open = True
        elif kind in OUTPUTS:
            self.flush()
            self.add(message(role="tool", content=item.get("output")), ())
        else:
            raise refused(f"This endpoint does not take items of type {str(kind)[:80]!r}.")

    def flush(self) -> None:
        """Ends an assistant's message."""
        if self._open:
            said = Message(
                role="assistant",
                content="".join(self._content),
                reasoning="".join(self._reasoning),
                calls=tuple(found for _, found in self._calls),
            )
            self.add(said, tuple(id for id, _ in self._calls))
        self._reasoning, self._content, self._calls, self._open = [], [], [], False


class _Stream:
    """Builds the answer's items as events tell them; a plain answer is what is built in the end."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._frame: dict[str, Any] = {}
        self._items: list[dict[str, Any]] = []
        self._sent = 0
        self._text: list[str] = []
        self._kind = ""  # of the item that is open

    def begin(self, head: Head) -> bytes:
        self._frame = {
            "id": f"resp_{head.id}", "object": "response", "created_at": head.created,
            "status": "in_progress", "error": None, "incomplete_details": None, "instructions": None,
            "model": head.model,
            "output": [], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
            "temperature": self._ask.asked.temperature, "top_p": self._ask.asked.top_p, "metadata": {},
            "previous_response_id": None, "usage": None,
        }  # fmt: skip
        opening = {"response": self._frame}
        return self._send("response.created", **opening) + self._send("response.in_progress", **opening)

    def event(self, event: Event) -> bytes:
        match event:
            case Reasoned(said):
                return self._open("reasoning") + self._delta("response.reasoning_text.delta", said)
            case Spoke(said):
                return self._open("message") + self._delta("response.output_text.delta", said, logprobs=[])
            case Called():
                return self._close() + self._called(event)

    def end(self, answer: Answer) -> bytes:
        done = self._close()
        whole = self.finished(answer)
        return done + self._send(f"response.{whole['status']}", response=whole)

    def finished(self, answer: Answer) -> dict[str, Any]:
        """The whole response."""
        self._close()
        cut = answer.finish is Finish.LENGTH
        return {
            **self._frame,
            "status": "incomplete" if cut else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": self._items,
            "usage": {
                "input_tokens": answer.prompt_tokens,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": answer.completion_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": answer.prompt_tokens + answer.completion_tokens,
            },
        }

    def fault(self, fault: Fault) -> bytes:
        told = openai_error(fault)["error"]
        return self._send("error", code=told["code"], message=told["message"], param=None, error=told)

    def _called(self, called: Called) -> bytes:
        name, arguments = called.call.name, called.call.arguments
        place = len(self._items)
        item: dict[str, Any] = {"call_id": called.id, "name": name, "status": "completed"}
        if name in self._ask.custom:
            key, kind, event = "input", "custom_tool_call", "response.custom_tool_call_input"
            given = arguments.get("input", "")
        else:
            key, kind, event = "arguments", "function_call", "response.function_call_arguments"
            given = compact(arguments)
        item |= {"id": f"fc_{self._frame['id'][5:]}_{place}", "type": kind, key: given}
        self._items.append(item)
        where = {"item_id": item["id"], "output_index": place}
        begun = {**item, key: "", "status": "in_progress"}
        return (
            self._send("response.output_item.added", output_index=place, item=begun)
            + self._send(f"{event}.delta", **where, delta=given)
            + self._send(f"{event}.done", **where, **{key: given})
            + self._send("response.output_item.done", output_index=place, item=item)
        )

    def _open(self, kind: str) -> bytes:
        if self._kind == kind:
            return b""
        done = self._close()
        self._kind, self._text = kind, []
        place = len(self._items)
        item: dict[str, Any] = {"id": f"{_PREFIX[kind]}_{self._frame['id'][5:]}_{place}", "type": kind}
        if kind == "message":
            item |= {"role": "assistant", "status": "in_progress", "content": []}
        else:
            item |= {"summary": [], "content": []}
        self._items.append(item)
        return (
            done
            + self._send("response.output_item.added", output_index=place, item=item)
            + self._send("response.content_part.added", **self._where(), part=_part(kind, ""))
        )

    def _delta(self, name: str, said: str, **more: Any) -> bytes:
        self._text.append(said)
        return self._send(name, **self._where(), delta=said, **more)

    def _close(self) -> bytes:
        """Ends the open item."""
        if not self._kind:
            return b""
        kind, said = self._kind, "".join(self._text)
        name = "response.output_text.done" if kind == "message" else "response.reasoning_text.done"
        more = {"logprobs": []} if kind == "message" else {}
        where = self._where()
        item = {**self._items[-1], "content": [_part(kind, said)]}
        if kind == "message":
            item["status"] = "completed"
        self._items[-1], self._kind = item, ""
        return (
            self._send(name, **where, text=said, **more)
            + self._send("response.content_part.done", **where, part=_part(kind, said))
            + self._send("response.output_item.done", output_index=where["output_index"], item=item)
        )

    def _where(self) -> dict[str, Any]:
        return {"item_id": self._items[-1]["id"], "output_index": len(self._items) - 1, "content_index": 0}

    def _send(self, name: str, **data: Any) -> bytes:
        self._sent += 1
        return sse({"type": name, "sequence_number": self._sent - 1, **data}, name)


_PREFIX = {"message": "msg", "reasoning": "rs"}


def _part(kind: str, said: str) -> dict[str, Any]:
    if kind == "message":
        return {"type": "output_text", "text": said, "annotations": [], "logprobs": []}
    return {"type": "reasoning_text", "text": said}


def _text(content: Any) -> str:
    try:
        return text_of(content)
    except FactoryError as error:
        raise refused(str(error)) from error


def _tools(body: Body) -> tuple[tuple[Tool, ...], frozenset[str], tuple[str, ...]]:
    """Tools, names of those that take a text, and kinds that the gateway does not have."""
    if body.get("tool_choice") == "none":
        return (), frozenset(), ()
    tools, custom, unknown = [], set(), []
    for data in objects(body.get("tools"), "tools"):
        kind = data.get("type")
        if kind == "function":
            tools.append(tool(data.get("name"), data.get("description"), data.get("parameters")))
        elif kind == "custom":
            taken = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
            tools.append(tool(data.get("name"), data.get("description"), taken))
            custom.add(str(data.get("name")))
        else:
            unknown.append(f"tools.{str(kind)[:40]}")
    return tuple(tools), frozenset(custom), tuple(unknown)
