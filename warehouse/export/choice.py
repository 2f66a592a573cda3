"""Which tasks an export holds, and what is true of them together: splits, works, what was left out.

Every layout chooses here. The user's predicate runs only in a locked reader and yields task ids; the
connection that reads their rows and writes files never sees it, so no way of writing it lets another task
in. A choice sees one snapshot, whatever a loader does meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Generator, Iterable
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa

from warehouse.database import first_line, open_snapshot
from warehouse.errors import FactoryError
from warehouse.export.split import HELD_OUT_SHARE, assign
from warehouse.files import TEMPORARY
from warehouse.query import Reader
from warehouse.settings import Settings

# A clone's path on this machine tells a reader elsewhere nothing; an address does.
_WORKS = """
    SELECT t.repo, t.license, t.attribution,
        coalesce(string_agg(DISTINCT s.url, ', ' ORDER BY s.url)
            FILTER (s.kind <> 'git' OR contains(s.url, '://')), '') AS source,
        coalesce(string_agg(DISTINCT c.gold_ref, ', ' ORDER BY c.gold_ref), '') AS revisions,
        list(t.task_id ORDER BY t.task_id) AS tasks
    FROM chosen JOIN tasks t USING (task_id)
    LEFT JOIN candidates c USING (candidate_id) LEFT JOIN sources s USING (source_id)
    GROUP BY ALL ORDER BY t.repo, t.license, t.attribution
"""


@dataclass(frozen=True)
class Work:
    """A work that tasks are derived from, and the right to use it."""

    repo: str
    license: str
    attribution: str
    source: str
    revisions: str
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Contents:
    """What an export holds; never nothing. `skipped` has the ids of what was left out, by reason."""

    query: str
    snapshot: str
    splits: dict[str, int]
    split_note: str
    skipped: dict[str, tuple[str, ...]]
    works: tuple[Work, ...]

    @property
    def rows(self) -> int:
        return sum(self.splits.values())


@dataclass
class Choice:
    """Tasks being chosen: the table `picked` on `con` holds them until `settle` makes the table `chosen`."""

    con: duckdb.DuckDBPyConnection
    query: str
    snapshot: str
    share: float
    skipped: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def ids(self) -> list[str]:
        """The tasks picked so far."""
        return [task for (task,) in self.con.execute("SELECT task_id FROM picked ORDER BY 1").fetchall()]

    def leave_out(self, reason: str, ids: Iterable[str]) -> None:
        """Take tasks out again, and remember why."""
        left = tuple(sorted(ids))
        self.skipped[reason] = (*self.skipped.get(reason, ()), *left)
        self.con.execute("DELETE FROM picked WHERE task_id IN (SELECT unnest($ids))", {"ids": list(left)})

    def settle(self) -> Contents:
        """Assign the splits: `chosen` has task_id and split. Raises FactoryError if no task is left."""
        found = self.con.execute("SELECT DISTINCT repo, recorded FROM picked").fetchall()
        if not found:
            told = "; ".join(f"{reason}: {len(ids)}" for reason, ids in self.skipped.items())
            raise FactoryError(
                f"Every task that was chosen had to be left out ({told}), so nothing was exported; "
                "choose more tasks."
            )
        assignment = assign(found, self.share)
        by_repo = pa.table(
            {
                "repo": pa.array(assignment.by_repo.keys(), pa.string()),
                "by_hash": pa.array(assignment.by_repo.values(), pa.string()),
            }
        )
        self.con.register("repo_splits", by_repo)
        self.con.execute(
            "CREATE TEMP TABLE chosen AS SELECT task_id, coalesce(recorded, by_hash) AS split "
            "FROM picked LEFT JOIN repo_splits USING (repo)"
        )
        splits = self.con.execute("SELECT split, count(*) FROM chosen GROUP BY 1 ORDER BY 1").fetchall()
        works = self.con.execute(_WORKS).fetchall()
        return Contents(
            query=self.query,
            snapshot=self.snapshot,
            splits=dict(splits),
            split_note=assignment.note,
            skipped=self.skipped,
            works=tuple(Work(*facts, tuple(tasks)) for *facts, tasks in works),
        )


@contextmanager
def choose(
    settings: Settings, where: str, *, statuses: Collection[str] = (), share: float = HELD_OUT_SHARE
) -> Generator[Choice]:
    """The tasks for which `where`, a predicate over `task_overview`, holds, and whose status is one of
    `statuses`, if any are given.

    Raises FactoryError if `where` is no predicate or nothing fits, and for what DuckDB fails at meanwhile.
    """
    query = f"SELECT task_id FROM task_overview WHERE ({where}\n)"  # the newline ends a comment in `where`
    try:
        with _pinned(settings) as snapshot:
            with Reader(snapshot) as reader:
                ids = reader.arrow(f"SELECT DISTINCT task_id FROM ({query}\n)")
                snapshot_id = reader.snapshot_id()
            with closing(open_snapshot(snapshot, locked=False)) as con:
                con.register("ids", ids)
                con.execute(
                    "CREATE TEMP TABLE picked AS SELECT task_id, repo, split AS recorded "
                    "FROM ids JOIN task_state USING (task_id) "
                    "WHERE len($statuses) = 0 OR status IN $statuses",
                    {"statuses": list(statuses)},
                )
                choice = Choice(con, query, snapshot_id, share)
                if statuses:
                    choice.query += f" AND status IN ({', '.join(map(repr, statuses))})"
                if not con.execute("SELECT 1 FROM picked LIMIT 1").fetchone():
                    raise FactoryError(
                        f"No {''.join(f'{status} ' for status in statuses)}task fits {where!r}, so nothing "
                        "was exported; `verifactory tasks ls` shows what there is."
                    )
                yield choice
    except duckdb.Error as error:
        raise FactoryError(f"The export failed: {first_line(error)}; nothing was written.") from error


@contextmanager
def _pinned(settings: Settings) -> Generator[Path]:
    """The snapshot under a second name, so that a loader that replaces it does not change it under an
    export.
    """
    pin = settings.home / f"{TEMPORARY}{uuid4().hex}.duckdb"
    if settings.snapshot.exists():
        os.link(settings.snapshot, pin)
    try:
        yield pin if pin.exists() else settings.snapshot
    finally:
        pin.unlink(missing_ok=True)
