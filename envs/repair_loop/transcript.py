"""What was said in a repair, as JSON lines: kept as an artifact, whatever came of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Transcript:
    """Lines in the order of the conversation; `redacted` takes out what must not be stored."""

    redacted: Callable[[str], str]
    lines: list[str] = field(default_factory=list)

    def add(self, kind: str, **said: Any) -> None:
        self.lines.append(self.redacted(json.dumps({"kind": kind, **said}, ensure_ascii=False, default=str)))

    @property
    def data(self) -> bytes:
        return "".join(f"{line}\n" for line in self.lines).encode("utf-8", "replace")
