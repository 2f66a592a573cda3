"""The sandbox protocol: what every backend can do, and what an outcome means.

A sandbox is a running, isolated machine made from an image. It is the only place where mined or generated
code runs. Outcomes keep apart what must never be confused: a command that exited, one that the time limit
ended, one that the memory limit ended, one that a signal ended, and a sandbox that is gone. The last is
`SandboxError`: infrastructure, never evidence about the code under test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

from warehouse.errors import FactoryError

SERVICE_HOST, SERVICE_PORT = "gateway", 8000
SERVICE_URL = f"http://{SERVICE_HOST}:{SERVICE_PORT}"
"""What a sandbox with `Network.SERVICE` finds its one service at."""


class SandboxError(FactoryError):
    """The sandbox or its daemon failed. The item is retried; nothing is held against the code under test."""


class BuildError(Exception):
    """An image build ended with an error of the recipe (not of the daemon). `log` is the build's output."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.log = log


class ContentRefused(Exception):
    """What lies in the sandbox breaks the rules of `download`.

    A link, a device, an escaping name, or too much of it: the fault is of the code that ran there, not of the
    sandbox.
    """


class Network(StrEnum):
    """What a sandbox can reach. No mode reaches the host, private or link-local addresses."""

    NONE = "none"
    PUBLIC = "public"  # any public host, http and https, through the filtering proxy
    ALLOWLIST = "allowlist"  # the named hosts only, through the filtering proxy
    SERVICE = "service"  # one service of this process, at SERVICE_URL, and no host at all


class Limits(BaseModel):
    """Resource limits of one sandbox."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_mb: int = Field(2048, ge=16, description="Memory without swap, MiB.")
    cpus: float = Field(1.0, gt=0, description="Cores.")
    pids: int = Field(512, ge=8, description="Processes and threads.")
    output_bytes: int = Field(8 << 20, ge=1024, description="Bytes of stdout and of stderr kept per command.")


class SandboxSpec(BaseModel):
    """Everything a backend needs to start a sandbox."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str = Field(description="Tag or id of an image that is on this machine.")
    network: Network = Network.NONE
    allowed_hosts: tuple[str, ...] = Field((), description="Host names, for Network.ALLOWLIST.")
    service: Path | None = Field(None, description="Unix socket of this machine, for Network.SERVICE.")
    limits: Limits = Limits()
    env: Mapping[str, str] = Field(default_factory=dict, description="Variables of every command.")
    workdir: str = Field("/", description="Where commands run that name no folder of their own.")
    user: str = Field("root", description="Who runs commands that name nobody.")
    cap_drop_all: bool = Field(
        False, description="Drop every capability, not only those the default profile drops."
    )
    read_only_root: bool = Field(False, description="Nothing but `tmpfs` can be written.")
    tmpfs: tuple[str, ...] = Field((), description="File systems in memory: /path or /path:options.")
    runtime: str | None = Field(None, description="OCI runtime; None is the settings' or the daemon's.")

    @model_validator(mode="after")
    def _served(self) -> SandboxSpec:
        if (self.network is Network.SERVICE) != (self.service is not None):
            raise ValueError("`service` belongs to network 'service'; give both or neither")
        return self


class Outcome(StrEnum):
    """How a command itself ended. What became of a process that it started is the command's to report."""

    EXITED = "exited"
    TIMEOUT = "timeout"
    OOM = "oom"  # ended by the memory limit; where only a child was, the command goes on and ends as it ends
    SIGNAL = "signal"


class ExecResult(BaseModel):
    """What a command left behind."""

    model_config = ConfigDict(frozen=True)

    outcome: Outcome
    exit_code: int | None = Field(description="Exit status; 128+n for signal n; None after a time-out.")
    stdout: bytes
    stderr: bytes
    truncated: bool = Field(False, description="Output went past Limits.output_bytes and was dropped.")
    seconds: float

    @property
    def ok(self) -> bool:
        return self.outcome is Outcome.EXITED and self.exit_code == 0

    def text(self, limit: int = 4000) -> str:
        """The end of stdout and stderr, for a log or a message."""
        both = (self.stdout + b"\n" + self.stderr).decode("utf-8", "replace").strip()
        return both[-limit:]


class Changed(BaseModel):
    """What became of one file of the image: new content, or None where it is gone; of a link, its target."""

    model_config = ConfigDict(frozen=True)

    data: bytes | None
    executable: bool = False
    link: bool = False


class Capabilities(BaseModel):
    """What a backend enforces where it runs; a spec that asks for more is refused, never run with less."""

    model_config = ConfigDict(frozen=True)

    networks: frozenset[Network]
    memory_limit: bool
    pids_limit: bool
    cpu_limit: bool

    def lacking(self, spec: SandboxSpec) -> list[str]:
        """What `spec` asks for and cannot have, in words."""
        enforced = {
            f"network {spec.network}": spec.network in self.networks,
            "a memory limit": self.memory_limit,
            "a limit on processes": self.pids_limit,
            "a CPU limit": self.cpu_limit,
        }
        return [what for what, is_enforced in enforced.items() if not is_enforced]


class Sandbox(Protocol):
    """A running sandbox."""

    @property
    def id(self) -> str: ...

    @property
    def spec(self) -> SandboxSpec: ...

    async def exec(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        user: str | None = None,
        workdir: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
    ) -> ExecResult:
        """Run `argv`, never through a shell, and wait at most `timeout` seconds.

        Then every process it started is killed.
        """
        ...

    async def upload(
        self, files: Mapping[str, bytes | Path], *, user: str = "root", mode: int = 0o644
    ) -> None:
        """Write files by absolute path; folders are made. A Path that is a folder is copied whole."""
        ...

    async def download(self, path: str, *, max_bytes: int) -> dict[str, bytes]:
        """Regular files at or below `path`, by path relative to it (a lone file: by its own name).

        Raises ContentRefused for links, devices and excess size, FileNotFoundError when nothing is at `path`.
        """
        ...

    async def changes(self, under: str, *, keep: Callable[[str], bool], max_bytes: int) -> dict[str, Changed]:
        """Files and links below `under` that are not as in the image, by relative path, where `keep` says so;
        a folder that was removed stands for all that was in it. Nothing runs in the sandbox meanwhile.

        Raises ContentRefused for devices and excess size.
        """
        ...

    async def commit(self, tag: str) -> str:
        """Save the file system as image `tag`; returns its id."""
        ...

    async def stop(self) -> None:
        """Remove the sandbox and all it runs. Idempotent."""
        ...


class SandboxBackend(Protocol):
    """Starts sandboxes and builds their images."""

    async def capabilities(self) -> Capabilities: ...

    async def start(self, spec: SandboxSpec) -> Sandbox:
        """Raises FactoryError when the image is not here, or a limit of `spec` cannot be enforced."""
        ...

    async def build(
        self,
        context: Path,
        *,
        tag: str,
        build_args: Mapping[str, str] | None = None,
        network: Network = Network.ALLOWLIST,
        allowed_hosts: tuple[str, ...] = (),
        shares: str | None = None,
        timeout: float,
    ) -> BuiltImage:
        """Build `context/Dockerfile`; where it begins with the layers of the image `shares`, they are not
        counted as its size.

        Raises BuildError when the recipe is at fault, SandboxError when the daemon is.
        """
        ...

    async def has_image(self, tag: str) -> bool: ...

    async def digest(self, tag: str) -> str:
        """The id of the image called `tag`; '' when it is not on this machine."""
        ...

    async def close(self) -> None:
        """Stop every sandbox and network this backend started."""
        ...


class BuiltImage(BaseModel):
    """An image as built here."""

    model_config = ConfigDict(frozen=True)

    tag: str
    digest: str
    size_bytes: int = Field(
        description="Bytes added to the base image, or to the image it shares layers with."
    )
    seconds: float
    log: str
