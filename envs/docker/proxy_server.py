"""The filtering proxy: runs inside a container, with nothing but Python's standard library.

It is the only way out of a sandbox's network. A request is served when its host is on the list (or the list
is "any"), its port is the web's, and every rule about addresses holds for the address that is really
connected to: the name is resolved here, once, and the connection goes to the checked address, so a name
that changes between check and use gains nothing. Only IPv4: sandboxes have no IPv6. Plain HTTP goes by
absolute address, one request a connection, with the Host header rewritten to the checked name; everything
else by CONNECT to the TLS port.

Usage: proxy_server.py '{"hosts": [...], "any": false, "trusted": [...], "refused": [...], "clients":
"CIDR", "port": N}' `hosts` are exact names, or suffixes that start with a dot. `trusted` hosts may have
private addresses (a company's package mirror). `refused` are addresses that are never connected to: those
of the machine that runs the daemon.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import sys
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

HEAD_BYTES = 1 << 16
HEAD_SECONDS = 30.0
CONNECT_SECONDS = 30.0
IDLE_SECONDS = 300.0
CHUNK = 1 << 16
MAX_CONNECTIONS = 512
PLAIN_PORT, TLS_PORT = 80, 443
_HOP_BY_HOP = ("connection", "proxy-connection", "proxy-authorization", "keep-alive", "host", "te", "upgrade")


class Refused(Exception):
    """The request breaks a rule; the text goes back to the client."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Policy:
    """Who may be talked to."""

    hosts: tuple[str, ...]
    any: bool
    trusted: frozenset[str]
    refused: frozenset[str]
    clients: ipaddress.IPv4Network

    def check_host(self, host: str) -> None:
        listed = any(
            host == entry or (entry.startswith(".") and host.endswith(entry)) for entry in self.hosts
        )
        if not (self.any or listed):
            raise Refused("403 Forbidden", f"{host} is not on this sandbox's list of hosts")

    def check_address(self, host: str, text: str) -> None:
        address = ipaddress.IPv4Address(text)
        never = (
            address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
            or address.is_reserved or address in self.clients or text in self.refused
        )  # fmt: skip
        if never or not (address.is_global or host in self.trusted):
            raise Refused("403 Forbidden", f"{host} has the address {text}, which no sandbox may reach")


@dataclass(frozen=True)
class Request:
    """The head of a request, understood."""

    method: str
    host: str
    port: int
    head: bytes = b""  # to send upstream; empty for CONNECT
    body_bytes: int = 0


def parse_request(head: bytes) -> Request:
    try:
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, target, version = first.split(" ")
    except ValueError:
        raise Refused("400 Bad Request", "the request line is malformed") from None
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise Refused("505 HTTP Version Not Supported", "only HTTP/1.1 is spoken here")
    if method == "CONNECT":
        name, _, port = target.rpartition(":")
        if port != str(TLS_PORT):
            raise Refused("403 Forbidden", f"only port {TLS_PORT} may be tunnelled to")
        return Request(method, _host(name), TLS_PORT)
    parts = urlsplit(target)
    if parts.scheme != "http":
        raise Refused("400 Bad Request", "this is a proxy: the address must be absolute")
    try:
        port = parts.port or PLAIN_PORT
    except ValueError:
        raise Refused("400 Bad Request", "the port is malformed") from None
    if port != PLAIN_PORT:
        raise Refused("403 Forbidden", f"only port {PLAIN_PORT} may be talked to in the clear")
    host = _host(parts.hostname or "")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    kept, length = _headers(lines)
    upstream = "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *kept, "Connection: close", "", ""])
    return Request(method, host, port, upstream.encode("latin-1"), length)


def _headers(lines: list[str]) -> tuple[list[str], int]:
    """Headers to pass on, and the body's length. What could hide a second request in the body is refused."""
    kept: list[str] = []
    lengths: set[str] = set()
    for line in lines:
        name, colon, value = line.partition(":")
        key = name.lower()
        if not colon or not name or name != name.strip() or any(c in line for c in "\r\n\0"):
            raise Refused("400 Bad Request", "a header is malformed")
        if key == "transfer-encoding":
            raise Refused("501 Not Implemented", "a request body needs a Content-Length here")
        if key == "content-length":
            lengths.add(value.strip())
        if key not in _HOP_BY_HOP:
            kept.append(line)
    if len(lengths) > 1 or not all(text.isascii() and text.isdigit() for text in lengths):
        raise Refused("400 Bad Request", "Content-Length is malformed")
    return kept, int(lengths.pop()) if lengths else 0


def _host(name: str) -> str:
    host = name.strip("[]").rstrip(".").lower()
    if not host or ":" in host or not host.isascii() or any(c.isspace() or c in "/@%\\" for c in host):
        raise Refused("400 Bad Request", "the host is malformed")
    return host


async def checked_addresses(policy: Policy, request: Request) -> list[str]:
    """Addresses of the request's host that may be connected to; refuses when there is none."""
    policy.check_host(request.host)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            request.host, request.port, family=socket.AF_INET, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError):
        raise Refused("502 Bad Gateway", f"{request.host} could not be resolved") from None
    allowed: list[str] = []
    refusal: Refused | None = None
    for entry in found:
        address = str(entry[4][0])
        try:
            policy.check_address(request.host, address)
            allowed.append(address)
        except Refused as error:
            refusal = error
    if not allowed:
        raise refusal or Refused("502 Bad Gateway", f"{request.host} has no address")
    return allowed


async def open_upstream(
    policy: Policy, request: Request
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for address in await checked_addresses(policy, request):
        try:
            return await asyncio.wait_for(asyncio.open_connection(address, request.port), CONNECT_SECONDS)
        except (OSError, TimeoutError):
            continue
    raise Refused("504 Gateway Timeout", f"{request.host} does not answer")


class Activity:
    """When either direction of a connection last moved: a download is not idle for its client's silence."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    async def read(self, reader: asyncio.StreamReader, wanted: int) -> bytes:
        while True:
            try:
                data = await asyncio.wait_for(reader.read(wanted), IDLE_SECONDS)
            except TimeoutError:
                if time.monotonic() - self.last >= IDLE_SECONDS:
                    raise
                continue
            self.last = time.monotonic()
            return data


async def copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, activity: Activity, limit: int | None = None
) -> None:
    """Pass on at most `limit` bytes, until a side is done or both are idle."""
    left = limit
    while left is None or left > 0:
        data = await activity.read(reader, CHUNK if left is None else min(CHUNK, left))
        if not data:
            break
        writer.write(data)
        await writer.drain()
        left = None if left is None else left - len(data)


async def tunnel(
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    activity = Activity()

    async def one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await copy(reader, writer, activity)
        if writer.can_write_eof():
            writer.write_eof()

    tasks = [
        asyncio.ensure_future(one_way(client[0], upstream[1])),
        asyncio.ensure_future(one_way(upstream[0], client[1])),
    ]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def exchange(
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    request: Request,
) -> None:
    """One plain request and its answer; exactly its body goes up, then nothing more."""
    activity = Activity()
    upstream[1].write(request.head)
    sending = asyncio.ensure_future(copy(client[0], upstream[1], activity, request.body_bytes))
    try:
        await copy(upstream[0], client[1], activity)
    finally:
        sending.cancel()


async def serve(policy: Policy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_SECONDS)
        request = parse_request(head)
        upstream = await open_upstream(policy, request)
        if request.method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await tunnel((reader, writer), upstream)
        else:
            await exchange((reader, writer), upstream, request)
    except Refused as error:
        body = f"verifactory proxy: {error}\n".encode()
        lines = (
            f"HTTP/1.1 {error.status}",
            "Content-Type: text/plain",
            f"Content-Length: {len(body)}",
            "Connection: close",
        )
        writer.write("\r\n".join((*lines, "", "")).encode() + body)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, OSError):
        return  # the client or the upstream went away; there is nobody to tell
    finally:
        for side in (writer, *(upstream[1:] if upstream else ())):
            side.close()


async def main(configuration: str) -> None:
    given = json.loads(configuration)
    policy = Policy(
        hosts=tuple(given["hosts"]),
        any=given["any"],
        trusted=frozenset(given["trusted"]),
        refused=frozenset(given["refused"]),
        clients=ipaddress.IPv4Network(given["clients"]),
    )
    connections = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        peer = ipaddress.ip_address(writer.get_extra_info("peername")[0])
        if connections >= MAX_CONNECTIONS or peer not in policy.clients:
            writer.close()
            return
        connections += 1
        try:
            await serve(policy, reader, writer)
        finally:
            connections -= 1

    server = await asyncio.start_server(accept, "0.0.0.0", given["port"], limit=HEAD_BYTES)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
