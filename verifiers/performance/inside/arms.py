"""The states of a project that are measured against each other, kept where code under test cannot look.

Each is a whole copy of the tree in a folder of root's: the base, gold, and the submission. To measure one,
the work directory is emptied and filled with it, no process of the account is alive, and what earlier runs
left anywhere else is gone: so a run finds no notes, caches or helpers of another.

Standard library only, Python 3.9 or later.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

from account import Account  # ty: ignore[import-not-found]
from tree import Tree  # ty: ignore[import-not-found]

NOTES = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/home", "/var/lock")
COPY_SECONDS = 300


class Arms:
    """Copies of the tree by name."""

    def __init__(self, spec: dict[str, Any], account: Account, private: Path) -> None:
        self.spec = spec
        self.account = account
        self.private = private
        self.root = Path(spec["workdir"])
        self.folder = private / "arms"
        self.folder.mkdir()

    def keep_base(self, *, as_it_stands: bool) -> None:
        """The tree as imaged. If somebody has worked in it, their work is kept as `submission` and undone."""
        if as_it_stands:
            self._copy(self.root, self.folder / "submission")
        late = _late_files(self.root) if as_it_stands else ()
        base = self.folder / "base"
        self._copy(self.root, base)
        if as_it_stands:
            tree = self._tree(base)
            for path in late:
                if path not in tree.pristine:
                    (base / path).unlink()
            tree._restore_pristine(list(tree.pristine))
        for name in ("base", "submission") if as_it_stands else ("base",):
            self._tree(self.folder / name).hand_over()

    def patched(self, name: str, patch: bytes) -> None:
        """The base with a patch, less what it does to tests. Raises Malformed. No foreign process may run."""
        self._copy(self.folder / "base", self.folder / name)
        os.chmod(self.folder, 0o711)  # git runs as the account
        self._tree(self.folder / name).apply(patch)
        self.lock()

    def lock(self) -> None:
        os.chmod(self.folder, 0o700)

    def same(self, one: str, other: str) -> bool:
        """Whether two arms hold the same files."""
        return _digests(self.folder / one) == _digests(self.folder / other)

    def put(self, name: str) -> None:
        """Let the work directory be this arm, and nothing else be left of a run."""
        self.account.kill_all()
        for entry in list(os.scandir(self.root)):
            if entry.name == ".git":
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
        arm = self.folder / name
        entries = [str(arm / entry) for entry in sorted(os.listdir(arm)) if entry != ".git"]
        if entries:
            _run("cp", "-a", "--", *entries, str(self.root))
        shutil.copystat(arm, self.root)
        os.chown(self.root, self.account.uid, self.account.gid)
        self._clear_notes()

    def _clear_notes(self) -> None:
        if not self.account.own:
            return
        roots = [folder for folder in NOTES if os.path.isdir(folder)]
        subprocess.run(
            ["find", *roots, "-xdev", "-mindepth", "1", "-user", str(self.account.uid),
             "!", "-path", "/home/" + self.account.name, "!", "-path", f"{self.private}/*", "-delete"],
            capture_output=True, check=False, timeout=COPY_SECONDS,
        )  # fmt: skip

    def _tree(self, folder: Path) -> Tree:
        return Tree(dict(self.spec, workdir=str(folder)), self.account, self.private, hidden=True)

    def _copy(self, source: Path, target: Path) -> None:
        _run("cp", "-a", "--", str(source), str(target))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, check=False, timeout=COPY_SECONDS)
    if done.returncode:
        raise OSError(f"{command[0]} failed: {done.stderr[-300:].decode('utf-8', 'replace')}")


def _files(root: Path) -> list[str]:
    """Files and links below a tree, git's own left out."""
    found = []
    for folder, folders, names in os.walk(root):
        if folder == str(root) and ".git" in folders:
            folders.remove(".git")
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        found += [os.path.relpath(os.path.join(folder, name), root) for name in (*names, *links)]
    return sorted(found)


def _digests(root: Path) -> dict[str, tuple[int, bytes]]:
    found = {}
    for path in _files(root):
        target = root / path
        mode = os.lstat(target).st_mode
        if stat.S_ISLNK(mode):
            content = os.fsencode(os.readlink(target))
        else:
            content = target.read_bytes() if stat.S_ISREG(mode) else b""
        found[path] = (mode & 0o170111, hashlib.sha256(content).digest())
    return found


def _late_files(root: Path) -> list[str]:
    """Files that came, or changed, after this container was started: not the image's."""
    return [path for path in _files(root) if os.lstat(root / path).st_ctime >= _started()]


def _started() -> float:
    """When the container's first process began."""
    ticks = int(Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19])
    booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return int(booted.split()[1]) + ticks / os.sysconf("SC_CLK_TCK") - 1.0
