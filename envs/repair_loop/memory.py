"""What mended a project before: the next change of the same project most often breaks in the same way.

Submissions that worked are kept below the home, by language and project, and are tried before a model is
asked. They are only ever starting points: each is checked, built and smoked like one that was just submitted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from envs.repair_loop.proposal import Proposal
from warehouse.files import renamed_file
from warehouse.records import content_id
from warehouse.settings import Settings

KEPT = 3  # of one project, the last first


@dataclass(frozen=True)
class Memory:
    """One project's submissions."""

    path: Path

    @classmethod
    def of(cls, settings: Settings, language: str, name: str) -> Memory:
        return cls(settings.home / "repairs" / f"{content_id(language, name)}.json")

    def read(self, form: type[Proposal]) -> list[Proposal]:
        """What fits the present form; a file that is damaged or of another version is as good as none."""
        try:
            kept = json.loads(self.path.read_bytes())
            return [form.model_validate(told) for told in kept]
        except (FileNotFoundError, ValueError, TypeError, ValidationError):
            return []

    def add(self, proposal: Proposal) -> None:
        """Keep it first. Of two processes that write at once, one is heard."""
        had = [one for one in self.read(type(proposal)) if one != proposal]
        kept = [one.model_dump(mode="json", exclude_unset=True) for one in (proposal, *had)][:KEPT]
        with renamed_file(self.path) as temporary:
            temporary.write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")
