"""Decontamination: benchmark tasks, and what is near to them, must not become tasks here.

A list names them, one a line: `owner/name` is a whole repository, `owner__name-123` or `owner/name#123` one
pull request of it, forty hex digits a commit. A table (Parquet, JSON lines, CSV) is read by its columns:
`instance_id` names pull requests, `base_commit` the commit before one, and where there is no `instance_id`,
`repo` names repositories; a benchmark's `patch` with its `problem_statement` also rules out what is near to
them, however it is called.

A change that does not tell which pull request it was, such as a release, is measured by the repository
alone, and one whose repository has no owner by the name: better one task too few than one that leaks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from pipelines.swe.duplicates import Index, Signature
from warehouse.errors import FactoryError

_REPOSITORY = re.compile(r"^([\w.-]+)/([\w.-]+)$")
_INSTANCE = re.compile(r"^([A-Za-z0-9][A-Za-z0-9_-]*?)(?:__|/)([\w.-]+?)(?:-|#)(\d+)$")
_COMMIT = re.compile(r"^[0-9a-f]{40}$", re.I)
READERS = {
    ".parquet": "read_parquet($file)",
    ".jsonl": "read_json($file, format = 'newline_delimited')",
    ".json": "read_json($file)",
    ".csv": "read_csv($file, all_varchar = true)",
}
COLUMNS = ("instance_id", "repo", "base_commit", "patch", "problem_statement")


@dataclass
class Exclusions:
    """What is ruled out. Names are in lower case, as GitHub compares them."""

    repositories: set[str] = field(default_factory=set)
    instances: dict[tuple[str, int], str] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)
    bases: dict[str, str] = field(default_factory=dict)
    texts: Index = field(default_factory=Index)

    @classmethod
    def read(cls, files: Sequence[Path]) -> Exclusions:
        """Raises FactoryError for a file that cannot be read or names nothing."""
        found = cls()
        for file in files:
            if not file.is_file():
                raise FactoryError(
                    f"There is no file {file}: --exclude takes a list of benchmark ids or a table."
                )
            if reader := READERS.get(file.suffix.lower()):
                found._add_table(file, reader)
            else:
                found._add_list(file)
        return found

    def named(self, repo: str, number: int | None, base_ref: str, gold_ref: str) -> str | None:
        """What of the list names this change: by its repository, its pull request or its commits."""
        for listed in self.repositories:
            if _same(repo, listed):
                return listed
        base, gold = base_ref.lower(), gold_ref.lower()
        if known := self.commits.get(gold) or self.commits.get(base) or self.bases.get(base):
            return known
        for (listed, listed_number), known in self.instances.items():
            if (number is None or number == listed_number) and _same(repo, listed):
                return known
        return None

    def _add_list(self, file: Path) -> None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (UnicodeDecodeError, OSError) as error:
            raise FactoryError(
                f"{file} is no text: --exclude takes a list of ids, or {', '.join(READERS)}."
            ) from error
        for number, line in enumerate(lines, start=1):
            entry = line.partition(" #")[0].strip()
            if entry and not entry.startswith("#") and not self._add_entry(entry, entry):
                raise FactoryError(
                    f"{file}, line {number}: {entry[:80]!r} is no owner/name, no owner__name-123, no "
                    "owner/name#123 and no commit."
                )

    def _add_entry(self, entry: str, known_as: str) -> bool:
        if _COMMIT.match(entry):
            self.commits[entry.lower()] = known_as
        elif match := _INSTANCE.match(entry):
            self.instances[f"{match[1]}/{match[2]}".lower(), int(match[3])] = known_as
        elif _REPOSITORY.match(entry):
            self.repositories.add(entry.lower())
        else:
            return False
        return True

    def _add_table(self, file: Path, reader: str) -> None:
        try:
            with duckdb.connect() as con:
                described = con.execute(f"DESCRIBE SELECT * FROM {reader}", {"file": str(file)}).fetchall()
                there = [column for column in COLUMNS if column in {row[0] for row in described}]
                if not {"instance_id", "repo"} & set(there):
                    raise FactoryError(
                        f"{file} has neither a column instance_id nor repo: name the ids in one."
                    )
                chosen = ", ".join(f"CAST({column} AS VARCHAR)" for column in there)
                cursor = con.execute(f"SELECT {chosen} FROM {reader}", {"file": str(file)})
                while rows := cursor.fetchmany(1000):
                    for row in rows:
                        self._add_row(dict(zip(there, row, strict=True)))
        except duckdb.Error as error:
            said = str(error).strip().partition("\n")[0][:300]
            raise FactoryError(f"{file} cannot be read as a table of benchmark ids: {said}") from error

    def _add_row(self, row: dict[str, str | None]) -> None:
        instance, repo = row.get("instance_id"), row.get("repo")
        if instance is None:
            if repo:
                self.repositories.add(repo.lower())
            return
        self._add_entry(instance, instance)
        if commit := row.get("base_commit"):
            self.bases[commit.lower()] = instance
        if patch := row.get("patch"):
            self.texts.add(instance, Signature.of(row.get("problem_statement") or "", patch))


def _same(repo: str, listed: str) -> bool:
    """Whether `repo` is the listed repository; a name without an owner is compared without it."""
    repo = repo.lower()
    return repo == listed if "/" in repo else repo == listed.rpartition("/")[2]
