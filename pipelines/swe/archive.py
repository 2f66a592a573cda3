"""Source archives, read as if an enemy had made them.

An archive goes member by member from its stream into an object store; nothing is ever unpacked onto a
disk. Names, links, types, sizes and the compression ratio are checked before the bytes are kept, and at
most one member is in memory. What looks like an attack ends as `archive_hostile`, what is damaged as
`archive_corrupt`, both `Refused` with the member at fault.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from pipelines.swe.change import Refused
from pipelines.swe.trees import EXECUTABLE, FILE, LINK, Blob, ObjectStore, link_escapes, name_problem

_OPENERS: tuple[tuple[str, Callable[[BinaryIO], Any]], ...] = (
    (".tar.gz", lambda raw: gzip.GzipFile(fileobj=raw)),
    (".tgz", lambda raw: gzip.GzipFile(fileobj=raw)),
    (".tar.bz2", bz2.BZ2File),
    (".tbz", bz2.BZ2File),
    (".tar.xz", lzma.LZMAFile),
    (".tar", lambda raw: raw),
)
SUFFIXES = (*(suffix for suffix, _ in _OPENERS), ".zip")

_CHUNK = 1 << 20
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error, ValueError,
    NotImplementedError, RuntimeError,
)  # fmt: skip


@dataclass(frozen=True)
class ArchiveLimits:
    """Bounds of one archive. Real source archives stay far below them."""

    archive_bytes: int = 64 << 20
    members: int = 20_000
    member_bytes: int = 32 << 20
    total_bytes: int = 256 << 20
    header_bytes: int = 1 << 20
    ratio: int = 200
    ratio_from_bytes: int = 8 << 20


def read_archive(path: Path, store: ObjectStore, limits: ArchiveLimits | None = None) -> str:
    """The tree of the archive's files, without its top folder.

    Raises Refused("archive_hostile" | "archive_corrupt").
    """
    limits = limits or ArchiveLimits()
    with _damage_as_refusal(path):
        if path.stat().st_size > limits.archive_bytes:
            raise _hostile(f"larger than {limits.archive_bytes} bytes")
        collected = _Collected(store, limits)
        reader = _read_zip if path.name.lower().endswith(".zip") else _read_tar
        reader(path, collected, limits)
        return store.write_tree(collected.finish())


class _Collected:
    """The members accepted so far, by path with the top folder taken off."""

    def __init__(self, store: ObjectStore, limits: ArchiveLimits) -> None:
        self._store = store
        self._limits = limits
        self._blobs: dict[str, Blob] = {}
        self._folded: dict[str, str] = {}
        self._top: str | None = None
        self._members = 0
        self._bytes = 0

    def count(self, name: str) -> str | None:
        """Register one member; returns its path below the top folder, None for the top folder itself."""
        self._members += 1
        if self._members > self._limits.members:
            raise _hostile(f"more than {self._limits.members} members")
        name = name.rstrip("/")
        while name.startswith("./"):
            name = name[2:]
        if name in ("", "."):
            return None
        if "\\" in name:
            raise _hostile(f"{name!r}: backslash in a name")
        if problem := name_problem(name):
            raise _hostile(f"{name!r}: {problem}")
        top, _, path = name.partition("/")
        if self._top not in (None, top):
            raise Refused("archive_corrupt", f"no single top folder: {self._top!r} and {top!r}")
        self._top = top
        return path or None

    def size(self, name: str, size: int) -> None:
        """Refuse a declared size before a byte of it is read."""
        self._bytes += size
        if size < 0 or size > self._limits.member_bytes or self._bytes > self._limits.total_bytes:
            raise _hostile(f"{name!r} of {size} bytes is past the limits of one member or of the whole")

    def add(self, path: str, mode: int, data: bytes) -> None:
        if mode == LINK and link_escapes(path, data.decode("utf-8", "surrogateescape")):
            raise _hostile(f"{path!r}: link leads out of the archive")
        self._keep(path, Blob(mode, self._store.write(data)))

    def hardlink(self, path: str, target: str) -> None:
        """A hard link to an earlier file becomes a copy of it."""
        top, _, below = target.removeprefix("./").partition("/")
        if top != self._top or below not in self._blobs or self._blobs[below].mode == LINK:
            raise _hostile(f"{path!r}: hard link to {target!r}, which is no earlier file of the archive")
        self._keep(path, self._blobs[below])

    def _keep(self, path: str, blob: Blob) -> None:
        folded = path.casefold()
        if folded in self._folded:
            raise _hostile(f"{path!r} and {self._folded[folded]!r} are the same name")
        self._folded[folded] = path
        self._blobs[path] = blob

    def finish(self) -> dict[str, Blob]:
        for path in self._blobs:
            parts = path.split("/")
            for i in range(1, len(parts)):
                if (parent := "/".join(parts[:i])) in self._blobs:
                    raise _hostile(f"{path!r} lies below {parent!r}, which is not a folder")
        if not self._blobs:
            raise Refused("archive_corrupt", "no files in it")
        return self._blobs


class _Forward(io.RawIOBase):
    """A decompressed stream that only goes forward and enforces the limits on what comes out of it.

    tarfile reads extended headers whole, so a single read is bounded too; and a seek backwards, which a
    negative member size would ask for, is refused.
    """

    def __init__(self, stream: IO[bytes], compressed: IO[bytes], limits: ArchiveLimits) -> None:
        self._stream = stream
        self._compressed = compressed
        self._limits = limits
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or offset < self._at:
            raise _hostile("a header that points backwards")
        while self._at < offset and self.read(min(_CHUNK, offset - self._at)):
            pass
        return self._at

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= max(_CHUNK, self._limits.header_bytes):
            raise _hostile(f"a header of {size} bytes")
        data = self._stream.read(size)
        self._at += len(data)
        padding = 1024 * self._limits.members  # headers and padding of honest members
        if self._at > self._limits.total_bytes + padding:
            raise _hostile(f"more than {self._limits.total_bytes} bytes when unpacked")
        if (
            self._at > self._limits.ratio_from_bytes
            and self._at > self._limits.ratio * self._compressed.tell()
        ):
            raise _hostile(f"unpacks to more than {self._limits.ratio} times its size")
        return data


def _read_tar(path: Path, collected: _Collected, limits: ArchiveLimits) -> None:
    with path.open("rb") as raw, _decompressed(path, raw) as stream:
        forward = _Forward(stream, raw, limits)
        with tarfile.open(fileobj=forward, mode="r:", errorlevel=2) as archive:
            for member in archive:
                _tar_member(archive, member, collected)
        # tarfile ends quietly at a damaged header: after the last member only zeros may follow
        while rest := forward.read(_CHUNK):
            if rest.strip(b"\0"):
                raise Refused("archive_corrupt", "data after the last readable member")


def _tar_member(archive: tarfile.TarFile, member: tarfile.TarInfo, collected: _Collected) -> None:
    if member.name.startswith("/"):
        raise _hostile(f"{member.name!r}: absolute path")
    path = collected.count(member.name)
    if member.isdir():
        return
    if not (member.isreg() or member.issym() or member.islnk()) or member.issparse():
        raise _hostile(f"{member.name!r}: neither a plain file nor a link (type {member.type!r})")
    if path is None:
        raise Refused("archive_corrupt", f"{member.name!r} lies outside the top folder")
    if member.islnk():
        collected.hardlink(path, member.linkname)
    elif member.issym():
        collected.add(path, LINK, member.linkname.encode("utf-8", "surrogateescape"))
    else:
        collected.size(member.name, member.size)
        content = archive.extractfile(member)
        assert content is not None
        collected.add(path, _mode(member.mode), _exactly(content, member.size, member.name))


def _read_zip(path: Path, collected: _Collected, limits: ArchiveLimits) -> None:
    _check_zip_directory(path, limits)
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            _zip_member(archive, member, collected, limits)


def _zip_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, collected: _Collected, limits: ArchiveLimits
) -> None:
    name, mode = member.filename, member.external_attr >> 16
    path = collected.count(name)
    if member.is_dir():
        return
    if path is None:
        raise Refused("archive_corrupt", f"{name!r} lies outside the top folder")
    kind = stat.S_IFMT(mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFLNK):
        raise _hostile(f"{name!r}: neither a plain file nor a link")
    if member.flag_bits & 1:
        raise Refused("archive_corrupt", f"{name!r} is encrypted")
    collected.size(name, member.file_size)
    if member.file_size > limits.ratio_from_bytes and member.file_size > limits.ratio * max(
        member.compress_size, 1
    ):
        raise _hostile(f"{name!r} unpacks to more than {limits.ratio} times its size")
    with archive.open(member) as content:
        data = _exactly(content, member.file_size, name)
    collected.add(path, LINK if kind == stat.S_IFLNK else _mode(mode), data)


def _check_zip_directory(path: Path, limits: ArchiveLimits) -> None:
    """Refuse a directory that zipfile would hold without bound, and the 64-bit format altogether."""
    with path.open("rb") as file:
        length = file.seek(0, io.SEEK_END)
        file.seek(max(0, length - (1 << 16) - 22 - 20))
        tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
        raise Refused("archive_corrupt", "no zip directory at its end")
    (directory_bytes,) = struct.unpack_from("<L", tail, at + 12)
    if tail[:at].endswith(b"PK\6\7") or b"PK\6\7" in tail[max(0, at - 20) : at]:
        raise _hostile("a 64-bit zip directory in a small archive")
    if directory_bytes > 256 * limits.members:
        raise _hostile(f"a zip directory of {directory_bytes} bytes")


def _exactly(content: IO[bytes], size: int, name: str) -> bytes:
    """All `size` bytes of a member; one byte more or less is damage."""
    parts, left = [], size
    while left and (part := content.read(min(_CHUNK, left))):
        parts.append(part)
        left -= len(part)
    if left:
        raise Refused("archive_corrupt", f"{name!r} ends {left} bytes early")
    return b"".join(parts)


def _mode(permissions: int) -> int:
    return EXECUTABLE if permissions & 0o100 else FILE


def _decompressed(path: Path, raw: BinaryIO) -> IO[bytes]:
    for suffix, opener in _OPENERS:
        if path.name.lower().endswith(suffix):
            return opener(raw)
    raise Refused("archive_corrupt", f"{path.name} is no kind of source archive that is known here")


@contextmanager
def _damage_as_refusal(path: Path) -> Generator[None]:
    """Whatever the parsers say of damaged bytes becomes a refusal; a missing file or a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        raise Refused("archive_corrupt", f"{path.name}: {error}") from error
    except _DAMAGE as error:
        raise Refused("archive_corrupt", f"{path.name}: {type(error).__name__}: {error}") from error


def _hostile(detail: str) -> Refused:
    return Refused("archive_hostile", detail)
