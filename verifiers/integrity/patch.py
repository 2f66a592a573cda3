"""Patches in git format from whole files: all that an attacker, or an honest agent, can hand in."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """What becomes of one path: its new bytes (None deletes it; of a link, its target) and git mode."""

    data: bytes | None
    mode: str = "100644"


def text(content: str) -> Change:
    return Change(content.encode())


def link(target: str) -> Change:
    return Change(target.encode(), "120000")


DELETED = Change(None)


def patch(base: Mapping[str, bytes], changes: Mapping[str, Change]) -> bytes:
    """The patch that makes `changes` to `base`. A file that becomes a link is deleted and made anew."""
    parts = []
    for path, change in sorted(changes.items()):
        old = base.get(path)
        if old is not None and (change.data is None or change.mode != "100644"):
            parts.append(_file(path, old, None, "100644"))
            old = None
        if change.data is not None and change.data != old:
            parts.append(_file(path, old, change.data, change.mode))
    return b"".join(parts)


def _file(path: str, old: bytes | None, new: bytes | None, mode: str) -> bytes:
    name = path.encode()
    head = b"diff --git a/%s b/%s\n" % (name, name)
    if old is None:
        head += b"new file mode %s\n" % mode.encode()
    if new is None:
        head += b"deleted file mode %s\n" % mode.encode()
    if b"\0" in (old or b"") + (new or b""):
        return head + _binary(old or b"", new or b"")
    before, after = _lines(old), _lines(new)
    if not before and not after:
        return head
    head += b"--- a/%s\n" % name if old is not None else b"--- /dev/null\n"
    head += b"+++ b/%s\n" % name if new is not None else b"+++ /dev/null\n"
    head += b"@@ -%d,%d +%d,%d @@\n" % (bool(before), len(before), bool(after), len(after))
    return head + b"".join(_marked(b"-", before)) + b"".join(_marked(b"+", after))


def _binary(old: bytes, new: bytes) -> bytes:
    """Both contents as literals, which git takes instead of lines."""
    objects = b"..".join(
        hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest().encode()
        for data in (old, new)
    )
    return b"index " + objects + b"\nGIT binary patch\n" + _literal(new) + _literal(old)


def _literal(data: bytes) -> bytes:
    packed = zlib.compress(data)
    lines = [b"literal %d\n" % len(data)]
    for start in range(0, len(packed), 52):
        piece = packed[start : start + 52]
        size = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[len(piece) - 1 :][:1]
        lines.append(size + base64.b85encode(piece, pad=True) + b"\n")
    return b"".join(lines) + b"\n"


def _lines(data: bytes | None) -> list[bytes]:
    """Split at newlines only: other line breaks are content."""
    if not data:
        return []
    lines = [line + b"\n" for line in data.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _marked(sign: bytes, lines: list[bytes]) -> list[bytes]:
    return [
        sign + line + (b"" if line.endswith(b"\n") else b"\n\\ No newline at end of file\n") for line in lines
    ]
