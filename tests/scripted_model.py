"""An OpenAI-compatible endpoint on loopback whose model is a function of the conversation alone.

Real HTTP and the real shapes of requests and answers. Like real servers it refuses a conversation in which a
tool call has no answer or arguments that are no JSON, so a client that gets that wrong does not pass here.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-loopback-0123456789"


@dataclass(frozen=True)
class Say:
    """An answer in prose."""

    text: str
    cut: bool = False


@dataclass(frozen=True)
class Use:
    """A call of a tool; `arguments` as they are to be sent, if text."""

    tool: str
    arguments: dict[str, Any] | str


@dataclass(frozen=True)
class Raw:
    """Whatever a broken server sends."""

    status: int
    body: str = ""
    content_type: str = "application/json"
    seconds: float = 0.0


Script = Callable[[list[dict[str, Any]]], Any]


@dataclass
class Endpoint:
    """What was asked, and where."""

    script: Script
    key: str | None = KEY
    requests: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""
    refused: list[str] = field(default_factory=list)

    def answer(self, request: dict[str, Any], key: str) -> Raw:
        self.requests.append(request)
        if self.key is not None and key != f"Bearer {self.key}":
            return Raw(401, json.dumps({"error": {"message": f"Incorrect API key provided: {key}"}}))
        if fault := _fault(request):
            self.refused.append(fault)
            return Raw(400, json.dumps({"error": {"message": fault}}))
        said = self.script(request["messages"])
        return said if isinstance(said, Raw) else Raw(200, json.dumps(completion(said, request)))


def completion(said: Any, request: dict[str, Any]) -> dict[str, Any]:
    """A chat completion of the present shape."""
    uses = [part for part in (said if isinstance(said, list) else [said]) if isinstance(part, Use)]
    text = said.text if isinstance(said, Say) else None
    calls = [
        {
            "id": f"call-{len(request['messages'])}-{i}", "type": "function",
            "function": {
                "name": use.tool,
                "arguments": use.arguments if isinstance(use.arguments, str) else json.dumps(use.arguments),
            },
        }
        for i, use in enumerate(uses)
    ]  # fmt: skip
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    finish = "length" if isinstance(said, Say) and said.cut else "stop"
    if calls:
        message["tool_calls"], finish = calls, "tool_calls"
    prompt = len(json.dumps(request["messages"])) // 4
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": request["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": 20, "total_tokens": prompt + 20},
    }  # fmt: skip


def _fault(request: dict[str, Any]) -> str:
    """What a real server would not take."""
    open_calls: set[str] = set()
    for message in request["messages"]:
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                return "messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
            open_calls.remove(message["tool_call_id"])
            continue
        if open_calls:
            return f"An assistant message with 'tool_calls' must be followed by tool messages: {open_calls}"
        for call in message.get("tool_calls") or ():
            if not isinstance(json.loads(call["function"]["arguments"]), dict):
                return "arguments must be an object"
            open_calls.add(call["id"])
    if not request.get("max_tokens"):
        return "max_tokens is missing"
    for tool in request.get("tools", ()):
        if tool["function"]["parameters"]["type"] != "object":
            return "parameters must be an object"
    return f"no answer to {open_calls}" if open_calls else ""


@contextmanager
def serving(script: Script, key: str | None = KEY) -> Iterator[Endpoint]:
    """An endpoint that answers by `script` until the block ends; with `key` None whoever asks."""
    endpoint = Endpoint(script, key)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/chat/completions":
                said = Raw(404, '{"error": {"message": "no such path"}}')
            else:
                said = endpoint.answer(request, self.headers.get("Authorization", ""))
            time.sleep(said.seconds)
            body = said.body.encode()
            try:
                self.send_response(said.status)
                self.send_header("Content-Type", said.content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:  # the client did not wait
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def in_turn(*answers: Any) -> Script:
    """The answers one after the other, the last for ever."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def by_turn(*answers: Any) -> Script:
    """The n-th answer to a conversation that holds n of the model's; several may go on at once."""
    return lambda messages: answers[min(sum(m["role"] == "assistant" for m in messages), len(answers) - 1)]
