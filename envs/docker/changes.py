"""What a container's files are that its image's are not: asked of the daemon, never of the container."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import PurePosixPath

from docker import APIClient
from docker.errors import NotFound

from envs.docker import archive
from envs.sandbox import Changed, ContentRefused

MOST_FILES = 2_000
DELETED = 2  # of the daemon's kinds: 0 modified, 1 added


def changes(
    api: APIClient, container: str, under: str, *, keep: Callable[[str], bool], max_bytes: int
) -> dict[str, Changed]:
    """Files and links below `under` that differ from the image, by relative path.

    A folder that was removed stands for all that was in it. Raises ContentRefused.
    """
    found: dict[str, Changed] = {}
    left = max_bytes
    for entry in api.diff(container) or ():
        path = PurePosixPath(entry["Path"])
        if not path.is_relative_to(under) or str(path) == under:
            continue
        name = str(path.relative_to(under))
        if not keep(name):
            continue
        change = Changed(data=None) if entry["Kind"] == DELETED else _read(api, container, str(path), left)
        if change is None:
            continue
        found[name] = change
        left -= len(change.data or b"")
        if len(found) > MOST_FILES:
            raise ContentRefused(f"{under} in the sandbox has more than {MOST_FILES} changed files.")
    return found


def _read(api: APIClient, container: str, path: str, max_bytes: int) -> Changed | None:
    """A file or a link; None for a folder, and for what is gone again."""
    try:
        chunks, _ = api.get_archive(container, path)
    except NotFound:
        return None
    with closing(chunks):
        entry, data = archive.first(chunks, path, max_bytes=max_bytes)
    if entry.isdir():
        return None
    if entry.issym():
        return Changed(data=entry.linkname.encode("utf-8", "surrogateescape"), link=True)
    if not entry.isreg() or entry.issparse():
        raise ContentRefused(f"{path} in the sandbox is neither file nor link.")
    return Changed(data=data, executable=bool(entry.mode & 0o100))
