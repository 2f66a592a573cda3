"""Mining a local clone: the merges and squashed pull requests of its default branch, newest first.

A clone is only read, and only through libgit2, which runs no hook, filter, pager or remote helper; its
objects stay where they are and are reached as an alternate of a store of our own, into which everything
new is written. History is walked one first-parent commit at a time. What a change touches is asked before
its trees are looked at, so that most commits cost one tree comparison.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pygit2
from pygit2.enums import RepositoryOpenFlag

from pipelines.family import Mined
from pipelines.swe import licenses
from pipelines.swe.change import Refused, SourceError
from pipelines.swe.compare import UNREAD, About, Compared, compare
from pipelines.swe.compare import path_rule as rule_of
from pipelines.swe.filters import Facts, IsTest
from pipelines.swe.trees import ObjectStore
from warehouse.records import Source, content_id, to_json
from warehouse.settings import Settings

Kind = Literal["merge", "squash", "commit"]
DEFAULT_KINDS: tuple[Kind, ...] = ("merge", "squash")

_SQUASH = re.compile(r"\(#\d+\)\s*$")
_NUMBER = re.compile(r"^Merge pull request #(\d{1,9})\b|\(#(\d{1,9})\)\s*$")
# lines of a message that describe the commit and not the change; in order, all are taken out
NOT_THE_CHANGE: tuple[re.Pattern[str], ...] = (
    re.compile(r"^Merge (pull request|branch|remote-tracking branch|tag|commit)\b.*$", re.M),
    re.compile(r"^Merged in .* \(pull request #\d+\)$", re.M),
    re.compile(r"^[A-Z][A-Za-z]+(-[A-Za-z]+)*-(by|on|to|Id|RevId|id): .*$", re.M),
    re.compile(r"^(Cc|See merge request|Pull-Request|PR|Bug|Issue):? [^ ]+$", re.M),
    re.compile(
        r"^(Closes|Fixes|Resolves|Refs?|See|Part of):? (?>(#|GH-|[A-Z]+-|https?://)\S+[, ]*(and )?)+\.?$",
        re.M | re.I,
    ),
    re.compile(r"^\(cherry picked from commit [0-9a-f]+\)$", re.M),
    re.compile(r"^[-*]{3,}$", re.M),
)


@dataclass(frozen=True)
class Clone:
    """An opened clone: its repository, its name, and whether commits are missing at its bottom."""

    path: Path
    repository: pygit2.Repository
    repo: str
    url: str
    shallow: frozenset[str]


def mine(
    path: str,
    settings: Settings,
    *,
    is_test: IsTest,
    since: datetime | None = None,
    until: datetime | None = None,
    kinds: Collection[str] = DEFAULT_KINDS,
    branch: str | None = None,
) -> Iterator[Mined]:
    """Candidates of the clone at `path`, newest first.

    Raises SourceError when `path` is no clone that can be read.
    """
    clone = open_clone(path)
    store = _store(clone, settings)
    seen = 0
    for commit in first_parents(clone, _tip(clone, branch)):
        when = commit_date(commit)
        if since is not None and when < since:
            return
        kind = kind_of_commit(commit)
        if kind not in kinds or (until is not None and when >= until):
            continue
        seen += 1
        yield _mined(clone, commit, store, settings, is_test)
    if seen == 0 and clone.shallow:
        raise SourceError(
            f"{path} is a shallow clone and holds no {' or '.join(kinds)} with its parent: "
            "run `git fetch --unshallow` in it, then the same command again."
        )


def path_rule(path: str, settings: Settings, branch: str | None = None) -> IsTest:
    """Which paths are tests, by the toolchain that the newest tree is of; by Python's where it is of none.

    Raises SourceError when `path` is no clone that can be read.
    """
    clone = open_clone(path)
    return rule_of(_store(clone, settings), str(_tip(clone, branch).tree_id))


def open_clone(path: str) -> Clone:
    """Open a worktree or a bare repository for reading."""
    folder = Path(path).expanduser()
    if urlsplit(path).scheme in ("http", "https", "ssh", "git", "ext", "file") or re.match(
        r"^[^/]+@[^/]+:", path
    ):
        raise SourceError(f"{path} is an address, but only local clones are read: clone it, name the folder.")
    if not folder.is_dir():
        raise SourceError(f"There is no folder {path}: name a local clone.")
    try:
        repository = pygit2.Repository(str(folder), RepositoryOpenFlag.NO_SEARCH)
    except (pygit2.GitError, ValueError) as error:
        if "object format" in str(error):
            raise SourceError(
                f"{path} has SHA-256 object names, which cannot be read here: name another."
            ) from error
        raise SourceError(
            f"{path} is no git repository: name a folder with .git, or a bare clone."
        ) from error
    if repository.is_empty:
        raise SourceError(f"{path} is a git repository without commits: there is nothing to mine.")
    repo, url = _name(repository, folder)
    return Clone(folder.resolve(), repository, repo, url, _shallow_boundary(repository))


def first_parents(clone: Clone, tip: pygit2.Commit) -> Iterator[pygit2.Commit]:
    """Commits from `tip` back along first parents; a shallow clone's oldest has no parent and is left out."""
    commit: pygit2.Commit | None = tip
    while commit is not None and str(commit.id) not in clone.shallow:
        if commit.parent_ids:
            yield commit
        try:
            commit = commit.parents[0] if commit.parent_ids else None
        except (KeyError, pygit2.GitError) as error:
            raise SourceError(
                f"{clone.path} lacks the parent of {commit and commit.id}: the clone is damaged or partial; "
                "run `git fetch` or `git fsck` in it."
            ) from error


def kind_of_commit(commit: pygit2.Commit) -> Kind:
    if len(commit.parent_ids) > 1:
        return "merge"
    return "squash" if _SQUASH.search(subject(commit)) else "commit"


def subject(commit: pygit2.Commit) -> str:
    return message(commit).strip().partition("\n")[0].strip()


def message(commit: pygit2.Commit) -> str:
    """The message as text, whatever encoding the commit claims."""
    try:
        return commit.raw_message.decode(commit.message_encoding or "utf-8")
    except (LookupError, UnicodeDecodeError):
        return commit.raw_message.decode("latin-1")


def described(text: str) -> str:
    """What a message says of the change: without merge lines, trailers and the pull request's number."""
    for pattern in NOT_THE_CHANGE:
        text = pattern.sub("", text)
    first, _, rest = text.strip().partition("\n")
    return f"{_SQUASH.sub('', first).strip()}\n{rest}".strip()


def commit_date(commit: pygit2.Commit) -> datetime:
    zone = timezone(timedelta(minutes=commit.commit_time_offset))
    return datetime.fromtimestamp(commit.commit_time, zone).astimezone(UTC)


def _tip(clone: Clone, branch: str | None) -> pygit2.Commit:
    """The newest commit of `branch`; by default of the remote's default branch, else of HEAD."""
    names = ["refs/remotes/origin/HEAD", "HEAD"]
    if branch:
        names = [f"refs/heads/{branch}", f"refs/remotes/origin/{branch}"]
    for name in names:
        try:
            reference = clone.repository.lookup_reference(name)
            return reference.peel(pygit2.Commit)
        except (KeyError, ValueError, pygit2.GitError):
            continue
    wanted = f"a branch {branch!r}" if branch else "a default branch with commits"
    raise SourceError(
        f"{clone.path} has no {wanted.removeprefix('a ')}: check out the branch to mine, or name it."
    )


def _mined(
    clone: Clone, commit: pygit2.Commit, store: ObjectStore, settings: Settings, is_test: IsTest
) -> Mined:
    facts = _message_facts(commit)
    about = About(
        kind="git",
        repo=clone.repo,
        base_ref=str(commit.parent_ids[0]),
        gold_ref=str(commit.id),
        title=described(message(commit)).partition("\n")[0] or facts.subject,
        source_date=commit_date(commit),
        author=_author(commit).name,
        texts=lambda: _texts(commit),
    )
    try:
        trees = str(commit.parents[0].tree_id), str(commit.tree_id)
    except (KeyError, pygit2.GitError) as error:
        missing = Compared(about, facts, UNREAD, Refused("missing_objects", str(error)))
        return missing.mined(_source(clone, commit, UNREAD))
    compared = compare(store, trees, about, facts, is_test=is_test, settings=settings)
    return compared.mined(_source(clone, commit, compared.license))


def _message_facts(commit: pygit2.Commit) -> Facts:
    return Facts(
        subject(commit),
        f"{_author(commit).name} {_author(commit).email}",
        number=pull_request_number(subject(commit)),
    )


def _author(commit: pygit2.Commit) -> pygit2.Signature:
    """Who made the change: of a merge, which a program may have made, the author of what it merged."""
    if len(commit.parent_ids) == 2:
        with suppress(KeyError, pygit2.GitError):  # it is not in the clone
            return commit.parents[1].author
    return commit.author


def pull_request_number(subject: str) -> int | None:
    """The pull request that a merge or a squash names in its first line."""
    match = _NUMBER.search(subject)
    return int(match[1] or match[2]) if match else None


def _source(clone: Clone, commit: pygit2.Commit, license: licenses.License) -> Source:
    return Source(
        source_id=content_id("git", clone.repo, str(commit.id)),
        kind="git",
        url=clone.url,
        revision=str(commit.id),
        license=license.spdx,
        attribution=license.attribution or _author(commit).name,
        raw=to_json({"kind": kind_of_commit(commit), "license_evidence": license.evidence}),
    )


def _texts(commit: pygit2.Commit) -> tuple[str, ...]:
    """The message; of a merge without words of its own, the messages of what it merged, oldest first."""
    own = described(message(commit))
    if len(commit.parent_ids) < 2 or len(own.split()) >= 6:
        return (own,) if own else ()
    merged: list[str] = []
    current, stop = commit.parents[1], commit.parent_ids[0]
    while current.id != stop and len(merged) < 10 and len(current.parent_ids) == 1:
        merged.append(described(message(current)))
        current = current.parents[0]
    return tuple(text for text in [own, *reversed(merged)] if text)


def _store(clone: Clone, settings: Settings) -> ObjectStore:
    """Our own store for this clone, with the clone's objects as an alternate."""
    folder = _common_folder(clone.repository)
    store = settings.cache / "objects" / "git" / f"{content_id(str(folder))}.git"
    return ObjectStore.create(store, alternates=(folder / "objects",))


def _common_folder(repository: pygit2.Repository) -> Path:
    """The folder with the objects; of a linked worktree, the main clone's."""
    folder = Path(repository.path)
    common = folder / "commondir"
    return (folder / common.read_text().strip()).resolve() if common.is_file() else folder


def _shallow_boundary(repository: pygit2.Repository) -> frozenset[str]:
    listed = _common_folder(repository) / "shallow"
    return (
        frozenset(listed.read_text().split()) if repository.is_shallow and listed.is_file() else frozenset()
    )


def _name(repository: pygit2.Repository, folder: Path) -> tuple[str, str]:
    """owner/name and address of the remote, without credentials; else the folder's name and path."""
    try:
        url = repository.remotes["origin"].url or ""
    except (KeyError, ValueError):
        url = ""
    match = re.search(r"[/:]([^/:]+)/([^/]+?)(\.git)?/?$", url)
    if match and not Path(url).exists() and not url.startswith("file:"):
        return f"{match[1]}/{match[2]}", re.sub(r"//[^/@]*@", "//", url)
    name = folder.resolve().name
    return (folder.resolve().parent.name if name == ".git" else name.removesuffix(".git")), str(folder)
