"""Files into and out of a sandbox, as tar streams.

What comes out was written by code nobody has read: only regular files and folders are taken, with plain
relative names, within bounds on bytes and on number, and nothing is ever unpacked onto the host's disk
here.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from envs.sandbox import ContentRefused
from warehouse.errors import FactoryError

MAX_FILES = 100_000
SPOOL = 32 << 20
_FILE_OVERHEAD = 4096  # a tar header, its extended header and padding


def _entry(
    name: str, *, size: int = 0, mode: int, owner: tuple[int, int], folder: bool = False
) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name.lstrip("/"))
    entry.type = tarfile.DIRTYPE if folder else tarfile.REGTYPE
    entry.size, entry.mode = size, mode
    entry.uid, entry.gid = owner
    return entry


def _checked(name: str) -> str:
    path = PurePosixPath(name)
    if not path.is_absolute() or ".." in path.parts or path == PurePosixPath("/"):
        raise FactoryError(f"Files go into a sandbox by absolute path without '..'; {name!r} is none.")
    return str(path)


def pack(files: Mapping[str, bytes | Path], *, owner: tuple[int, int], mode: int) -> IO[bytes]:
    """A tar of `files` relative to `/`.

    Folders that are uploaded whole keep their files' modes, and no links.
    """
    packed = tempfile.SpooledTemporaryFile(max_size=SPOOL)  # noqa: SIM115 - the caller closes it
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            target = _checked(name)
            if isinstance(content, bytes):
                tar.addfile(_entry(target, size=len(content), mode=mode, owner=owner), io.BytesIO(content))
            elif content.is_dir():
                _pack_folder(tar, target, content, owner)
            else:
                _pack_file(tar, target, content, mode, owner)
    packed.seek(0)
    return packed


def _pack_file(tar: tarfile.TarFile, target: str, source: Path, mode: int, owner: tuple[int, int]) -> None:
    try:
        with source.open("rb") as file:
            size = source.stat().st_size
            tar.addfile(_entry(target, size=size, mode=mode, owner=owner), file)
    except OSError as error:
        raise FactoryError(f"{source} could not be read for the sandbox: {error.strerror}.") from error


def _pack_folder(tar: tarfile.TarFile, target: str, source: Path, owner: tuple[int, int]) -> None:
    tar.addfile(_entry(target, mode=0o755, owner=owner, folder=True))
    for path in sorted(source.rglob("*")):
        inside = f"{target}/{path.relative_to(source).as_posix()}"
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise FactoryError(f"{path} is neither file nor folder: links are not copied into a sandbox.")
        if path.is_dir():
            tar.addfile(_entry(inside, mode=0o755, owner=owner, folder=True))
        else:
            _pack_file(tar, inside, path, 0o755 if path.stat().st_mode & 0o100 else 0o644, owner)


class _Bounded(io.RawIOBase):
    """A readable over chunks that refuses to give more than `limit` bytes."""

    def __init__(self, chunks: Iterable[bytes], limit: int, path: str) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)
        self._left, self._path, self._rest = limit, path, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # ty: ignore[incompatible-method-override]
        if not self._rest:
            self._rest = next(self._chunks, b"")
        taken = self._rest[: len(buffer)]
        self._left -= len(taken)
        if self._left < 0:
            raise ContentRefused(f"{self._path} in the sandbox is larger than allowed.")
        self._rest = self._rest[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)


def unpack(chunks: Iterable[bytes], path: str, *, max_bytes: int) -> dict[str, bytes]:
    """Regular files of a tar whose first entry is `path` itself, by name relative to it (a lone file: its own
    name).
    """
    stream = io.BufferedReader(_Bounded(chunks, max_bytes + MAX_FILES * _FILE_OVERHEAD, path))
    files: dict[str, bytes] = {}
    total = 0
    top: str | None = None
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for number, entry in enumerate(tar):
                if number > MAX_FILES:
                    raise ContentRefused(f"{path} in the sandbox holds more than {MAX_FILES} files.")
                if top is None:
                    top = entry.name.rstrip("/")
                if entry.isdir():
                    continue
                name = _relative(entry, top, path)
                total += entry.size
                if total > max_bytes:
                    raise ContentRefused(f"{path} in the sandbox holds more than {max_bytes} bytes.")
                if name in files:
                    raise ContentRefused(f"{path} in the sandbox was sent with {name!r} twice.")
                reader = tar.extractfile(entry)
                assert reader is not None
                files[name] = reader.read()
    except tarfile.TarError as error:
        raise ContentRefused(f"{path} in the sandbox could not be read: {error}.") from error
    return files


def first(chunks: Iterable[bytes], path: str, *, max_bytes: int) -> tuple[tarfile.TarInfo, bytes]:
    """The first entry of a tar, which is `path` itself, and its content if it is a file."""
    stream = io.BufferedReader(_Bounded(chunks, max_bytes + 16 * _FILE_OVERHEAD, path))
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            entry = tar.next()
            if entry is None:
                raise ContentRefused(f"{path} in the sandbox was sent as nothing.")
            if entry.size > max_bytes:
                raise ContentRefused(f"{path} in the sandbox holds more than {max_bytes} bytes.")
            reader = tar.extractfile(entry) if entry.isreg() else None
            return entry, reader.read() if reader is not None else b""
    except tarfile.TarError as error:
        raise ContentRefused(f"{path} in the sandbox could not be read: {error}.") from error


def _relative(entry: tarfile.TarInfo, top: str, path: str) -> str:
    """The plain name of a regular file below `top`; refuses everything else."""
    if not entry.isreg() or entry.issparse():
        raise ContentRefused(
            f"{path} in the sandbox holds {entry.name!r}, which is a link or device, not a file."
        )
    if entry.name == top:
        return PurePosixPath(top).name
    name = entry.name.removeprefix(f"{top}/")
    plain = PurePosixPath(name)
    if name == entry.name or plain.is_absolute() or ".." in plain.parts or "\0" in name or str(plain) != name:
        raise ContentRefused(f"{path} in the sandbox holds a file named {entry.name!r}, outside of it.")
    return name
