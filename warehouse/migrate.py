"""Bringing a warehouse file to the schema of this program.

Migrations are `migrations/NNNN_name.sql`, applied in order, each in one transaction with its row in
`schema_version`. A released migration never changes. `views.sql` holds no data and is run again whenever its
text differs (version 0).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

import duckdb

from warehouse.errors import FactoryError

VIEWS_VERSION = 0


@dataclass(frozen=True)
class Migration:
    """One script and its place in the order."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """All migrations of this program, in order."""
    scripts = sorted(
        (f for f in files("warehouse").joinpath("migrations").iterdir() if f.name.endswith(".sql")),
        key=lambda f: f.name,
    )
    return [Migration(int(f.name[:4]), f.name[5:-4], f.read_text("utf-8")) for f in scripts]


def views() -> Migration:
    return Migration(VIEWS_VERSION, "views", files("warehouse").joinpath("views.sql").read_text("utf-8"))


def migrate(con: duckdb.DuckDBPyConnection) -> None:
    """Apply what is missing to the current database of `con`. Raises FactoryError if a newer program wrote
    it.
    """
    con.execute(
        "CREATE TABLE IF NOT EXISTS schema_version "
        "(version BIGINT PRIMARY KEY, name VARCHAR NOT NULL, sha256 VARCHAR NOT NULL, "
        "applied_at TIMESTAMPTZ NOT NULL)"
    )
    applied = dict(con.execute("SELECT version, sha256 FROM schema_version").fetchall())
    known = migrations()
    if max(applied, default=0) > known[-1].version:
        raise FactoryError(
            f"The warehouse has schema version {max(applied)} and this program knows {known[-1].version}; "
            "install the newer verifactory that wrote it."
        )
    changed = False
    for migration in known:
        if migration.version not in applied:
            _apply(con, migration)
            changed = True
    if changed or applied.get(VIEWS_VERSION) != views().sha256:
        _apply(con, views())


def _apply(con: duckdb.DuckDBPyConnection, migration: Migration) -> None:
    con.execute("BEGIN")
    try:
        con.execute(migration.sql)
        con.execute(
            "INSERT OR REPLACE INTO schema_version VALUES (?, ?, ?, now())",
            [migration.version, migration.name, migration.sha256],
        )
        con.execute("COMMIT")
    except BaseException:
        con.execute("ROLLBACK")
        raise
