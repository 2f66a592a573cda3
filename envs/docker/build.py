"""Image builds by the daemon's classic builder, bounded in time and output.

A build ends in one of three ways: an image; `BuildError`, when the recipe is at fault; `SandboxError`, when
the daemon or its disk is. The builder stops a build whose client hangs up, and that is how a time limit
ends one.
"""

from __future__ import annotations

import json
import re
import socket
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker import APIClient, DockerClient
from docker.errors import APIError

from envs.docker.daemon import daemon_errors
from envs.sandbox import BuildError, BuiltImage, SandboxError
from warehouse.errors import FactoryError

LOG_BYTES = 4 << 20
_FULL = "no space left on device"
# First match decides. The text is the builder's own, except that a failing step quotes its command.
_FAULTS: tuple[tuple[str, bool], ...] = (
    (r"returned a non-zero code", False),
    (
        r"dial tcp|i/o timeout|TLS handshake|connection (refused|reset)|no such host",
        True,
    ),  # pulling a FROM image
    (r"context canceled|shutting down|shim|containerd|OCI runtime", True),
)
_STEP_IMAGE = re.compile(r"^ ---> ([0-9a-f]{12,64})\s*$")


class _Interruptible(APIClient):
    """A client of one build, which another thread may end by hanging up."""

    response: Any = None

    def _stream_helper(self, response: Any, decode: bool = False) -> Any:
        self.response = response
        return super()._stream_helper(response, decode)

    def hang_up(self) -> None:
        if self.response is not None:
            with suppress(OSError, AttributeError):  # it has ended already
                self.response.raw._fp.fp.raw._sock.shutdown(socket.SHUT_RDWR)


@dataclass
class Build:
    """One build. `run` blocks; `cancel` ends it from another thread."""

    client: DockerClient
    url: str | None
    context: Path
    tag: str
    build_args: Mapping[str, str]
    network_mode: str
    labels: Mapping[str, str]
    memory_mb: int
    timeout: float
    shares: str | None = None
    step_images: list[str] = field(default_factory=list)
    _log: list[str] = field(default_factory=list)
    _log_bytes: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _api: _Interruptible | None = None

    def cancel(self) -> None:
        self._cancelled.set()
        if self._api is not None:
            self._api.hang_up()

    def run(self) -> BuiltImage:
        if not (self.context / "Dockerfile").is_file():
            raise FactoryError(f"There is no Dockerfile in {self.context} to build {self.tag} from.")
        began = time.monotonic()
        shared = self.client.api
        self._api = api = _Interruptible(
            base_url=self.url,
            version=shared._version,
            timeout=self.timeout + 60,
            tls=getattr(shared, "_tls", None) or False,
        )
        timer = threading.Timer(self.timeout, self._hang_up_late)
        timer.daemon = True
        timer.start()
        try:
            with tempfile.TemporaryDirectory() as folder, daemon_errors(f"the build of {self.tag}"):
                error = self._follow(api, self._labelled(folder))
        except SandboxError:
            if not (self._over.is_set() or self._cancelled.is_set()):
                raise
            error = ""
        finally:
            timer.cancel()
            api.close()
        log = self.log
        if self._cancelled.is_set():
            raise SandboxError(f"The build of {self.tag} was cancelled.")
        if self._over.is_set():
            raise BuildError(f"The build took longer than {self.timeout:.0f} s.", log)
        if error:
            raise _fault(error, self.tag, log)
        with daemon_errors(f"the build of {self.tag}"):
            image = shared.inspect_image(self.tag)
            below = _base_size(shared, self.context / "Dockerfile", self.build_args)
            added = image["Size"] - max(below, _shared_size(shared, image, self.shares))
        return BuiltImage(
            tag=self.tag,
            digest=image["Id"],
            size_bytes=max(0, added),
            seconds=time.monotonic() - began,
            log=log,
        )

    def _hang_up_late(self) -> None:
        self._over.set()
        if self._api is not None:
            self._api.hang_up()

    @property
    def log(self) -> str:
        return "".join(self._log)

    def _labelled(self, folder: str) -> Path:
        """The Dockerfile with our labels: one step at its end, where the builder's own option makes one for
        each.
        """
        labels = " ".join(f"{key}={json.dumps(value)}" for key, value in self.labels.items())
        file = Path(folder).resolve() / "Dockerfile"
        file.write_bytes((self.context / "Dockerfile").read_bytes() + f"\nLABEL {labels}\n".encode())
        return file

    def _follow(self, api: APIClient, dockerfile: Path) -> str:
        """Read the builder's messages to their end; returns its error, or ''."""
        stream = api.build(
            path=str(self.context.absolute()),
            tag=self.tag,
            rm=True,
            forcerm=True,
            decode=True,
            buildargs=dict(self.build_args),
            network_mode=self.network_mode,
            dockerfile=str(dockerfile),
            container_limits={"memory": self.memory_mb << 20, "memswap": self.memory_mb << 20},
        )
        finished = False
        for message in stream:
            if "error" in message:
                return str(message["error"])
            text = str(message.get("stream", ""))
            finished = finished or "aux" in message or text.startswith("Successfully built")
            self._keep(text)
            if found := _STEP_IMAGE.match(text.rstrip("\n")):
                self.step_images.append(found[1])
        if not finished and not self._over.is_set():
            raise SandboxError(
                f"The Docker daemon went away during the build of {self.tag}; see that it runs."
            )
        return ""

    def _keep(self, text: str) -> None:
        """Keep the end of the output: that is where a build says why it failed."""
        self._log.append(text)
        self._log_bytes += len(text)
        while self._log_bytes > LOG_BYTES and len(self._log) > 1:
            self._log_bytes -= len(self._log.pop(0))


def _fault(error: str, tag: str, log: str) -> Exception:
    said = " ".join(error.split())[:500]
    if _FULL in error.lower() or _FULL in log[-4000:].lower():
        return SandboxError(
            f"The disk of the Docker daemon is full (building {tag}): free space and run again."
        )
    for pattern, of_daemon in _FAULTS:
        if re.search(pattern, error):
            return (
                SandboxError(f"The Docker daemon could not build {tag}: {said}")
                if of_daemon
                else BuildError(said, log)
            )
    return BuildError(said, log)


def _base_size(api: APIClient, dockerfile: Path, build_args: Mapping[str, str]) -> int:
    """Size of the image named by the last FROM; 0 when that is an earlier stage or cannot be told."""
    values: dict[str, str] = {}
    base = ""
    for line in dockerfile.read_text(errors="replace").splitlines():
        if found := re.match(r"\s*ARG\s+(\w+)(?:=(\S+))?", line, re.IGNORECASE):
            values.setdefault(found[1], build_args.get(found[1], (found[2] or "").strip("\"'")))
        elif found := re.match(r"\s*FROM\s+(?:--\S+\s+)*(\S+)", line, re.IGNORECASE):
            base = re.sub(r"\$\{?(\w+)\}?", lambda name: values.get(name[1], ""), found[1])
    try:
        return int(api.inspect_image(base)["Size"]) if base else 0
    except APIError:
        return 0


def _shared_size(api: APIClient, image: Mapping[str, Any], other: str | None) -> int:
    """Size of the image that this one begins with; 0 when it does not, since its layers were made anew."""
    if other is None:
        return 0
    found = api.inspect_image(other)
    layers = found["RootFS"]["Layers"]
    return int(found["Size"]) if image["RootFS"]["Layers"][: len(layers)] == layers else 0
