"""The project in the work directory: its pristine files, the submission, the hidden tests, and who may write
what.

What runs git runs it as the account under test, with the pristine repository's configuration or none. What
runs as root (putting tests in place) never follows a link that a submission may have made, and runs only
while no process of the account is alive.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from account import Account, Broken, Malformed, tail

HERE = Path(__file__).resolve().parent

# Files that steer a test run. Of these, what a submission adds is removed (see `Tree.restore`).
INFRASTRUCTURE = (
    "conftest.py", "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini", "setup.cfg",
    "pyproject.toml", "sitecustomize.py", "usercustomize.py",
)  # fmt: skip


class Tree:
    """The project in the work directory: its pristine files, the hidden tests, and who may write what."""

    def __init__(self, spec: dict[str, Any], account: Account, private: Path, *, hidden: bool) -> None:
        self.root = Path(spec["workdir"])
        self.account = account
        self.private = private
        self.hidden = {e["path"]: (e["mode"], _hidden_bytes(e)) for e in spec["hidden"]} if hidden else {}
        self.deleted = tuple(spec["deleted"]) if hidden else ()
        self.protected = tuple(spec["protected"])
        self.unprotected = frozenset(spec["unprotected"])
        self.kept_out = (*self.hidden, *self.deleted, *self.protected)
        if not (self.root / ".git").is_dir():
            raise Broken(f"{self.root} is not a git repository.")
        self.pristine = self._list_pristine()
        # Of the files that steer tests, those that the image's own build has made stay (a Makefile that
        # `configure` wrote): no submission has been applied yet.
        self.steering = re.compile(spec["steering"]) if spec.get("steering") else None
        found = map(self._name, self._walk()) if self.steering else ()
        self.made = frozenset(path for path in found if self._steers(path))

    def _name(self, path: str) -> str:
        return os.path.relpath(path, self.root)

    def _steers(self, name: str) -> bool:
        """By its name, a file that steers tests by the toolchain's own pattern."""
        return bool(self.steering and self.steering.search(name))

    def _git(
        self, *arguments: str, git_dir: Path | None = None, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """git as the unprivileged user, with no configuration but the repository's own."""
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0",
            "GIT_DIR": str(git_dir or self.root / ".git"), "GIT_WORK_TREE": str(self.root),
        }  # fmt: skip
        try:
            return subprocess.run(
                ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *arguments],
                cwd=self.root, env=environment, input=stdin, capture_output=True, check=False, timeout=300,
                preexec_fn=self.account.enter,
            )  # fmt: skip
        except FileNotFoundError:
            raise Broken("The image has no git.") from None

    def _list_pristine(self) -> dict[str, tuple[str, str]]:
        """Mode and object of every file that the image was made from.

        A bundle lists them itself, because an agent may have committed in the repository that is graded; a
        draft is only ever run on a fresh image, whose one commit says it.
        """
        listed = HERE / "pristine.json"
        if listed.exists():
            return {path: (mode, name) for path, (mode, name) in json.loads(listed.read_text()).items()}
        done = self._git("ls-tree", "-r", "-z", "--full-tree", "HEAD")
        if done.returncode:
            raise Broken(f"git cannot list {self.root}: {tail(done.stderr, 300)}")
        files = {}
        for line in done.stdout.split(b"\0"):
            if line:
                head, _, path = line.partition(b"\t")
                mode, _, name = head.decode().split(" ")
                files[os.fsdecode(path)] = (mode, name)
        return files

    def apply(self, patch: bytes) -> None:
        """Apply a submission, less what it does to tests and test infrastructure. Raises Malformed."""
        if not patch.strip():
            return
        bare = self.private / "empty.git"
        subprocess.run(
            ["git", "init", "-q", "--bare", str(bare)],
            check=True,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
        )
        (bare / "info").mkdir(exist_ok=True)
        (bare / "info" / "attributes").write_text(
            "* -text -ident -filter -working-tree-encoding\n"
        )  # bytes are bytes
        listing = self._git("apply", "--numstat", "-z", "-", git_dir=bare, stdin=patch)
        if listing.returncode:
            raise Malformed(f"The patch cannot be read: {tail(listing.stderr, 500)}")
        excluded = [f"--exclude={_literal(path)}" for path in self.kept_out]
        done = self._git("apply", "--whitespace=nowarn", *excluded, "-", git_dir=bare, stdin=patch)
        if done.returncode:
            raise Malformed(f"The patch does not apply: {tail(done.stderr, 500)}")

    def hand_over(self) -> None:
        """Let the account under test write the project, as its developers could; git's own folder stays as it
        is.
        """
        if not self.account.own:
            return
        for path in self._walk():
            os.chown(path, self.account.uid, self.account.gid, follow_symlinks=False)

    def _walk(self) -> Iterator[str]:
        yield str(self.root)
        for folder, folders, files in os.walk(self.root):
            if folder == str(self.root) and ".git" in folders:
                folders.remove(".git")
            for name in (*folders, *files):
                yield os.path.join(folder, name)

    def remember(self) -> None:
        """Take note of what there is, for `forget`."""
        self.remembered = frozenset(self._walk())

    def forget(self) -> None:
        """Remove what a run has added, so that the next one starts as it did."""
        for path in list(self._walk()):
            if path not in self.remembered:
                _remove(Path(path))

    def test_sources(self) -> dict[str, bytes]:
        """Python files that a submission cannot change, as they are now: hidden and protected ones."""
        folders = tuple(path for path in self.protected if path.endswith("/"))
        found = {path: data for path, (mode, data) in self.hidden.items() if mode != "120000"}
        for path, (mode, name) in self.pristine.items():
            kept = path in self.protected or path.startswith(folders)
            if kept and path not in self.hidden and path not in self.deleted and mode != "120000":
                target = self.root / path
                if path.endswith(".py") and self._real_parent(path) and _blob_name(target) == name:
                    found[path] = target.read_bytes()
        return {path: data for path, data in found.items() if path.endswith(".py")}

    def restore(self) -> None:
        """Tests and what steers them as they should be, whatever stood there. No foreign process runs
        meanwhile.
        """
        self._remove_shadows()
        folders = tuple(path for path in self.protected if path.endswith("/"))
        for path in list(self._walk()):
            name = self._name(path)
            steers = os.path.basename(path) in INFRASTRUCTURE or (
                name.startswith(folders) and not _is_folder(path)
            )
            steers = steers or (self._steers(name) and name not in self.made and not _is_folder(path))
            if (
                steers
                and name not in self.pristine
                and name not in self.hidden
                and name not in self.unprotected
            ):
                _remove(Path(path))
        wanted = [p for p in self.pristine if p in self.protected or p.startswith(folders)]
        self._restore_pristine([p for p in wanted if p not in self.hidden and p not in self.deleted])
        for path in self.deleted:
            if self._real_parent(path):
                _remove(self.root / path)
        for path, (mode, data) in self.hidden.items():
            self._place_hidden(path, mode, data)

    def _remove_shadows(self) -> None:
        """What Python would import instead of a test file: cached bytecode, packages and extension modules of
        its name.
        """
        for path in list(self._walk()):
            name = self._name(path)
            if name.endswith((".pyc", ".pyo")) and name not in self.pristine:
                _remove(Path(path))
        for test in {*self.hidden, *self.protected}:
            stem = self.root / test.removesuffix(".py")
            if not test.endswith(".py") or not self._real_parent(test) or not stem.parent.is_dir():
                continue
            for path in (
                *stem.parent.glob(glob.escape(stem.name) + ".*.so"),
                stem,
                stem.with_name(stem.name + ".so"),
            ):
                name = self._name(str(path))
                ours = name in self.pristine or any(
                    p.startswith(name + "/") for p in (*self.pristine, *self.hidden)
                )
                if os.path.lexists(path) and not ours:
                    _remove(path)

    def _restore_pristine(self, paths: list[str]) -> None:
        changed = []
        for path in paths:
            mode, name = self.pristine[path]
            if mode != "160000" and not (self._real_parent(path) and _blob_name(self.root / path) == name):
                changed.append(path)
        for path in changed:
            mode, name = self.pristine[path]
            done = self._git("cat-file", "blob", name)
            if done.returncode or _git_hash(done.stdout) != name:
                raise Broken(f"git no longer has the pristine {path}: {tail(done.stderr, 300)}")
            self._write(path, done.stdout, mode, owner=(self.account.uid, self.account.gid))

    def _place_hidden(self, path: str, mode: str, data: bytes) -> None:
        """A hidden test: root's, read-only, in folders where the account may add files but not move these
        away.
        """
        self._write(path, data, mode, owner=(os.getuid(), os.getgid()))
        if mode != "120000":
            os.chmod(self.root / path, 0o555 if mode == "100755" else 0o444)
        for folder in (self.root / path).parents:
            os.chown(folder, os.getuid(), os.getgid())
            os.chmod(folder, 0o1777 if self.account.own else 0o755)
            if folder == self.root:
                break

    def _write(self, path: str, data: bytes, mode: str, owner: tuple[int, int]) -> None:
        target = self.root / path
        for folder in reversed(target.parents):
            if (
                folder != self.root
                and self.root in folder.parents
                and (folder.is_symlink() or not folder.is_dir())
            ):
                _remove(folder)
                folder.mkdir(0o755)
                os.chown(folder, *owner)
        _remove(target)
        if mode == "120000":
            os.symlink(data, os.fsencode(target))
        else:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            os.chmod(target, 0o755 if mode == "100755" else 0o644)
        os.chown(target, *owner, follow_symlinks=False)

    def _real_parent(self, path: str) -> bool:
        """Whether the folders of `path` are folders, not links to elsewhere."""
        return all(
            not f.is_symlink() and f.is_dir() for f in (self.root / path).parents if self.root in f.parents
        )


def _hidden_bytes(entry: dict[str, str]) -> bytes:
    data = (HERE / "hidden" / entry["path"]).read_bytes()
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise Broken(f"The bundle's hidden test {entry['path']} has been changed.")
    return data


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def _git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _blob_name(path: Path) -> str:
    """The git object that a file is now; '' where there is no such file."""
    if path.is_symlink():
        return _git_hash(os.fsencode(os.readlink(path)))
    return _git_hash(path.read_bytes()) if path.is_file() else ""


def _literal(path: str) -> str:
    """A pattern for `git apply --exclude` that matches `path` only, or everything below it if it ends in a
    slash.
    """
    escaped = re.sub(r"([\\*?\[\]])", r"\\\1", path)
    return escaped + "*" if path.endswith("/") else escaped
