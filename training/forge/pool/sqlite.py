"""The embedded pool: one SQLite file that any number of processes of one machine write to.

Every call is one transaction on a write-ahead log. A process that is killed leaves a whole log: what was
committed is there, what was not is not. Writers commit without waiting for the disk (the operating system has
the bytes, so killing processes loses nothing); the scheduler's commits wait for it, and everything committed
before by anybody is then on disk too. So a power cut may lose the last completions, never a batch, and what a
batch is made of is on disk before it.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from training.forge.pool.pool import LOST, STOPPED, Overdue, PoolClosed, PoolConflict, PoolTimeout, State
from training.forge.pool.records import OUTCOME, Batch, Completion, Reward, Trajectory
from training.forge.scheduler.queue import Group
from warehouse.errors import FactoryError, storage_error

FORMAT = 1
BUSY_SECONDS = 60.0
POLL_SECONDS = 0.05
_SCHEMA = files("training.forge.pool").joinpath("schema.sql").read_text()

NEVER_ENDED, NO_REWARD = "never_ended", "reward_never_came"


class SqlitePool:
    """A pool in the file `path`. One object serves the threads of one process, one at a time."""

    def __init__(
        self, path: Path, *, batch: int = 1, samples: int = 1, durable: bool = False, create: bool = True
    ) -> None:
        """`batch` groups a step, of `samples` each; they are fixed when the pool is made. With `durable`
        each commit waits for the disk: the scheduler's way. Raises FactoryError."""
        self.path = path
        self._lock = threading.Lock()
        if not create and not path.exists():
            raise FactoryError(f"There is no pool {path}; name the file that the run has made.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._write_ahead()
            self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._db.execute("PRAGMA mmap_size=268435456")
        except OSError as error:
            raise storage_error(error, path) from error
        except sqlite3.Error as error:
            raise FactoryError(f"The pool {path} cannot be opened: {error}; name another file.") from error
        with self._transaction() as db:
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            fresh = (FORMAT, batch, samples, 0, 0, 0, 0)
            db.execute("INSERT OR IGNORE INTO meta VALUES (1, ?, ?, ?, ?, ?, ?, ?)", fresh)
            found = db.execute("SELECT format, batch, samples FROM meta").fetchone()
        if found[0] != FORMAT:
            raise FactoryError(
                f"The pool {path} has format {found[0]}, this is for {FORMAT}; use its version."
            )
        self.batch_size, self.samples = found[1], found[2]

    @property
    def name(self) -> str:
        return f"pool {self.path}"

    def close(self) -> None:
        self._db.close()

    def _write_ahead(self) -> None:
        """Switches to the write-ahead log. SQLite refuses at once, without the connection's patience, while
        another process opens the same file; so the patience is here."""
        began = time.monotonic()
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() - began > BUSY_SECONDS:
                    raise
            time.sleep(POLL_SECONDS)

    @contextmanager
    def _transaction(self, *, write: bool = True) -> Generator[sqlite3.Connection]:
        """All or nothing; a writer waits for others at most BUSY_SECONDS."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            except sqlite3.OperationalError as error:
                raise self._failed(error) from error
            try:
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._failed(error) from error
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def _failed(self, error: sqlite3.Error) -> FactoryError:
        if "locked" in str(error) or "busy" in str(error):
            return PoolTimeout(
                f"Another process has held the {self.name} for {BUSY_SECONDS:g} s; see which one hangs."
            )
        if "full" in str(error):
            return FactoryError(f"The disk of the {self.name} is full; free some space, then go on.")
        return FactoryError(f"The {self.name} failed: {error}; mend that and go on, nothing kept is lost.")

    # -- writers

    def open(self, group: int, sample: int, *, lost: str = LOST) -> str:
        with self._transaction() as db:
            running = db.execute(
                "SELECT started >= 0 AND finished IS NULL AND NOT dropped FROM groups WHERE grp = ?", (group,)
            ).fetchone()
            if not running or not running[0] or not 0 <= sample < self.samples:
                raise PoolClosed(f"Sample {sample} of group {group} is not running in the {self.name}.")
            (attempt,) = db.execute(
                "SELECT coalesce(max(attempt) + 1, 0) FROM attempts WHERE grp = ? AND sample = ?",
                (group, sample),
            ).fetchone()
            db.execute(
                "UPDATE attempts SET latest = 0, ended = coalesce(ended, ?), reason = coalesce(reason, ?) "
                "WHERE grp = ? AND sample = ? AND latest", (time.time(), lost, group, sample),
            )  # fmt: skip
            trajectory = f"g{group}-s{sample}-a{attempt}"
            db.execute(
                "INSERT INTO attempts (trajectory, grp, sample, attempt, opened) VALUES (?, ?, ?, ?, ?)",
                (trajectory, group, sample, attempt, time.time()),
            )
        return trajectory

    def add(self, completions: Iterable[Completion]) -> None:
        rows = [(c.trajectory, c.turn, c.facts(), c.arrays()) for c in completions]
        with self._transaction() as db:
            for row in rows:
                self._stranger(db, row[0])
                if self._kept(
                    db, "completions", "trajectory = ? AND turn = ?", row[:2], "facts, arrays", row[2:]
                ):
                    continue
                if db.execute("SELECT ended FROM attempts WHERE trajectory = ?", row[:1]).fetchone()[0]:
                    raise PoolClosed(f"Trajectory {row[0]} of the {self.name} has ended; it takes no turn.")
                db.execute("INSERT INTO completions VALUES (?, ?, ?, ?)", row)

    def end(self, trajectory: str, reason: str = "") -> None:
        with self._transaction() as db:
            self._stranger(db, trajectory)
            db.execute(
                "UPDATE attempts SET ended = ?, reason = ? WHERE trajectory = ? AND ended IS NULL",
                (time.time(), reason, trajectory),
            )

    def reward(self, rewards: Iterable[Reward]) -> None:
        with self._transaction() as db:
            for given in rewards:
                key, row = (given.trajectory, given.name), (given.turn, given.score, given.evidence)
                self._stranger(db, given.trajectory)
                if self._kept(
                    db, "rewards", "trajectory = ? AND name = ?", key, "turn, score, evidence", row
                ):
                    continue
                settled = db.execute(
                    "SELECT excused OR finished IS NOT NULL FROM attempts LEFT JOIN groups USING (grp) "
                    "WHERE trajectory = ?", key[:1],
                ).fetchone()  # fmt: skip
                if settled[0]:
                    raise PoolClosed(
                        f"Trajectory {key[0]} of the {self.name} is settled; it takes no reward."
                    )
                db.execute("INSERT INTO rewards VALUES (?, ?, ?, ?, ?)", (*key, *row))
                if given.name == OUTCOME:
                    db.execute("UPDATE attempts SET judged = 1 WHERE trajectory = ?", key[:1])

    def _stranger(self, db: sqlite3.Connection, trajectory: str) -> None:
        """A trajectory that nobody opened belongs to no group."""
        db.execute(
            "INSERT OR IGNORE INTO attempts (trajectory, attempt, opened) VALUES (?, 0, ?)",
            (trajectory, time.time()),
        )

    def _kept(
        self, db: sqlite3.Connection, table: str, where: str, key: tuple, columns: str, row: tuple
    ) -> bool:
        """Whether this very row is there. Raises PoolConflict where another has its key."""
        found = db.execute(f"SELECT {columns} FROM {table} WHERE {where}", key).fetchone()
        if found is not None and found != row:
            raise PoolConflict(f"The {self.name} has other {table} under {key}; two writers share a name.")
        return found is not None

    # -- readers

    def trajectory(self, trajectory: str) -> Trajectory:
        with self._transaction(write=False) as db:
            found = db.execute(
                "SELECT grp, sample, attempt, ended, reason FROM attempts WHERE trajectory = ?", (trajectory,)
            ).fetchone()
            if found is None:
                raise FactoryError(f"The {self.name} has no trajectory {trajectory!r}.")
            turns = db.execute(
                "SELECT turn, facts, arrays FROM completions WHERE trajectory = ? ORDER BY turn",
                (trajectory,),
            ).fetchall()
            rewards = db.execute(
                "SELECT name, score, turn, evidence FROM rewards WHERE trajectory = ? ORDER BY name",
                (trajectory,),
            ).fetchall()
        return Trajectory(
            trajectory=trajectory,
            group=found[0],
            sample=found[1],
            attempt=found[2],
            ended=found[3] is not None,
            reason=found[4] or "",
            completions=tuple(Completion.read(trajectory, *turn) for turn in turns),
            rewards=tuple(Reward(trajectory, *reward) for reward in rewards),
        )

    def ended(self) -> list[str]:
        with self._transaction(write=False) as db:
            rows = db.execute(
                "SELECT trajectory FROM attempts WHERE latest AND judged AND ended IS NOT NULL "
                "ORDER BY grp, sample, trajectory"
            ).fetchall()
        return [row[0] for row in rows]

    def missing(self, group: int) -> list[int]:
        with self._transaction(write=False) as db:
            settled = db.execute(
                "SELECT sample FROM attempts WHERE grp = ? AND latest AND ended IS NOT NULL "
                "AND (judged OR excused OR coalesce(reason, '') <> ?)", (group, STOPPED),
            ).fetchall()  # fmt: skip
        return sorted(set(range(self.samples)) - {row[0] for row in settled})

    def batch(self, step: int) -> Batch | None:
        with self._transaction(write=False) as db:
            return self._batch(db, step)

    def _batch(self, db: sqlite3.Connection, step: int) -> Batch | None:
        head = db.execute("SELECT trained FROM batches WHERE step = ?", (step,)).fetchone()
        if head is None:
            return None
        rows = db.execute(
            "SELECT grp, trajectories FROM members WHERE step = ? ORDER BY place", (step,)
        ).fetchall()
        return Batch(
            step=step,
            groups=tuple(row[0] for row in rows),
            trajectories=tuple(tuple(json.loads(row[1])) for row in rows),
            trained=head[0] is not None,
        )

    def wait_batch(self, step: int, seconds: float) -> Batch:
        ends = time.monotonic() + seconds
        while (found := self.batch(step)) is None:
            if time.monotonic() >= ends:
                raise PoolTimeout(
                    f"The scheduler of the {self.name} committed no batch for step {step} "
                    f"within {seconds:g} s."
                )
            time.sleep(POLL_SECONDS)
        return found

    # -- the scheduler

    def overdue(self, *, end_seconds: float, reward_seconds: float) -> list[Overdue]:
        now = time.time()
        with self._transaction() as db:
            waiting = (
                "SELECT trajectory FROM attempts "
                "WHERE latest AND grp IS NOT NULL AND NOT judged AND NOT excused"
            )
            endless = db.execute(
                f"{waiting} AND ended IS NULL AND opened < ?", (now - end_seconds,)
            ).fetchall()
            silent = db.execute(f"{waiting} AND ended < ?", (now - reward_seconds,)).fetchall()
            found = [Overdue(row[0], NEVER_ENDED) for row in endless]
            found += [Overdue(row[0], NO_REWARD) for row in silent]
            for given in found:
                db.execute(
                    "UPDATE attempts SET excused = 1, ended = coalesce(ended, ?), "
                    "reason = coalesce(nullif(reason, ''), ?) WHERE trajectory = ?",
                    (now, given.reason, given.trajectory),
                )
        return found

    def settle(self, only: Sequence[int] | None = None) -> list[int]:
        with self._transaction() as db:
            ready = db.execute(
                "SELECT grp FROM groups CROSS JOIN attempts USING (grp) "
                "WHERE finished IS NULL AND NOT dropped AND started >= 0 AND latest "
                "AND ended IS NOT NULL AND (judged OR excused) "
                "GROUP BY grp HAVING count(*) = ? ORDER BY max(ended), grp", (self.samples,),
            ).fetchall()  # fmt: skip
            groups = [row[0] for row in ready]
            if only is not None:
                groups = [group for group in only if group in set(groups)]
            for group in groups:
                db.execute("UPDATE meta SET finishes = finishes + 1")
                db.execute("UPDATE groups SET finished = (SELECT finishes FROM meta) WHERE grp = ?", (group,))
        return groups

    def state(self) -> State:
        with self._transaction(write=False) as db:
            version, offered, closed = db.execute("SELECT version, offered, closed FROM meta").fetchone()
            rows = db.execute(
                "SELECT grp, prompt, predicted, passed, started, finished IS NOT NULL FROM groups "
                "WHERE NOT dropped AND (step IS NULL OR step >= ?) "
                "ORDER BY finished IS NULL, finished, grp", (version,),
            ).fetchall()  # fmt: skip
            pending = self._batch(db, version)
        return State(
            batch=self.batch_size,
            samples=self.samples,
            version=version,
            offered=offered,
            closed=bool(closed),
            groups=tuple(Group(*row[:5], finished=bool(row[5])) for row in rows),
            taken=pending.groups if pending else (),
        )

    def keep(self, groups: Sequence[Group], *, version: int, offered: int, closed: bool) -> None:
        rows = [(g.index, g.prompt, g.predicted, g.passed, g.started) for g in groups]
        with self._transaction() as db:
            db.execute(
                "UPDATE meta SET version = ?, offered = ?, closed = ?", (version, offered, int(closed))
            )
            db.executemany(
                "INSERT INTO groups (grp, prompt, predicted, passed, started) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (grp) DO UPDATE SET passed = excluded.passed, started = excluded.started", rows,
            )  # fmt: skip

    def restart(self, group: Group) -> None:
        """A running group starts anew: its attempts are lost, and it may have finished no more."""
        with self._transaction() as db:
            db.execute(
                "UPDATE attempts SET latest = 0, ended = coalesce(ended, ?), reason = coalesce(reason, ?) "
                "WHERE grp = ? AND latest", (time.time(), LOST, group.index),
            )  # fmt: skip
            db.execute(
                "UPDATE groups SET started = ?, finished = NULL WHERE grp = ?", (group.started, group.index)
            )

    def drop(self, groups: Sequence[Group]) -> None:
        with self._transaction() as db:
            db.executemany("UPDATE groups SET dropped = 1 WHERE grp = ?", [(g.index,) for g in groups])

    def take(self, step: int, groups: Sequence[int]) -> Batch:
        with self._transaction() as db:
            there = self._batch(db, step)
            if there is not None and there.groups != tuple(groups):
                raise PoolConflict(
                    f"Step {step} of the {self.name} has another batch; two schedulers use it."
                )
            if there is None:
                db.execute("INSERT INTO batches (step, taken) VALUES (?, ?)", (step, time.time()))
            for place, group in enumerate(() if there else groups):
                ready = db.execute(
                    "SELECT finished IS NOT NULL AND step IS NULL AND NOT dropped FROM groups WHERE grp = ?",
                    (group,),
                ).fetchone()
                if not ready or not ready[0]:
                    raise PoolConflict(f"Group {group} of the {self.name} is not ready for step {step}.")
                names = db.execute(
                    "SELECT trajectory FROM attempts WHERE grp = ? AND latest ORDER BY sample", (group,)
                ).fetchall()
                members = json.dumps([name[0] for name in names])
                db.execute("INSERT INTO members VALUES (?, ?, ?, ?)", (step, place, group, members))
                db.execute("UPDATE groups SET step = ? WHERE grp = ?", (step, group))
            taken = self._batch(db, step)
        assert taken is not None
        return taken

    def trained(self, step: int) -> None:
        with self._transaction() as db:
            (version,) = db.execute("SELECT version FROM meta").fetchone()
            if step < version:
                return  # replayed after a kill
            if step > version or self._batch(db, step) is None:
                raise PoolConflict(
                    f"Step {step} of the {self.name} was not taken; it is at version {version}."
                )
            db.execute("UPDATE batches SET trained = ? WHERE step = ?", (time.time(), step))
            db.execute("UPDATE meta SET version = ?", (step + 1,))

    def forget(self, before: int) -> int:
        """Removes the tokens of what steps before this one took; how many completions. Facts stay."""
        with self._transaction() as db:
            return db.execute(
                "DELETE FROM completions WHERE trajectory IN (SELECT trajectory FROM attempts "
                "JOIN groups USING (grp) WHERE step < ?)", (before,),
            ).rowcount  # fmt: skip
