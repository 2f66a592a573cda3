"""The container that lets a sandbox reach one unix socket of this machine, and nothing else.

It lies on the sandbox's own wire and on no other network; what connects to it is carried over its standard
streams to a thread of ours (`mux`). It ends when its standard input does, so a process that is killed leaves
none that serves.
"""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

from docker import APIClient

from envs.docker import mux
from envs.docker.owner import owned_labels
from envs.docker.removal import remove_container
from envs.docker.stream import WAITS, BoundedOutput, attached
from envs.sandbox import SERVICE_PORT, SandboxError

READY_SECONDS = 60.0
MEMORY_MB = 96


class Attached:
    """The standard streams of a container, as the daemon gives them: output in frames of its own."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._socket, early = attached(raw)
        self._early: bytes | None = early or None
        self._output = BoundedOutput(mux.FULL * 2)
        self.files = (self._socket, self._socket)

    def read(self) -> bytes | None:
        data, self._early = self._early, None
        if data is None:
            try:
                data = self._socket.recv(mux.CHUNK)
            except WAITS:
                return None
        if not data:
            return b""
        self._output.feed(data)
        said = bytes(self._output.stdout)
        self._output.stdout.clear()
        self._output.stderr.clear()
        return said or None

    def write(self, data: memoryview) -> int:
        try:
            return self._socket.send(data)
        except WAITS:
            return 0

    def close(self) -> None:
        self._raw._response.close()


def start_service(api: APIClient, home: Path, *, image: str, network: str, address: str, target: Path) -> str:
    """Carries what connects to `address` on `network` to the unix socket `target`; the container's id.

    Raises SandboxError.
    """
    created = api.create_container(
        image,
        ["python3", "-I", "-S", "-c", Path(mux.__file__).read_text(), str(SERVICE_PORT)],
        labels=owned_labels(home, "service"),
        user="65534:65534",
        stdin_open=True,
        host_config=api.create_host_config(
            init=True,
            network_mode=network,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            read_only=True,
            mem_limit=f"{MEMORY_MB}m",
            memswap_limit=f"{MEMORY_MB}m",
            pids_limit=16,
            log_config={"Type": "none"},  # what agents say is nobody's log
        ),
        networking_config=api.create_networking_config(
            {network: api.create_endpoint_config(ipv4_address=address)}
        ),
    )["Id"]
    try:
        trunk = Attached(api.attach_socket(created, {"stdin": 1, "stdout": 1, "stream": 1}))
        ready, ended = threading.Event(), threading.Event()

        def carry() -> None:
            try:
                mux.Mux(trunk, connect=lambda: _connected(target), ready=ready.set).run()
            finally:
                trunk.close()
                ended.set()
                ready.set()

        threading.Thread(target=carry, name="service", daemon=True).start()
        api.start(created)
        if not ready.wait(READY_SECONDS) or ended.is_set():
            raise SandboxError("The container that carries a sandbox's requests did not start; try again.")
    except BaseException:
        remove_container(api, created)
        raise
    return created


def _connected(target: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(str(target))
    except OSError:
        sock.close()
        raise
    return sock
