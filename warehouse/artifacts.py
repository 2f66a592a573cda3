"""Bytes kept beside the warehouse, named by what they are: `artifacts/<first two digits>/<sha256>.zst`.

The name is the sha256 of the bytes themselves; on disk they are zstd-compressed, as most are logs. The same
bytes are stored once, and what is read back is checked against its name.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa

from warehouse.errors import FactoryError, storage_error
from warehouse.files import renamed_file
from warehouse.records import Artifact
from warehouse.settings import Settings


class ArtifactStore:
    """Content-addressed store. Any number of processes may write to it at once."""

    def __init__(self, where: Settings | Path) -> None:
        self.root = where if isinstance(where, Path) else where.artifacts

    def put(self, data: bytes, kind: str) -> Artifact:
        """Store `data` and return its record, which the caller appends to the outbox."""
        sha256 = hashlib.sha256(data).hexdigest()
        target = self._path(sha256)
        if not target.exists():
            try:
                with (
                    renamed_file(target) as temporary,
                    pa.CompressedOutputStream(str(temporary), "zstd") as stream,
                ):
                    stream.write(data)
            except OSError as error:
                raise storage_error(error, self.root) from error
        return Artifact(sha256=sha256, kind=kind, size_bytes=len(data))

    def get(self, sha256: str) -> bytes:
        """The bytes named `sha256`. Raises FactoryError if they are missing or damaged."""
        path = self._path(sha256)
        if not path.exists():
            raise FactoryError(f"There is no artifact {sha256} under {self.root}.")
        try:
            with pa.CompressedInputStream(str(path), "zstd") as stream:
                data = stream.read()
        except OSError as error:
            raise FactoryError(f"Artifact {path} is damaged and cannot be read: {error}.") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise FactoryError(f"Artifact {path} is damaged: its bytes are not those it is named after.")
        return data

    def _path(self, sha256: str) -> Path:
        if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
            raise FactoryError(f"{sha256!r} is not a sha256 in lower-case hex digits.")
        return self.root / sha256[:2] / f"{sha256}.zst"
