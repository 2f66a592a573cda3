"""Mini-projects, one a language, of our own writing: see `test_toolchain_contract`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

NAMES = tuple(sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem != "__init__"))


def diff(files: Mapping[str, str], changed: Mapping[str, str]) -> str:
    """A patch in git's format that turns `files` into what `changed` says of them."""
    text = ""
    for path, after in changed.items():
        before = files.get(path)
        text += f"diff --git a/{path} b/{path}\n"
        text += "" if before is not None else "new file mode 100644\n"
        old = f"a/{path}" if before is not None else "/dev/null"
        text += "".join(
            difflib.unified_diff((before or "").splitlines(True), after.splitlines(True), old, f"b/{path}")
        )
    return text
