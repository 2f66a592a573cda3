"""The Docker backend: the sandbox protocol on a Docker daemon.

It may be shared by any number of tasks and event loops of one process. What it starts is gone after
`close`, after Ctrl-C and after SIGTERM; what a killed process left behind goes when the next backend
starts.
"""

from __future__ import annotations

import asyncio
import atexit
import signal
import sys
import threading
import uuid
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from docker.errors import ImageNotFound

from envs import images, registries
from envs.docker import cleanup
from envs.docker.build import Build
from envs.docker.container import DockerSandbox
from envs.docker.daemon import Daemon, daemon_errors
from envs.docker.network import NO_RESOLVER, Networks, Policy, Wire
from envs.docker.owner import image_labels, owned_labels
from envs.docker.proxy import ensure_proxy_image
from envs.docker.removal import remove_container
from envs.sandbox import BuiltImage, Capabilities, Network, SandboxError, SandboxSpec
from warehouse.errors import FactoryError
from warehouse.settings import Settings

_OPEN: weakref.WeakSet[DockerBackend] = weakref.WeakSet()


def any_open() -> bool:
    """Whether a backend of this process may still have something to put away."""
    return bool(_OPEN)


class DockerBackend:
    """Starts sandboxes and builds images.

    `url` is the daemon's address where it is not the client's default.
    """

    def __init__(self, settings: Settings, *, url: str | None = None) -> None:
        self.settings = settings
        self.daemon = Daemon(url)
        self._networks = Networks(settings.home)
        self._sandboxes: dict[str, DockerSandbox] = {}
        self._wires: dict[str, str] = {}  # container → network
        self._lock = threading.Lock()
        self._prepared = False
        self._proxy_image = ""
        self._capabilities: Capabilities | None = None

    async def capabilities(self) -> Capabilities:
        """As the daemon says of its kernel: one without control groups of its own drops limits in silence."""
        await self._prepare()
        if self._capabilities is None:
            told = await self.daemon.run("a look at the daemon", self.daemon.client.info)
            self._capabilities = Capabilities(
                networks=frozenset(Network),
                memory_limit=bool(told.get("MemoryLimit")),
                pids_limit=bool(told.get("PidsLimit")),
                cpu_limit=bool(told.get("CpuCfsQuota")),
            )
        return self._capabilities

    async def _prepare(self) -> None:
        """Once: connect, remove what dead processes left, and see to it that nothing of ours outlives this
        one.
        """
        with self._lock:
            if self._prepared:
                return
            self._prepared = True
        try:
            await asyncio.to_thread(lambda: self.daemon.client)
            await cleanup.reclaim(self.daemon)
        except FactoryError:
            self._prepared = False
            raise
        _OPEN.add(self)
        atexit.register(self._at_exit)
        _terminate_like_exit()

    def _at_exit(self) -> None:
        # Where the daemon is gone, the next process's clean-up finds what is left.
        with suppress(FactoryError), daemon_errors("the clean-up at exit"):
            cleanup.remove_mine(self.daemon.client.api)

    async def start(self, spec: SandboxSpec) -> DockerSandbox:
        """A fresh sandbox.

        Raises FactoryError when its image is not here or its limits cannot be enforced, SandboxError when the
        daemon fails.
        """
        if lacking := (await self.capabilities()).lacking(spec):
            raise FactoryError(
                f"The Docker daemon cannot enforce {', '.join(lacking)}: let it manage control groups "
                "(run it as root, or delegate them to its user)."
            )
        if spec.service is not None:
            wire = await self._service(spec.service)
        else:
            wire = await self._wire(spec.network, frozenset(spec.allowed_hosts))
        name = f"verifactory-{uuid.uuid4().hex[:12]}"
        starting = asyncio.ensure_future(
            self.daemon.run("the start of a sandbox", self._start, name, spec, wire)
        )
        try:
            container, started_at = await asyncio.shield(starting)
        except BaseException:
            await asyncio.wait([starting])
            await self.daemon.run("the removal of a sandbox", self._discard, name, wire)
            raise
        sandbox = DockerSandbox(
            self.daemon,
            container,
            spec,
            started_at=started_at,
            network_env=wire.env if wire else {},
            on_stop=self._forget,
        )
        with self._lock:
            self._sandboxes[container] = sandbox
            if wire:
                self._wires[container] = wire.name
        return sandbox

    def _start(self, name: str, spec: SandboxSpec, wire: Wire | None) -> tuple[str, str]:
        api = self.daemon.client.api
        memory = f"{spec.limits.memory_mb}m"
        host_config = api.create_host_config(
            init=True,
            mem_limit=memory,
            memswap_limit=memory,  # equal: no swap
            nano_cpus=int(spec.limits.cpus * 1e9),
            pids_limit=spec.limits.pids,
            security_opt=["no-new-privileges"],
            cap_drop=["ALL"] if spec.cap_drop_all else ["NET_RAW"],
            read_only=spec.read_only_root,
            tmpfs=_tmpfs(spec.tmpfs),
            runtime=spec.runtime or self.settings.runtime,
            network_mode=wire.name if wire else "none",
            dns=[NO_RESOLVER] if wire else None,
            dns_opt=["timeout:1", "attempts:1"] if wire else None,
            extra_hosts=dict(wire.hosts) if wire else None,
            ulimits=[{"Name": "core", "Soft": 0, "Hard": 0}],
        )
        try:
            created = api.create_container(
                spec.image,
                entrypoint=[""],  # none, whatever the image's own is
                command=["sleep", "infinity"],
                name=name,
                user="root",
                hostname="sandbox",
                host_config=host_config,
                labels=owned_labels(self.settings.home, "sandbox"),
            )
        except ImageNotFound as error:
            raise FactoryError(f"The image {spec.image} is not on this machine: build it first.") from error
        api.start(created["Id"])
        running = api.inspect_container(created["Id"])
        cleanup.mark_used(self.settings, running["Image"])
        return created["Id"], running["State"]["StartedAt"]

    def _discard(self, name: str, wire: Wire | None) -> None:
        remove_container(self.daemon.client.api, name)
        if wire:
            self._networks.close_wire(self.daemon.client, wire.name)

    async def _forget(self, sandbox: DockerSandbox) -> None:
        with self._lock:
            self._sandboxes.pop(sandbox.id, None)
            wire = self._wires.pop(sandbox.id, None)
        if wire:
            await self.daemon.run(
                "the removal of a network", self._networks.close_wire, self.daemon.client, wire
            )

    async def registry_hosts(self) -> tuple[str, ...]:
        """Hosts of the package registries, for `SandboxSpec.allowed_hosts`: what builds may always reach."""
        await self._prepare()
        named = await asyncio.to_thread(registries.hosts)
        of_images = await self.daemon.run("a look at the base images", images.apt_hosts, self.daemon.client)
        return tuple(dict.fromkeys((*named, *of_images)))

    async def _wire(self, network: Network, hosts: frozenset[str]) -> Wire | None:
        if network is Network.NONE:
            return None
        registry_hosts = frozenset(await self.registry_hosts())
        public = network is Network.PUBLIC
        named = frozenset() if public else frozenset(host.lower() for host in hosts)
        trusted = registry_hosts if public else registry_hosts & named
        policy = Policy(named, public, trusted if self.settings.private_registries else frozenset())
        image = await self._python()
        return await self.daemon.run(
            "the set-up of a network", self._networks.open, self.daemon.client, policy, image
        )

    async def _service(self, target: Path) -> Wire:
        image = await self._python()
        return await self.daemon.run(
            "the set-up of a network", self._networks.open_service, self.daemon.client, target, image
        )

    async def _python(self) -> str:
        """The image that proxies run from."""
        if not self._proxy_image:
            self._proxy_image = await ensure_proxy_image(self.settings, self.daemon)
        return self._proxy_image

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
        """Build `context/Dockerfile`.

        With ALLOWLIST, its steps reach the package registries and `allowed_hosts`.
        """
        await self._prepare()
        hosts = frozenset(allowed_hosts)
        if network is Network.ALLOWLIST:
            hosts |= frozenset(await self.registry_hosts())
        wire = await self._wire(network, hosts)
        proxy_args = {name: value for name, value in wire.env.items()} if wire else {}
        build = Build(
            client=self.daemon.client,
            url=self.daemon.url,
            context=context,
            tag=tag,
            build_args={**proxy_args, **(build_args or {})},
            network_mode=wire.name if wire else "none",
            labels=image_labels("environment", tag),
            memory_mb=self.settings.memory_mb,
            timeout=timeout,
            shares=shares,
        )
        try:
            return await self._run_build(build)
        finally:
            if wire:
                await self.daemon.run(
                    "the removal of a network", self._networks.close_wire, self.daemon.client, wire.name
                )

    async def _run_build(self, build: Build) -> BuiltImage:
        running = asyncio.ensure_future(self.daemon.run(f"the build of {build.tag}", build.run))
        try:
            built = await asyncio.shield(running)
        except asyncio.CancelledError:
            build.cancel()
            await asyncio.gather(running, return_exceptions=True)
            raise
        except Exception:
            with suppress(SandboxError):
                await self.daemon.run(
                    "a note on a failed build",
                    cleanup.mark_leftover, self.settings, self.daemon.client.api, build.step_images,
                )  # fmt: skip
            raise
        cleanup.mark_used(self.settings, built.digest)
        return built

    async def has_image(self, tag: str) -> bool:
        return bool(await self.digest(tag))

    async def digest(self, tag: str) -> str:
        """The id of the image called `tag`; '' when it is not on this machine."""
        await self._prepare()

        def look() -> str:
            try:
                return str(self.daemon.client.api.inspect_image(tag)["Id"])
            except ImageNotFound:
                return ""

        return await self.daemon.run("a look for an image", look)

    async def close(self) -> None:
        """Stop every sandbox, proxy and network this backend started."""
        with self._lock:
            prepared, sandboxes = self._prepared, list(self._sandboxes.values())
            self._prepared = False
        try:
            if prepared:
                await asyncio.gather(*(sandbox.stop() for sandbox in sandboxes))
                await self.daemon.run("the removal of the networks", self._networks.close, self.daemon.client)
        finally:
            atexit.unregister(self._at_exit)
            self.daemon.close()
            _OPEN.discard(self)

    async def __aenter__(self) -> DockerBackend:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _tmpfs(entries: tuple[str, ...]) -> dict[str, str] | None:
    """`/path` or `/path:options`, as the docker command takes them."""
    return {path: options for path, _, options in (entry.partition(":") for entry in entries)} or None


def _terminate_like_exit() -> None:
    """Make SIGTERM end this process through its exit handlers, unless the signal is claimed already."""

    def leave(number: int, _frame: Any) -> None:
        sys.exit(128 + number)

    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    ):
        signal.signal(signal.SIGTERM, leave)
