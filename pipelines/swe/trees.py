"""Trees of files in a bare object store: read, written, changed and compared as git does, without git.

Everything mined becomes a tree here first, whether it came out of an archive or a clone, so that renames,
binary patches, CRLF and names that are not UTF-8 have one meaning. Paths are `str` with surrogate escapes,
contents are bytes. Trees are read and written in git's raw format, because the objects of a hostile
repository may hold names that no ordinary API accepts; `admit` says which trees may go on to a sandbox.

The user's git configuration never applies: libgit2 is told not to look for it, and not to ask who owns a
clone, because reading runs nothing.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pygit2
from pygit2.enums import ConfigLevel, DeltaStatus, DiffFind, DiffOption, ObjectType

from pipelines.swe.change import Refused
from warehouse.errors import FactoryError

NO_OBJECT = pygit2.Oid(hex="0" * 40)
FILE, EXECUTABLE, LINK, FOLDER, SUBMODULE = 0o100644, 0o100755, 0o120000, 0o040000, 0o160000

for _level in (ConfigLevel.PROGRAMDATA, ConfigLevel.SYSTEM, ConfigLevel.XDG, ConfigLevel.GLOBAL):
    pygit2.settings.search_path[_level] = ""
pygit2.settings.owner_validation = False


class Entry(NamedTuple):
    """A file with its bytes; for a link, the bytes are its target."""

    mode: int
    data: bytes


class Blob(NamedTuple):
    """A file that is already in the store."""

    mode: int
    oid: str


@dataclass(frozen=True)
class TreeLimits:
    """Bounds of a tree that becomes a task's `/app`."""

    files: int = 20_000
    bytes: int = 256 << 20
    file_bytes: int = 32 << 20


@dataclass(frozen=True)
class Admitted:
    """A tree that may become a task, and what was left out of it."""

    tree: str
    notes: tuple[str, ...] = ()


def name_problem(path: str) -> str | None:
    """Why `path` must not be created on disk, or None. The rules are git's own, and a little stricter."""
    if not path or path.startswith("/"):
        return "absolute or empty path"
    if any(unicodedata.category(c) == "Cc" for c in path):
        return "control character in a name"
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return f"path component {part!r}"
        # what a case-folding, 8.3-shortening or dot-trimming file system would take for .git
        if part.rstrip(". ").lower() in (".git", "git~1"):
            return ".git inside the tree"
        if len(part.encode("utf-8", "surrogateescape")) > 255:
            return "name longer than 255 bytes"
    return "path longer than 1024 characters" if len(path) > 1024 else None


def link_escapes(path: str, target: str) -> bool:
    """Whether the link at `path` could lead out of the tree.

    `..` is accepted only in front: after a name it could climb out through another link.
    """
    if not target or target.startswith("/") or "\0" in target:
        return True
    parts = [part for part in target.split("/") if part not in ("", ".")]
    climbs = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    return ".." in parts[climbs:] or climbs > path.count("/")


class Tree(Mapping[str, bytes]):
    """A read-only view of a tree: path → bytes, read when asked for. Submodules are left out."""

    def __init__(self, store: ObjectStore, tree_id: str) -> None:
        self._store = store
        self._blobs = {path: blob for path, blob in store.walk(tree_id) if blob.mode != SUBMODULE}

    def __getitem__(self, path: str) -> bytes:
        return self._store.read(self._blobs[path].oid)

    def __iter__(self) -> Iterator[str]:
        return iter(self._blobs)

    def __len__(self) -> int:
        return len(self._blobs)

    def __contains__(self, path: object) -> bool:
        return path in self._blobs

    def blob(self, path: str) -> Blob:
        return self._blobs[path]

    def entry(self, path: str) -> Entry:
        return Entry(self._blobs[path].mode, self[path])

    @property
    def modes(self) -> dict[str, int]:
        """Git modes where they differ from a plain file's."""
        return {path: blob.mode for path, blob in self._blobs.items() if blob.mode != FILE}

    def is_link(self, path: str) -> bool:
        return self._blobs[path].mode == LINK

    def size(self, path: str) -> int:
        return self._store.size(self._blobs[path].oid)


class ObjectStore:
    """A bare git repository of our own. Writers may share it: objects are only added, under their hash."""

    def __init__(self, repository: pygit2.Repository) -> None:
        self.repository = repository
        self._parsed = lru_cache(maxsize=20_000)(self._parse)

    @property
    def path(self) -> Path:
        return Path(self.repository.path)

    @classmethod
    def create(cls, path: Path, *, alternates: tuple[Path, ...] = ()) -> ObjectStore:
        """Open the store at `path`, made first if need be. Objects of `alternates` are read too."""
        if not (path / "HEAD").exists():
            repository = pygit2.init_repository(str(path), bare=True)
            repository.config["core.abbrev"] = 40  # binary patches apply only with full object ids
        if alternates:
            listed = "".join(f"{alternate.resolve()}\n" for alternate in alternates)
            info = path / "objects" / "info" / "alternates"
            info.parent.mkdir(parents=True, exist_ok=True)
            if not info.exists() or info.read_text() != listed:
                info.write_text(listed)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> ObjectStore:
        try:
            return cls(pygit2.Repository(str(path)))
        except pygit2.GitError as error:
            raise FactoryError(
                f"The object store {path} cannot be opened ({error}); mine its source again."
            ) from error

    def write(self, data: bytes) -> str:
        return self._add(ObjectType.BLOB, data)

    def read(self, oid: str) -> bytes:
        return self._object(oid, ObjectType.BLOB)

    def size(self, oid: str) -> int:
        try:
            return self.repository.odb.read_header(pygit2.Oid(hex=oid))[1]
        except KeyError as error:
            raise Refused("missing_objects", f"object {oid} is not in the clone") from error

    def tree(self, tree_id: str) -> Tree:
        return Tree(self, tree_id)

    def walk(self, tree_id: str, prefix: str = "") -> Iterator[tuple[str, Blob]]:
        """Every file, link and submodule below a tree, in git's order."""
        for name, mode, oid in self._parsed(tree_id):
            if mode == FOLDER:
                yield from self.walk(oid, f"{prefix}{name}/")
            else:
                yield prefix + name, Blob(mode, oid)

    def write_tree(self, files: Mapping[str, Entry | Blob]) -> str:
        return self.replace(None, files)

    def replace(self, tree_id: str | None, changes: Mapping[str, Entry | Blob | None]) -> str:
        """The tree with the files of `changes` put in place; None removes one. Unchanged folders are shared.

        Raises Refused("path_conflict") where a file would have to be a folder too.
        """
        nested: _Changes = {}
        for path, value in changes.items():
            *folders, name = path.split("/")
            level = nested
            for folder in folders:
                level = level.setdefault(folder, _Change()).below
            level.setdefault(name, _Change()).set(value)
        return self._apply(tree_id, nested, "") or self._write_raw({})

    def diff(self, base: str, gold: str) -> bytes:
        """The patch from one tree to another, in git's format with full ids, binary literals and renames."""
        diff = self._diff(base, gold, DiffOption.SHOW_BINARY)
        patches = sorted((patch for patch in diff if patch is not None), key=_apply_order)
        return b"".join(map(_patch_text, patches))

    def deltas(self, base: str, gold: str) -> list[tuple[str, str | None, str | None]]:
        """(status letter, old path, new path) of every file that differs; renames are 'R'."""
        found = []
        for delta in self._diff(base, gold, DiffOption.NORMAL).deltas:
            old, new = _text(delta.old_file.raw_path), _text(delta.new_file.raw_path)
            letter = delta.status_char()
            found.append((letter, None if letter == "A" else old, None if letter == "D" else new))
        return found

    def changed_paths(self, base: str, gold: str) -> set[str]:
        """Every path that differs; no file is read."""
        files = (file for delta in self._deltas(base, gold) for file in (delta.old_file, delta.new_file))
        return {_text(file.raw_path) for file in files}

    def changed_bytes(self, base: str, gold: str) -> int:
        """Bytes of the files that differ, of each the larger side; contents are not read."""
        return sum(
            max(self.size(str(file.id)) for file in (d.old_file, d.new_file) if file.id != NO_OBJECT)
            for d in self._deltas(base, gold)
            if SUBMODULE not in (d.old_file.mode, d.new_file.mode)
        )

    def _deltas(self, base: str, gold: str) -> Iterator[pygit2.DiffDelta]:
        try:
            old, new = self.repository[base].peel(pygit2.Tree), self.repository[gold].peel(pygit2.Tree)
            yield from old.diff_to_tree(new).deltas
        except (KeyError, pygit2.GitError) as error:
            raise Refused(
                "missing_objects", f"{base[:12]}..{gold[:12]} cannot be compared: {error}"
            ) from error

    def _diff(self, base: str, gold: str, flags: DiffOption) -> pygit2.Diff:
        try:
            old, new = self.repository[base].peel(pygit2.Tree), self.repository[gold].peel(pygit2.Tree)
            diff = old.diff_to_tree(new, flags)
            diff.find_similar(DiffFind.FIND_RENAMES)
        except (KeyError, pygit2.GitError) as error:
            raise Refused(
                "missing_objects", f"{base[:12]}..{gold[:12]} cannot be compared: {error}"
            ) from error
        return diff

    def _object(self, oid: str, kind: ObjectType) -> bytes:
        try:
            found, data = self.repository.odb.read(pygit2.Oid(hex=oid))
        except (KeyError, pygit2.GitError) as error:
            raise Refused("missing_objects", f"object {oid} is not in the clone") from error
        if found != kind:
            raise Refused("corrupt_objects", f"object {oid} is not a {kind.name.lower()}")
        return data

    def _parse(self, tree_id: str) -> tuple[tuple[str, int, str], ...]:
        data = self._object(tree_id, ObjectType.TREE)
        entries, at = [], 0
        while at < len(data):
            nul = data.index(b"\0", at)
            mode, _, name = data[at:nul].partition(b" ")
            entries.append((_text(name), int(mode, 8), data[nul + 1 : nul + 21].hex()))
            at = nul + 21
        return tuple(entries)

    def _write_raw(self, entries: Mapping[str, tuple[int, str]]) -> str:
        # git sorts a folder as if its name ended with a slash
        ordered = sorted(
            (_bytes(name) + b"/" * (mode == FOLDER), name) for name, (mode, _) in entries.items()
        )
        raw = b"".join(
            b"%o %s\0%s" % (entries[name][0], _bytes(name), bytes.fromhex(entries[name][1]))
            for _, name in ordered
        )
        return self._add(ObjectType.TREE, raw)

    def _add(self, kind: ObjectType, data: bytes) -> str:
        # libgit2 would touch the file of an object that is there already, and that may be the user's
        oid = hashlib.sha1(b"%s %d\0" % (kind.name.lower().encode(), len(data)) + data, usedforsecurity=False)
        if pygit2.Oid(raw=oid.digest()) not in self.repository.odb:
            self.repository.odb.write(kind, data)
        return oid.hexdigest()

    def _apply(self, tree_id: str | None, changes: _Changes, prefix: str) -> str | None:
        """The changed tree, or None when nothing is left in it."""
        entries = {name: (mode, oid) for name, mode, oid in self._parsed(tree_id)} if tree_id else {}
        for name, change in changes.items():
            path = prefix + name
            old = entries.pop(name, None)
            folder = old[1] if old and old[0] == FOLDER else None
            if change.below:
                folder = self._apply(folder, change.below, f"{path}/")
            file = old if old and old[0] != FOLDER and not change.is_set else None
            if change.value is not None:
                file = self._stored(change.value)
            if file and folder:
                raise Refused("path_conflict", f"{path} would be both a file and a folder")
            if file:
                entries[name] = file
            elif folder:
                entries[name] = (FOLDER, folder)
        return self._write_raw(entries) if entries else None

    def _stored(self, value: Entry | Blob) -> tuple[int, str]:
        return (value.mode, self.write(value.data)) if isinstance(value, Entry) else (value.mode, value.oid)


class _Change:
    """What happens to one name: a new file (or its removal), changes below it, or both."""

    def __init__(self) -> None:
        self.is_set = False
        self.value: Entry | Blob | None = None
        self.below: _Changes = {}

    def set(self, value: Entry | Blob | None) -> None:
        self.is_set, self.value = True, value


_Changes = dict[str, _Change]


def admit(store: ObjectStore, tree_id: str, limits: TreeLimits | None = None) -> Admitted:
    """Check that a tree may become a task's files; submodules are taken out and noted.

    Raises Refused: `bad_path`, `symlink_escape`, `too_many_files`, `too_large`, `missing_objects`.
    """
    limits = limits or TreeLimits()
    total, files = 0, 0
    submodules: list[str] = []
    for path, blob in store.walk(tree_id):
        if problem := name_problem(path):
            raise Refused("bad_path", f"{path!r}: {problem}")
        if blob.mode == SUBMODULE:
            submodules.append(path)
            continue
        files, size = files + 1, store.size(blob.oid)
        total += size
        if files > limits.files:
            raise Refused("too_many_files", f"more than {limits.files} files")
        if size > limits.file_bytes or total > limits.bytes:
            raise Refused("too_large", f"{path} brings the tree to {total} bytes (file: {size})")
        if blob.mode == LINK and (size > 4096 or link_escapes(path, _text(store.read(blob.oid)))):
            raise Refused("symlink_escape", f"{path} leads out of the tree")
    tree = store.replace(tree_id, dict.fromkeys(submodules)) if submodules else tree_id
    return Admitted(tree, tuple(f"submodule {path} left out" for path in submodules))


def decode(data: bytes) -> str:
    """Text for people: UTF-8 where it is, else Latin-1, which accepts everything. Line ends become \\n."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _patch_text(patch: pygit2.Patch) -> bytes:
    # libgit2 ends an exact rename of a binary file with "Binary files differ", which no tool can apply
    if patch.delta.old_file.id == patch.delta.new_file.id:
        return patch.data.partition(b"\nBinary files ")[0].rstrip(b"\n") + b"\n"
    return patch.data


def _apply_order(patch: pygit2.Patch) -> tuple[bytes, bool]:
    # a file that becomes a link is a removal and an addition of one path, in the order `git apply` wants
    return patch.delta.new_file.raw_path, patch.delta.status == DeltaStatus.ADDED
