"""A source tree as the languages see it, and as it enters an image: read-only, and packed the same way
every time.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

EXECUTABLE, LINK = 0o100755, 0o120000
AGENT = 1000  # uid and gid that own /app


@dataclass(frozen=True)
class Tree(Mapping[str, bytes]):
    """Content by relative path. `files` may read lazily; nobody keeps what they read.

    `modes` holds git modes where they differ from 0o100644; of a symbolic link (0o120000) the content is its
    target.
    """

    files: Mapping[str, bytes]
    modes: Mapping[str, int] = field(default_factory=dict)

    def __getitem__(self, path: str) -> bytes:
        return self.files[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __contains__(self, path: object) -> bool:
        return path in self.files

    def text(self, path: str) -> str:
        """Content as text; '' when there is no such file. Foreign encodings lose characters, never the
        file.
        """
        return self.files[path].decode("utf-8", "replace") if path in self.files else ""


def pack(tree: Tree) -> bytes:
    """The tree as a tar whose bytes depend on nothing but the tree: names sorted, times and owners fixed."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder in sorted({folder for path in tree for folder in _folders(path)}):
            tar.addfile(_entry(folder, tarfile.DIRTYPE, 0o755))
        for path in sorted(tree):
            mode, data = tree.modes.get(path, 0), tree[path]
            if mode == LINK:
                entry = _entry(path, tarfile.SYMTYPE, 0o777)
                entry.linkname = data.decode("utf-8", "surrogateescape")
                tar.addfile(entry)
            else:
                entry = _entry(path, tarfile.REGTYPE, 0o755 if mode == EXECUTABLE else 0o644)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def _folders(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.uid, entry.gid, entry.mtime = kind, mode, AGENT, AGENT, 946_684_800
    return entry
