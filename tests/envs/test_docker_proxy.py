"""The rules of the filtering proxy, case by case."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.docker.proxy_server import Policy, Refused, parse_request


def _policy(*hosts: str, any_host: bool = False, trusted: tuple[str, ...] = ()) -> Policy:
    return Policy(
        hosts, any_host, frozenset(trusted), frozenset({"8.8.4.4"}), ipaddress.IPv4Network("198.18.0.0/15")
    )


@pytest.mark.parametrize("host", ["a.example", "x.b.example", "y.x.b.example"])
def test_listed_hosts_pass(host: str) -> None:
    _policy("a.example", ".b.example").check_host(host)


@pytest.mark.parametrize(
    "host", ["b.example", "xa.example", "a.example.evil", "evilb.example", "", "x.a.example"]
)
def test_other_hosts_are_refused(host: str) -> None:
    with pytest.raises(Refused):
        _policy("a.example", ".b.example").check_host(host)


_PRIVATE = ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "203.0.113.7"]
_NEVER = [
    "127.0.0.1",
    "169.254.169.254",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "198.18.3.4",
    "8.8.4.4",
]


@pytest.mark.parametrize("address", [*_PRIVATE, *_NEVER])
def test_addresses_that_no_host_may_have(address: str) -> None:
    with pytest.raises(Refused, match="no sandbox may reach"):
        _policy(any_host=True).check_address("h.example", address)


@pytest.mark.parametrize("address", _PRIVATE)
def test_a_trusted_host_may_be_private(address: str) -> None:
    _policy("h.example", trusted=("h.example",)).check_address("h.example", address)


@pytest.mark.parametrize("address", _NEVER)
def test_a_trusted_host_is_never_loopback_link_local_or_ours(address: str) -> None:
    with pytest.raises(Refused):
        _policy("h.example", trusted=("h.example",)).check_address("h.example", address)


@given(st.ip_addresses(v=4))
def test_what_passes_is_global_unicast(address: ipaddress.IPv4Address) -> None:
    try:
        _policy(any_host=True).check_address("h.example", str(address))
    except Refused:
        return
    assert address.is_global
    assert not address.is_multicast


def test_a_plain_request_is_rewritten_to_the_checked_host() -> None:
    head = (
        b"POST http://A.example./p?q=1 HTTP/1.1\r\nHost: evil\r\nProxy-Connection: x\r\n"
        b"Content-Length: 3\r\nX: 1\r\n\r\n"
    )
    request = parse_request(head)
    assert (request.host, request.port, request.body_bytes) == ("a.example", 80, 3)
    assert request.head == (
        b"POST /p?q=1 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nX: 1\r\nConnection: close\r\n\r\n"
    )


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT a.example:22 HTTP/1.1\r\n\r\n",
        b"CONNECT a.example:80 HTTP/1.1\r\n\r\n",
        b"CONNECT :443 HTTP/1.1\r\n\r\n",
        b"CONNECT [::1]:443 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"GET http://a.example:8080/ HTTP/1.1\r\n\r\n",
        b"GET http://a.example:x/ HTTP/1.1\r\n\r\n",
        b"GET https://a.example/ HTTP/1.1\r\n\r\n",
        b"GET ftp://a.example/ HTTP/1.1\r\n\r\n",
        b"GET http://a.example/ HTTP/2\r\n\r\n",
        b"POST http://a.example/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST http://a.example/ HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        b"POST http://a.example/ HTTP/1.1\r\nContent-Length: +3\r\n\r\n",
        b"POST http://a.example/ HTTP/1.1\r\nContent-Length : 3\r\n\r\n",
        b"GET http://a.example/ HTTP/1.1\r\nfolded\r\n\r\n",
        b"GET http://a.example/ HTTP/1.1\r\nX: a\nHost: evil\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_what_is_not_plainly_allowed_is_refused(head: bytes) -> None:
    with pytest.raises(Refused):
        parse_request(head)


@given(st.binary(max_size=300))
def test_no_bytes_make_the_parser_fail(head: bytes) -> None:
    try:
        request = parse_request(head + b"\r\n\r\n")
    except Refused:
        return
    assert request.port in (80, 443)
    assert request.head.count(b"\r\n\r\n") <= 1
