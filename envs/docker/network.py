"""Networks of sandboxes: each is a private wire to one filtering proxy, and reaches nothing else.

Docker's *internal* networks still reach the host by its bridge address, so the bridge of ours has no
address (`inhibit_ipv4`), and sandboxes lose NET_RAW, with which they could speak past it. Each sandbox and
each build gets a network of its own, so that sandboxes do not reach each other either; the proxy, one
container per distinct list of hosts, joins them all. Subnets are /29s out of the range set aside for
benchmarks (RFC 2544): Docker's own pool has room for about thirty networks, and this one for 16384 that
collide with nobody's addresses.

Names are resolved by the proxy only. The one known gap: Docker before 23.0.11 on a host whose resolver is
on loopback answers DNS inside internal networks (CVE-2024-29018); sandboxes are given an unroutable
resolver, which closes it, but the builder takes no such option.
"""

from __future__ import annotations

import ipaddress
import json
import random
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from docker import DockerClient
from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

from envs.docker.owner import owned_labels
from envs.docker.removal import remove_container
from envs.docker.service import start_service
from envs.sandbox import SERVICE_HOST, SandboxError

RANGE = ipaddress.IPv4Network("198.18.0.0/15")
PREFIX = 29
PORT = 3128
NO_RESOLVER = "240.0.0.1"  # reserved, unroutable; an empty list would mean the host's resolvers
CLOSED = "The sandboxes of this process are being put away."
GOING = "marked for removal"  # what the daemon says of a container that it is still taking away
GOING_SECONDS = 30.0
READY_SECONDS = 20.0
TRIES = 20
PROXY_MEMORY_MB = 192


@dataclass(frozen=True)
class Policy:
    """What a proxy lets through: `hosts` (exact, or suffixes with a leading dot), or any public host."""

    hosts: frozenset[str] = frozenset()
    any: bool = False
    trusted: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Wire:
    """A network with a proxy on it, for one sandbox or one build; or with a service of ours instead."""

    name: str
    proxy: str
    service: bool = False

    @property
    def hosts(self) -> Mapping[str, str]:
        """Names that the sandbox knows, and their addresses."""
        return {SERVICE_HOST: self.proxy} if self.service else {}

    @property
    def env(self) -> Mapping[str, str]:
        """What tells programs of the proxy; programs disagree about the case."""
        if self.service:
            return {}
        url = f"http://{self.proxy}:{PORT}"
        lower = {"http_proxy": url, "https_proxy": url, "no_proxy": "localhost,127.0.0.1,::1"}
        return lower | {name.upper(): value for name, value in lower.items()}


@dataclass
class Networks:
    """The proxies and wires of one process. Calls block; safe from several threads."""

    home: Path
    _proxies: dict[Policy, str] = field(default_factory=dict)
    _wires: set[str] = field(default_factory=set)
    _services: dict[str, str] = field(default_factory=dict)  # network → the service's container
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _one_proxy: threading.Lock = field(default_factory=threading.Lock)
    _closed: bool = False

    def open(self, client: DockerClient, policy: Policy, proxy_image: str) -> Wire:
        """A fresh wire to the proxy of `policy`, which is started when it is the first."""
        with self._one_proxy:
            if self._closed:
                raise SandboxError(CLOSED)
            proxy = self._proxies.get(policy)
            if proxy is None or not _runs(client, proxy):
                proxy = self._start_proxy(client, policy, proxy_image)
                self._proxies[policy] = proxy
        name, address = self._open_network(client)
        try:
            client.api.connect_container_to_network(proxy, name, ipv4_address=address)
        except APIError:
            self.close_wire(client, name)
            raise
        return Wire(name, address)

    def open_service(self, client: DockerClient, target: Path, image: str) -> Wire:
        """A fresh wire on which nothing but the unix socket `target` of this machine is reached."""
        name, address = self._open_network(client)
        try:
            started = start_service(
                client.api, self.home, image=image, network=name, address=address, target=target
            )
        except (APIError, SandboxError):
            self.close_wire(client, name)
            raise
        with self._lock:
            self._services[name] = started
        return Wire(name, address, service=True)

    def _open_network(self, client: DockerClient) -> tuple[str, str]:
        """A network of ours, and the address on it of what the sandbox reaches."""
        name, subnet = self._create_network(client)
        with self._lock:
            late = self._closed
            self._wires.add(name)
        if late:
            self.close_wire(client, name)
            raise SandboxError(CLOSED)
        return name, str(subnet[2])  # the first is the bridge's by convention, and stays unused

    def _create_network(self, client: DockerClient) -> tuple[str, ipaddress.IPv4Network]:
        size = 1 << (32 - PREFIX)
        for _ in range(TRIES):
            first = RANGE[random.randrange(RANGE.num_addresses // size) * size]
            subnet = ipaddress.IPv4Network((first, PREFIX))
            name = f"verifactory-{uuid.uuid4().hex[:12]}"
            try:
                client.api.create_network(
                    name,
                    driver="bridge",
                    internal=True,
                    options={"com.docker.network.bridge.inhibit_ipv4": "true"},
                    ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet))]),
                    labels=owned_labels(self.home, "network"),
                )
            except APIError as error:
                if "overlap" not in str(error.explanation):
                    raise
                continue  # another process has that one
            return name, subnet
        raise SandboxError(
            f"No free network was found in {RANGE} after {TRIES} tries: remove unused Docker networks."
        )

    def _start_proxy(self, client: DockerClient, policy: Policy, image: str) -> str:
        configuration = {
            "hosts": sorted(policy.hosts),
            "any": policy.any,
            "trusted": sorted(policy.trusted),
            "refused": host_addresses(),
            "clients": str(RANGE),
            "port": PORT,
        }
        proxy = client.containers.run(
            image,
            ["python3", "-I", "-S", "/proxy_server.py", json.dumps(configuration)],
            name=f"verifactory-proxy-{uuid.uuid4().hex[:12]}",
            detach=True,
            init=True,
            user="65534:65534",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            read_only=True,
            mem_limit=f"{PROXY_MEMORY_MB}m",
            memswap_limit=f"{PROXY_MEMORY_MB}m",
            pids_limit=64,
            sysctls={"net.ipv4.ip_forward": "0"},  # a wire must not be a road to the proxy's other networks
            log_config={"type": "json-file", "config": {"max-size": "1m", "max-file": "1"}},
            labels=owned_labels(self.home, "proxy"),
        )
        deadline = time.monotonic() + READY_SECONDS
        while b"ready" not in (said := proxy.logs()):
            if time.monotonic() > deadline or not _runs(client, proxy.id):
                remove_container(client.api, proxy.id)
                raise SandboxError(
                    f"The filtering proxy did not start: {said.decode('utf-8', 'replace')[-300:]}"
                )
            time.sleep(0.02)
        return proxy.id

    def close_wire(self, client: DockerClient, name: str) -> None:
        """Take the proxy off a network and remove it. Nothing else may be on it any more."""
        with self._lock:
            self._wires.discard(name)
            service = self._services.pop(name, None)
        if service is not None:
            remove_container(client.api, service)
        deadline = time.monotonic() + GOING_SECONDS
        while True:
            try:
                for container in client.api.inspect_network(name)["Containers"] or {}:
                    with suppress(NotFound):  # it went meanwhile, and off the network with it
                        client.api.disconnect_container_from_network(container, name, force=True)
                client.api.remove_network(name)
            except NotFound:
                return
            except APIError as error:
                if GOING not in str(error.explanation) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def close(self, client: DockerClient) -> None:
        """Remove them all; one that is being started is waited for, and none is started after that."""
        with self._one_proxy, self._lock:
            self._closed = True
            wires, proxies = list(self._wires), list(self._proxies.values())
            self._proxies.clear()
        for proxy in proxies:
            remove_container(client.api, proxy)
        for name in wires:
            self.close_wire(client, name)


def _runs(client: DockerClient, container: str) -> bool:
    try:
        return bool(client.api.inspect_container(container)["State"]["Running"])
    except NotFound:
        return False


def host_addresses() -> list[str]:
    """IPv4 addresses of this machine, as its routing table has them; empty where there is no such table to
    read.
    """
    try:
        lines = Path("/proc/net/fib_trie").read_text().splitlines()
    except OSError:
        return []
    found = {
        before.split()[-1]
        for before, line in pairwise(lines)
        if "host LOCAL" in line and before.strip().startswith("|--")
    }
    return sorted(found)
