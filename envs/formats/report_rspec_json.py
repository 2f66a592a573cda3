"""RSpec's JSON report: one example by the file it stands in and its full description.

RSpec calls both `skip` and an expected failure pending; either way nothing was shown to work. Examples that
share one description in one file share one id: the worse counts.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

MESSAGE_CHARS = 2000
STATUSES = {"passed": "passed", "failed": "failed", "pending": "skipped"}


def parse(log: bytes, files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Examples of all files, in order of path; without files, of the document that ends the log."""
    texts = [files[path] for path in sorted(files)]
    if not texts:
        texts = [line for line in log.split(b"\n") if line.startswith(b'{"version"')][-1:]
    results: list[dict[str, Any]] = []
    for text in texts:
        try:
            report = json.loads(text.decode("utf-8", "replace"))
            results.extend(_example(example) for example in report["examples"])
            results.extend(filter(None, map(_broken, report.get("messages", []))))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a report of RSpec: {error!r}"[:300]) from None
    return results


_UNLOADED = re.compile(r"An error occurred while loading (?:\./)?(\S+)\.$", re.M)


def _broken(message: str) -> dict[str, Any] | None:
    """A file that could not be loaded: its examples are unknown. None for other messages."""
    if (of := _UNLOADED.search(message)) is None:
        return None
    name = of[1]
    said = message.strip()[:MESSAGE_CHARS]
    return {"id": name, "status": "error", "seconds": 0.0, "message": said, "collection": True}


def _example(example: dict[str, Any]) -> dict[str, Any]:
    file = str(example["file_path"])
    seconds = example.get("run_time") or 0.0
    thrown = example.get("exception") or {}
    said = thrown.get("message") or example.get("pending_message") or ""
    return {
        "id": f"{file[2:] if file.startswith('./') else file}::{example['full_description']}",
        "status": STATUSES.get(example["status"], "error"),
        "seconds": float(seconds) if isinstance(seconds, (int, float)) and math.isfinite(seconds) else 0.0,
        "message": str(said)[:MESSAGE_CHARS],
    }
