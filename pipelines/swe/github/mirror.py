"""The git side: a bare mirror of a repository's commits and trees, to which needed files are added.

The mirror is a partial clone (`--filter=blob:none`): most pull requests are ruled out by what differs, which
trees tell, so files are fetched only for those that qualify, and only those files. Objects are then read by
libgit2 from a store of our own, which has the mirror as an alternate; no working tree exists, so no filter
runs and 200,000 files cost nothing until one tree of them is counted.

`git` is run with a configuration of ours alone: no hooks, no file-system monitor, no credential helper, one
protocol, no prompts, a bound on what it may write, and a time limit. The server is a stranger.
"""

from __future__ import annotations

import base64
import fcntl
import os
import re
import subprocess
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from urllib.parse import urlsplit

import pygit2

from pipelines.swe.change import Refused, SourceError
from pipelines.swe.trees import SUBMODULE, ObjectStore, TreeLimits
from warehouse.query import plain
from warehouse.records import content_id
from warehouse.settings import Settings

HISTORY_SECONDS, FILES_SECONDS = 3600, 900
FILES_BYTES = 2 * TreeLimits().bytes
SAFE = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    "gc.auto": "0",
    "http.followRedirects": "false",
    "maintenance.auto": "false",
    "protocol.allow": "never",
    "protocol.version": "2",
    "submodule.recurse": "false",
}
KEPT_VARIABLES = ("PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH")
GONE = ("not our ref", "couldn't find remote ref", "no such remote ref", "unadvertised object")
TOO_LARGE = re.compile(r"signal 25\b|file too large|file size limit", re.I)  # 25 is SIGXFSZ
ABSENT = ("repository not found", "not found", "could not read username", "authentication failed", "403")


class GitFailed(Exception):
    """`git` ended with an error; `said` is its last line, without the address."""

    def __init__(self, said: str, full: str, too_large: bool) -> None:
        super().__init__(said)
        self.said = said
        self.full = full.lower()
        self.too_large = too_large


class Mirror:
    """The mirror of one repository, shared by the homes that use the same cache."""

    def __init__(self, name: str, url: str, settings: Settings, *, token: str | None = None) -> None:
        scheme = urlsplit(url).scheme
        if scheme not in ("https", "http"):
            raise SourceError(
                f"GitHub names {url} as the clone address of {name}, which is no web address.", "clone_url"
            )
        self._name, self._url, self._token = name, url, token
        self._protocol = scheme
        self._limit = settings.github_repository_mb << 20
        key = content_id(url)
        self._folder = settings.cache / "mirrors" / f"{key}.git"
        self._refreshed = False
        objects = self._folder / "objects"
        # libgit2 looks for packs, now and later, only where it finds a folder for them
        (objects / "pack").mkdir(parents=True, exist_ok=True)
        self.store = ObjectStore.create(
            settings.cache / "objects" / "github" / f"{key}.git", alternates=(objects,)
        )

    def commit(self, oid: str) -> pygit2.Commit | None:
        """The commit `oid`, fetched if need be; None if GitHub no longer has it."""
        if not self._has(oid):
            self._refresh()
        if not self._has(oid) and not self._fetch_one(oid):
            return None
        try:
            found = self.store.repository[oid]
        except KeyError:
            return None
        return found if isinstance(found, pygit2.Commit) else None

    def parents(self, commit: pygit2.Commit) -> list[pygit2.Commit]:
        """Its parents, as far as they are there."""
        return [found for oid in commit.parent_ids if (found := self.commit(str(oid))) is not None]

    def fill(self, *trees: str) -> None:
        """Fetch the files of `trees` that are not there.

        Raises Refused: `too_many_files`, `too_large`, `missing_objects`.
        """
        missing = {oid for tree in trees for oid in self._missing(tree)}
        if not missing:
            return
        try:
            self._git(
                "-c", "fetch.negotiationAlgorithm=noop", "fetch", "--quiet", "--no-tags",
                "--no-write-fetch-head", "--filter=blob:none", "--stdin", "origin",
                stdin="\n".join(sorted(missing)) + "\n", seconds=FILES_SECONDS, limit=FILES_BYTES,
            )  # fmt: skip
        except GitFailed as failed:
            if failed.too_large:
                raise Refused("too_large", f"its files need more than {FILES_BYTES >> 20} MiB") from failed
            if any(words in failed.full for words in GONE):
                raise Refused("missing_objects", failed.said) from failed
            raise self._unfetched(failed) from failed

    def _missing(self, tree: str) -> Iterable[str]:
        limit = TreeLimits().files
        for i, (_, blob) in enumerate(self.store.walk(tree)):
            if i >= limit:
                raise Refused("too_many_files", f"more than {limit} files")
            if blob.mode != SUBMODULE and not self._has(blob.oid):
                yield blob.oid

    def _has(self, oid: str) -> bool:
        return pygit2.Oid(hex=oid) in self.store.repository.odb

    def _refresh(self) -> None:
        """Bring every branch up to date, once."""
        if self._refreshed:
            return
        try:
            self._git(
                "fetch", "--quiet", "--no-tags", "--prune", "--force", "--no-write-fetch-head",
                "--filter=blob:none", "origin", "+refs/heads/*:refs/heads/*",
                seconds=HISTORY_SECONDS, limit=self._limit,
            )  # fmt: skip
        except GitFailed as failed:
            raise self._unfetched(failed) from failed
        self._refreshed = True

    def _fetch_one(self, oid: str) -> bool:
        """A commit that no branch leads to any more may still be had by its name."""
        try:
            self._git(
                "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--filter=blob:none", "origin", oid,
                seconds=HISTORY_SECONDS, limit=self._limit,
            )  # fmt: skip
        except GitFailed as failed:
            if any(words in failed.full for words in GONE):
                return False
            raise self._unfetched(failed) from failed
        return self._has(oid)

    def _unfetched(self, failed: GitFailed) -> SourceError:
        if failed.too_large:
            return SourceError(
                f"The history of {self._name} is larger than the setting github_repository_mb allows "
                f"({self._limit >> 20}).",
                "repository_too_large",
            )
        if any(words in failed.full for words in ABSENT):
            return SourceError(
                f"git cannot read {self._name} ({failed.said}): gone or made private meanwhile.",
                "repository_gone",
            )
        return SourceError(
            f"git could not fetch {self._name} ({failed.said}): check the network and run the command again; "
            "it goes on where it stopped.",
            "fetch_failed",
        )

    def _git(self, *argv: str, seconds: float, limit: int, stdin: str = "") -> None:
        """Run one git command in the mirror. Raises GitFailed."""
        with self._locked():
            if not (self._folder / "HEAD").exists():
                self._run("init", "--quiet", "--bare", "--template=", ".", seconds=60, limit=limit)
            self._run("config", "remote.origin.url", self._url, seconds=60, limit=limit)
            self._run(*argv, seconds=seconds, limit=limit, stdin=stdin)

    def _run(self, *argv: str, seconds: float, limit: int, stdin: str = "") -> None:
        # The shell is there for the limit alone: in units of 512 bytes, of one file, which a pack is.
        bounded = ["sh", "-c", f'ulimit -f {limit // 512}; exec git "$@"', "git", *argv]
        try:
            done = subprocess.run(
                bounded, cwd=self._folder, env=self._environment(), input=stdin, capture_output=True,
                text=True, errors="replace", timeout=seconds, check=False,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise SourceError(
                "git is not installed: install it and run the command again.", "no_git"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise GitFailed(f"no end within {seconds:.0f} s", "", False) from error
        if done.returncode:
            lines = [line for line in done.stderr.replace(self._url, self._name).splitlines() if line.strip()]
            said = plain(lines[-1] if lines else f"status {done.returncode}")[:300]
            raise GitFailed(said, done.stderr, bool(TOO_LARGE.search(done.stderr)))

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        kept |= {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
        settings = SAFE | {f"protocol.{self._protocol}.allow": "always"}
        if self._token:
            shown = base64.b64encode(f"x-access-token:{self._token}".encode()).decode()
            origin = urlsplit(self._url)._replace(path="/", query="", fragment="").geturl()
            settings[f"http.{origin}.extraHeader"] = f"Authorization: Basic {shown}"
        pairs = {}
        for i, (key, value) in enumerate(settings.items()):
            pairs |= {f"GIT_CONFIG_KEY_{i}": key, f"GIT_CONFIG_VALUE_{i}": value}
        return kept | pairs | {
            "GIT_CONFIG_COUNT": str(len(settings)), "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "",
            "HOME": str(self._folder), "LC_ALL": "C",
        }  # fmt: skip

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Alone with the mirror. What a killed git left half-made is removed: nobody else can be using it."""
        descriptor = os.open(self._folder / "verifactory.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            for left in (*self._folder.glob("**/*.lock"), *self._folder.glob("objects/pack/tmp_*")):
                if left.name != "verifactory.lock":
                    left.unlink(missing_ok=True)
            yield
        finally:
            os.close(descriptor)
