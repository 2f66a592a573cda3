"""The gateway over HTTP: one ASGI application, without a framework between.

    /s/SECRET/v1/chat/completions            OpenAI's SDK: base_url .../s/SECRET/v1
    /s/SECRET/v1/responses
    /s/SECRET/v1/messages[/count_tokens]     Anthropic's: base_url .../s/SECRET
    /s/SECRET/v1beta/models/MODEL:generateContent, :streamGenerateContent, :countTokens    Gemini's
    /s/SECRET/v1/models

    /control/sessions                        POST opens one
    /control/sessions/TRAJECTORY[/end]       GET tells, POST ends
    /health                                  GET

A session's secret is all that an agent has; it reaches its own turns and nothing else. `/control` wants the
gateway's key as bearer token, and is for whoever starts agents.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson

from training.forge.gateway.ask import Answer, Ask, Head
from training.forge.gateway.control import Control
from training.forge.gateway.dialects import Dialect, refused
from training.forge.gateway.dialects.anthropic import Anthropic
from training.forge.gateway.dialects.gemini import Gemini
from training.forge.gateway.dialects.openai_chat import OpenAIChat
from training.forge.gateway.dialects.openai_responses import OpenAIResponses
from training.forge.gateway.exchange import Exchange, Item
from training.forge.gateway.faults import Fault, Kind
from training.forge.gateway.gateway import Gateway
from training.forge.gateway.relay import Relay, RelayExchange

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

AnyExchange = Exchange | RelayExchange

log = logging.getLogger(__name__)

_SESSION = re.compile(r"/s/([\w-]{16,64})/(.*)")
_MODEL = re.compile(r"v1(?:beta|alpha)?/models/(.+):(generateContent|streamGenerateContent|countTokens)")
ALIVE_SECONDS = 15.0
ALIVE = b": alive\n\n"  # a comment of server-sent events


class _HungUp(Exception):
    """The agent is gone."""


@dataclass
class Wire:
    """One HTTP request."""

    scope: Scope
    receive: Receive
    send: Send
    begun: bool = False

    async def body(self, most: int, seconds: float) -> bytes:
        """All of the request's body. Raises Fault."""
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(seconds):
                while True:
                    event = await self.receive()
                    if event["type"] == "http.disconnect":
                        raise _HungUp
                    parts.append(event.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise refused(f"A request is larger than {most >> 20} MiB.")
                    if not event.get("more_body"):
                        return b"".join(parts)
        except TimeoutError as error:
            raise refused(f"The request was not complete after {seconds:g} s.") from error

    async def hung_up(self) -> None:
        """Returns when the agent is gone."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def start(self, status: int, content_type: str, headers: Mapping[str, str]) -> None:
        self.begun = True
        told = {"content-type": content_type, **headers}
        raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in told.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})

    async def more(self, data: bytes, *, last: bool = False) -> None:
        if data or last:
            await self.send({"type": "http.response.body", "body": data, "more_body": not last})

    async def json(self, status: int, data: Any, headers: Mapping[str, str] | None = None) -> None:
        body = orjson.dumps(data)
        await self.start(status, "application/json", {"content-length": str(len(body)), **(headers or {})})
        await self.more(body, last=True)


@dataclass
class Server:
    """The application."""

    gateway: Gateway | Relay
    key: str = field(repr=False)
    _sweeper: asyncio.Task[None] | None = field(default=None, repr=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(Wire(scope, receive, send))

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            event = await receive()
            if event["type"] == "lifespan.startup":
                self._sweeper = asyncio.create_task(self.gateway.sweep())
                await send({"type": "lifespan.startup.complete"})
            else:
                if self._sweeper is not None:
                    self._sweeper.cancel()
                await self.gateway.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, wire: Wire) -> None:
        path = wire.scope["path"]
        found = _SESSION.fullmatch(path)
        if found:
            await self._session(wire, found[1], found[2])
        elif path == "/health":
            sessions = len(self.gateway.sessions)
            await wire.json(200, {"engine": self.gateway.name, "sessions": sessions})
        elif path.startswith("/control/") and self._trusted(wire):
            await self._control(wire, path.removeprefix("/control/"))
        else:
            await wire.json(404, {"error": {"message": "There is nothing here.", "code": "not_found"}})

    def _trusted(self, wire: Wire) -> bool:
        given = dict(wire.scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(given, f"Bearer {self.key}".encode())

    async def _control(self, wire: Wire, path: str) -> None:
        try:
            body = await self._body(wire) if wire.scope["method"] == "POST" else {}
            status, data = await Control(self.gateway).answer(wire.scope["method"], unquote(path), body)
        except Fault as fault:
            status, data = fault.manner.status, OpenAIChat().error(fault)
        except _HungUp:
            return
        await wire.json(status, data)

    async def _session(self, wire: Wire, secret: str, path: str) -> None:
        dialect = _dialect(path, wire.scope)
        try:
            await self._request(wire, secret, path, dialect)
        except _HungUp:
            return
        except Fault as fault:
            await self._fault(wire, dialect, fault)
        except Exception as error:  # a bug of ours must not look like an answer, nor like the agent's fault
            log.exception("A request failed")
            why = f"The gateway failed: {type(error).__name__}."
            await self._fault(wire, dialect, Fault(Kind.INTERNAL, why))

    async def _fault(self, wire: Wire, dialect: Dialect, fault: Fault) -> None:
        if wire.begun:
            log.warning("%s", fault)
            return
        headers = {"x-should-retry": str(fault.manner.retry).lower(), "x-fault": fault.kind.value}
        await wire.json(fault.manner.status, dialect.error(fault), headers)

    async def _request(self, wire: Wire, secret: str, path: str, dialect: Dialect) -> None:
        session = self.gateway.find(secret)
        if path.rstrip("/").endswith("models") and wire.scope["method"] == "GET":
            await wire.json(200, {"object": "list", "data": [], "models": []})
            return
        if wire.scope["method"] != "POST" or not _known(path):
            raise Fault(Kind.UNKNOWN_SESSION, f"There is nothing at {wire.scope['method']} {path[:200]}.")
        ask = dialect.read(await self._body(wire))
        exchange = self.gateway.exchange(session, ask, dialect.name)
        if path.endswith("count_tokens"):
            await wire.json(200, {"input_tokens": len((await exchange.prompt())[0])})
        elif path.endswith(":countTokens"):
            await wire.json(200, {"totalTokens": len((await exchange.prompt())[0])})
        else:
            reply = self._stream if ask.stream else self._plain
            await self._watched(wire, reply(wire, dialect, ask, exchange))

    async def _body(self, wire: Wire) -> dict[str, Any]:
        settings = self.gateway.settings
        data = await wire.body(settings.body_mb << 20, settings.deadlines.body)
        try:
            body = orjson.loads(data or b"{}")
        except orjson.JSONDecodeError as error:
            raise refused(f"The request is not JSON: {error}.") from error
        if not isinstance(body, dict):
            raise refused("The request is not an object.")
        return body

    async def _watched(self, wire: Wire, work: Awaitable[None]) -> None:
        """Does the work unless the agent hangs up first; then what was sampled is kept, and it ends."""
        working = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(wire.hung_up())
        try:
            await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise _HungUp
            if working.cancelled():
                raise Fault(Kind.SESSION_ENDED, "The session was ended while this request ran.")
            working.result()
        finally:
            gone.cancel()
            working.cancel()
            with suppress(asyncio.CancelledError, Fault):
                await asyncio.shield(asyncio.gather(working, return_exceptions=True))

    async def _plain(
        self, wire: Wire, dialect: Dialect, ask: Ask, exchange: Exchange | RelayExchange
    ) -> None:
        answer: Answer | None = None
        async with aclosing(exchange.run()) as items:
            async for item in items:
                if isinstance(item, Answer):
                    answer = item
        assert answer is not None
        await wire.json(200, dialect.answer(answer, ask), _headers(ask))

    async def _stream(
        self, wire: Wire, dialect: Dialect, ask: Ask, exchange: Exchange | RelayExchange
    ) -> None:
        """Begins with the first thing to show: what fails before that has a status of its own."""
        stream = _Streaming(wire, dialect, ask)
        try:
            async with aclosing(exchange.run()) as items:
                async for item in items:
                    await stream.show(item)
        except Fault as fault:
            if not wire.begun:
                raise
            await stream.fail(fault)
        finally:
            stream.close()


class _Streaming:
    """One streamed answer on its wire."""

    def __init__(self, wire: Wire, dialect: Dialect, ask: Ask) -> None:
        self._wire, self._type = wire, dialect.content_type
        self._stream = dialect.stream(ask)
        self._headers = {"cache-control": "no-cache", **_headers(ask)}
        self._head: Head | None = None
        self._alive: asyncio.Task[None] | None = None
        self._beginning = asyncio.Lock()

    async def show(self, item: Item) -> None:
        if isinstance(item, Head):
            self._head = item
            if self._type == "text/event-stream":
                self._alive = asyncio.create_task(self._keep_alive())
            return
        await self._begin()
        if isinstance(item, Answer):
            self.close()
            await self._wire.more(self._stream.end(item), last=True)
        else:
            await self._wire.more(self._stream.event(item))

    async def fail(self, fault: Fault) -> None:
        self.close()
        await self._wire.more(self._stream.fault(fault), last=True)

    def close(self) -> None:
        if self._alive is not None:
            self._alive.cancel()

    async def _begin(self) -> None:
        async with self._beginning:
            if not self._wire.begun:
                assert self._head is not None
                await self._wire.start(200, self._type, self._headers)
                await self._wire.more(self._stream.begin(self._head))

    async def _keep_alive(self) -> None:
        """Shows an agent that waits for the engine's next token that it does not wait in vain."""
        while True:
            await asyncio.sleep(ALIVE_SECONDS)
            await self._begin()
            await self._wire.more(ALIVE)


def _headers(ask: Ask) -> dict[str, str]:
    return {"x-ignored": ", ".join(ask.ignored)[:1000]} if ask.ignored else {}


PATHS: dict[str, type[Dialect]] = {
    "v1/chat/completions": OpenAIChat,
    "v1/responses": OpenAIResponses,
    "v1/messages": Anthropic,
    "v1/messages/count_tokens": Anthropic,
}


def _known(path: str) -> bool:
    return path in PATHS or _MODEL.fullmatch(path) is not None


def _dialect(path: str, scope: Scope) -> Dialect:
    """The dialect of a path; what is at no path is told in OpenAI's."""
    found = _MODEL.fullmatch(path)
    if found is None:
        return PATHS.get(path, OpenAIChat)()
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    streams = found[2] == "streamGenerateContent"
    return Gemini(unquote(found[1]), stream=streams, sse=query.get("alt") == ["sse"])
