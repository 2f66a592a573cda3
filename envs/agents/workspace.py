"""Where an agent's commands run: a sandbox of the task's image, with the project in its folder.

The agent is the user `agent`, without network. What it leaves is what its files are that the image's are not,
read by the daemon while nothing runs: no tool of the host or of the sandbox looks at the tree.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from envs.outputs import ending, printed, shortened, told
from envs.sandbox import Changed, Sandbox

USER, HOME = "agent", "/home/agent"
MOST_BYTES = 32 << 20  # of all that an agent leaves
EDIT = Path(__file__).with_name("inside") / "edit.py"
EDIT_SECONDS = 30.0
# Left by running things, in any project; the rest is what the project itself ignores.
CACHES = (".git/", "__pycache__/", "*.pyc", ".pytest_cache/", "node_modules/", ".nyc_output/", ".tap/")


@dataclass(frozen=True)
class Workspace:
    """A running sandbox and the project's folder in it."""

    sandbox: Sandbox
    workdir: str

    async def run(self, command: str, *, seconds: float) -> str:
        """What the command said and how it ended, for the model."""
        ended = await self.sandbox.exec(
            ["bash", "-c", command], timeout=seconds, user=USER, workdir=self.workdir, env={"HOME": HOME}
        )
        return told(ended)

    async def edit(self, path: str, old: str, new: str) -> str:
        """Replaces `old`, which has to be there once, in a file; with `old` empty, makes the file."""
        ended = await self.sandbox.exec(
            ["/usr/bin/python3", "-I", "-c", EDIT.read_text()],
            timeout=EDIT_SECONDS, user=USER, workdir=self.workdir, env={"HOME": HOME},
            stdin=json.dumps({"path": path, "old": old, "new": new}).encode(),
        )  # fmt: skip
        return shortened(printed(ended)) or f"[{ending(ended)}]"

    async def changes(self, ignored: Callable[[str], bool]) -> dict[str, Changed]:
        """What the agent leaves, by path, without what the project ignores. Raises ContentRefused."""
        return await self.sandbox.changes(
            self.workdir, keep=lambda name: not ignored(name), max_bytes=MOST_BYTES
        )


def ignored_by(ignore_files: dict[str, str], tracked: Callable[[str], bool]) -> Callable[[str], bool]:
    """Whether a path is left out: by `.gitignore` files (folder → text) or as a cache; never if tracked."""
    specs = [("", GitIgnoreSpec.from_lines(CACHES))]
    specs += [(folder, GitIgnoreSpec.from_lines(text.splitlines())) for folder, text in ignore_files.items()]

    def ignored(path: str) -> bool:
        if tracked(path):
            return False
        return any(
            spec.match_file(path.removeprefix(folder)) for folder, spec in specs if path.startswith(folder)
        )

    return ignored
