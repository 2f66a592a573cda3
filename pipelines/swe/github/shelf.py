"""What GitHub has told of one repository's pull requests, kept on disk, and how far the listing has come.

A listing runs from the pull request updated last to the oldest. What it has covered is a stack of spans,
newest first: each begins at the newest update it saw and ends at a cursor from which it can go on. A run
begins a new span at the top; when it meets what is known, the two become one, and it goes on at the lower
one's cursor. So a listing that was stopped anywhere, any number of times, has no gap and asks for no page
twice.

Lines are appended before the cursor is put in place: a kill in between repeats one page and loses none. A
torn last line is left out. One process at a time holds a shelf.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from pipelines.swe.change import SourceError
from pipelines.swe.github.pulls import Detailed, Listed
from warehouse.files import renamed_file


@dataclass
class Span:
    """A stretch of the listing: from the update time `newest` down to the cursor `after`, or to its end."""

    newest: str
    after: str | None
    ended: bool


@dataclass(frozen=True)
class Page:
    """One page of a listing."""

    pulls: tuple[Listed, ...]
    after: str | None
    ended: bool


class Shelf:
    """The pull requests of one repository. Use `Shelf.held`."""

    def __init__(self, folder: Path) -> None:
        self._lines = folder / "pulls.jsonl"
        self._cursor = folder / "cursor.json"
        self._pulls: dict[int, Listed] = {}
        self._spans = self._read_spans()
        self._read_lines()

    @classmethod
    @contextmanager
    def held(cls, folder: Path) -> Generator[Shelf]:
        """The shelf in `folder`. Raises SourceError `in_use` while another process holds it."""
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SourceError(
                    f"Another verifactory lists {folder.parent.name}/{folder.name} into this home: "
                    "wait for it.",
                    "in_use",
                ) from error
            yield cls(folder)
        finally:
            os.close(descriptor)

    def get(self, number: int) -> Listed | None:
        return self._pulls.get(number)

    def all(self) -> list[Listed]:
        return list(self._pulls.values())

    def add(self, pulls: Iterable[Listed]) -> None:
        """Keep `pulls`; a listing's line does not replace the details of the same update."""
        fresh = [pull for pull in pulls if not self._covers(pull)]
        if fresh:
            with self._lines.open("a", encoding="utf-8") as file:
                for pull in fresh:
                    self._pulls[pull.number] = pull
                    file.write(pull.model_dump_json(by_alias=True) + "\n")
                file.flush()
                os.fsync(file.fileno())

    def listing(self, page_after: Callable[[str | None], Page]) -> Iterator[tuple[tuple[Listed, ...], bool]]:
        """(pull requests that are new here, whether known ground was met), page by page."""
        span: Span | None = None
        while span is None or not span.ended:
            page = page_after(span.after if span else None)
            if span is None:
                if not page.pulls:
                    return
                span = Span(page.pulls[0].updated_at.isoformat(), None, False)
                self._spans.insert(0, span)
            fresh, met = self._until_known(page)
            self.add(fresh)
            span.after, span.ended = page.after, page.ended
            if met:
                below = self._spans.pop(1)
                span.after, span.ended = below.after, below.ended
            self._save()
            yield fresh, met

    def forget_cursors(self) -> None:
        """Begin the next listing at the top again, because GitHub no longer knows where it stopped."""
        self._spans = []
        self._save()

    def _until_known(self, page: Page) -> tuple[tuple[Listed, ...], bool]:
        """The page down to the first pull request that the span below has seen in its present state."""
        below = self._spans[1] if len(self._spans) > 1 else None
        if below is None:
            return page.pulls, False
        newest = datetime.fromisoformat(below.newest)
        for i, pull in enumerate(page.pulls):
            if pull.updated_at < newest or (pull.updated_at == newest and self._covers(pull)):
                return page.pulls[:i], True
        return page.pulls, False

    def _covers(self, pull: Listed) -> bool:
        known = self._pulls.get(pull.number)
        return (
            known is not None
            and known.updated_at >= pull.updated_at
            and (isinstance(known, Detailed) or not isinstance(pull, Detailed))
        )

    def _read_lines(self) -> None:
        if not self._lines.exists():
            return
        whole = self._lines.read_bytes()
        kept = whole[: whole.rfind(b"\n") + 1]
        if len(kept) < len(whole):
            os.truncate(self._lines, len(kept))
        for line in kept.splitlines():
            try:
                found = json.loads(line)
                pull = (Detailed if "commits" in found else Listed).model_validate(found)
            except (ValueError, ValidationError):
                self._spans = []  # what is lost is listed again
                continue
            self._pulls[pull.number] = pull

    def _read_spans(self) -> list[Span]:
        try:
            return [Span(**span) for span in json.loads(self._cursor.read_text())]
        except (FileNotFoundError, ValueError, TypeError):
            return []

    def _save(self) -> None:
        with renamed_file(self._cursor) as file:
            file.write_text(json.dumps([asdict(span) for span in self._spans]))
