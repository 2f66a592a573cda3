"""The model's shell: one sandbox of the toolchain image, with the base tree as a build would find it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from envs.languages.native import CACHE
from envs.languages.tree import Tree, pack
from envs.outputs import told
from envs.sandbox import Sandbox, SandboxError

MOST_SECONDS = 600
PREPARE_SECONDS = 300
MOST_LOST = 2

# As `envs.languages.layers` and the Dockerfiles have it when their commands start.
PREPARE = (
    f"mkdir -p /app && tar -xf /tmp/app.tar -C /app && rm /tmp/app.tar && "
    f"install -d -o agent -g agent /build {CACHE} && chown -R agent:agent /app"
)


@dataclass
class Shell:
    """Opened at the first command, and again after `reset`."""

    tree: Tree
    open: Callable[[str], Awaitable[Sandbox]]
    suite: str
    env: dict[str, str]
    """Variables of commands as `agent`, as the recipe has them."""
    lost: int = 0
    _sandbox: Sandbox | None = None

    async def run(self, command: str, *, seconds: float, as_root: bool) -> str:
        """What the command said and how it ended, for the model."""
        sandbox = self._sandbox or await self._open()
        user, home = ("root", "/root") if as_root else ("agent", "/build")
        try:
            ended = await sandbox.exec(
                ["sh", "-c", command], timeout=min(seconds, MOST_SECONDS), user=user, workdir="/app",
                env={**({} if as_root else self.env), "HOME": home, "DEBIAN_FRONTEND": "noninteractive"},
            )  # fmt: skip
        except SandboxError:
            # A command may end its own sandbox; one that does so again and again is another matter.
            self.lost += 1
            if self.lost > MOST_LOST:
                raise
            await self.close()
            return "[the sandbox is gone: the command ended it; the next one finds a fresh sandbox]"
        return told(ended)

    async def reset(self, suite: str) -> None:
        """The next command finds a fresh sandbox."""
        await self.close()
        self.suite = suite

    async def close(self) -> None:
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            await sandbox.stop()

    async def _open(self) -> Sandbox:
        self._sandbox = sandbox = await self.open(self.suite)
        await sandbox.upload({"/tmp/app.tar": pack(self.tree)})
        done = await sandbox.exec(["sh", "-c", PREPARE], timeout=PREPARE_SECONDS, user="root")
        if not done.ok:
            raise SandboxError(f"The base tree could not be laid into /app: {done.text(500)}")
        return sandbox
