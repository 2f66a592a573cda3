"""Answers that are kept with their ETag, so that asking again costs no quota while nothing has changed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warehouse.files import renamed_file
from warehouse.records import content_id


@dataclass(frozen=True)
class Kept:
    """An answer as it was given."""

    etag: str
    body: Any


class EtagCache:
    """A folder of answers, by what was asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, *asked: object) -> Kept | None:
        path = self._path(asked)
        try:
            kept = json.loads(path.read_text())
            return Kept(kept["etag"], kept["body"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None  # what cannot be read is asked for again

    def put(self, etag: str, body: Any, *asked: object) -> None:
        with renamed_file(self._path(asked)) as file:
            file.write_text(json.dumps({"asked": asked, "etag": etag, "body": body}))

    def _path(self, asked: tuple[object, ...]) -> Path:
        return self._folder / f"{content_id(*asked)}.json"
