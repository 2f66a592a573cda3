"""An attempt's only way out: requests of its agent, passed on to one address and counted.

The agent speaks to a sandbox's service (`Network.SERVICE`), which is the unix socket of a door. The door puts
the address of the attempt's session in front of every path, so the agent neither knows the address nor can
leave it, and any dialect that the session speaks works. It keeps how often the model answered and what it
last failed with, by which an attempt's ending is known whatever the agent makes of it.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote

import aiohttp
from aiohttp import web
from yarl import URL

CONNECT_SECONDS = 30.0
BODY_BYTES = 64 << 20
BUDGET = "session_budget_exhausted"
UNREACHABLE = "engine_unreachable"
# Of a connection and not of a message; the body's length is told anew.
_HOPS = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade", "host", "content-length",
}  # fmt: skip


@dataclass
class Door:
    """The way to `session`, an address without `/v1`. `async with` opens it."""

    session: str
    turns: int
    """Most answers of the model."""
    answered: int = 0
    fault: str = ""
    """What the last request to the model failed with; empty: it was answered."""
    _open: ExitStack = field(default_factory=ExitStack, repr=False)
    _runner: web.AppRunner | None = field(default=None, repr=False)
    _client: aiohttp.ClientSession | None = field(default=None, repr=False)
    _folder: Path = field(default_factory=Path, repr=False)

    @property
    def socket(self) -> Path:
        """The unix socket that it listens on; only this user may connect."""
        return self._folder / "door"

    async def __aenter__(self) -> Self:
        self._folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="verifactory-")))
        # How long an answer may take is the attempt's and the session's business, which both have limits.
        self._client = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS), auto_decompress=False
        )
        app = web.Application(client_max_size=BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.socket)).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        assert self._client is not None
        await self._client.close()  # first: what still runs is the agent's no more
        await self._runner.cleanup()
        self._open.close()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        if any(part in (".", "..") for part in unquote(request.raw_path).replace("\\", "/").split("/")):
            return _refusal(404, "not_found", "There is nothing here.")
        if request.method == "POST" and self.answered >= self.turns:
            self.fault = BUDGET
            return _refusal(403, BUDGET, f"The attempt has used up its {self.turns} answers.")
        assert self._client is not None
        body = await request.read()
        try:
            async with self._client.request(
                request.method,
                URL(self.session + request.raw_path, encoded=True),
                data=body or None,
                headers=[(name, value) for name, value in request.headers.items() if _kept(name)],
                allow_redirects=False,
            ) as answer:
                self._note(request, answer)
                return await _passed(request, answer)
        except aiohttp.ClientConnectionError as error:
            self.fault = UNREACHABLE
            return _refusal(503, UNREACHABLE, f"The model cannot be reached: {type(error).__name__}.")

    def _note(self, request: web.Request, answer: aiohttp.ClientResponse) -> None:
        if request.method != "POST":
            return
        if answer.ok:
            self.answered += 1
            self.fault = ""
        else:
            self.fault = answer.headers.get("x-fault", f"status {answer.status}")


async def _passed(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    """The answer as it comes."""
    response = web.StreamResponse(status=answer.status, reason=answer.reason)
    for name, value in answer.headers.items():
        if _kept(name):
            response.headers.add(name, value)
    response.content_length = answer.content_length
    await response.prepare(request)
    async for chunk in answer.content.iter_any():
        await response.write(chunk)
    await response.write_eof()
    return response


def _kept(name: str) -> bool:
    return name.lower() not in _HOPS


def _refusal(status: int, code: str, message: str) -> web.Response:
    said = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    return web.Response(
        status=status, body=json.dumps(said).encode(), content_type="application/json",
        headers={"x-fault": code, "x-should-retry": str(status >= 500).lower()},
    )  # fmt: skip
