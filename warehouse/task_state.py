"""Where each task stands now: one narrow row a task, derived from its record and its events.

`task_overview` reads this table, so counting a million tasks by status aggregates no events. It holds nothing
of its own: the loader computes the rows of every task that a transaction touched again from the facts, and a
test checks that the table equals the derivation over everything.

The latest event of a kind wins; of two at the same instant, the one later in a task's life, then the greater
value. A task without a status event is `built`: a record exists only once its environment does.
"""

from __future__ import annotations

import duckdb

LIFE = ("mined", "built", "validated", "certified", "published", "retired", "rejected")

_TOUCHED = "WHERE task_id IN (SELECT task_id FROM temp.touched)"


def derivation(only: str = "") -> str:
    """The SELECT that gives `task_state` from the facts, over all tasks or those that `only` (a WHERE clause)
    names.
    """
    life = ", ".join(f"'{status}'" for status in LIFE)
    return f"""
        WITH latest AS (
            SELECT task_id, event, value, reason, recorded_at
            FROM task_events {only}
            QUALIFY row_number() OVER (
                PARTITION BY task_id, event
                ORDER BY
                    recorded_at DESC,
                    coalesce(list_position([{life}], value), 0) DESC,
                    value DESC,
                    run_id DESC
            ) = 1
        ),
        present AS (
            SELECT
                task_id,
                any_value(value) FILTER (event = 'status') AS status,
                any_value(reason) FILTER (event = 'status') AS reason,
                any_value(recorded_at) FILTER (event = 'status') AS status_at,
                any_value(value) FILTER (event = 'split') AS split,
                any_value(value) FILTER (event = 'difficulty') AS difficulty
            FROM latest GROUP BY task_id
        )
        SELECT
            task_id, family, kind, repo, language,
            coalesce(status, 'built') AS status,
            difficulty, license, split,
            coalesce(reason, '') AS reason,
            statement_check,
            len(fail_to_pass) AS fail_to_pass,
            len(pass_to_pass) AS pass_to_pass,
            len(new_tests) AS new_tests,
            len(quarantined) AS quarantined,
            source_date,
            recorded_at,
            coalesce(status_at, recorded_at) AS status_at,
            run_id, candidate_id, environment_id, parent, bundle
        FROM (FROM tasks {only}) LEFT JOIN present USING (task_id)
    """


def update(con: duckdb.DuckDBPyConnection, sources: list[str]) -> None:
    """Bring the rows of all tasks named in `sources` (relations with a `task_id`) up to date."""
    if not sources:
        return
    union = " UNION ".join(f"SELECT task_id FROM {source}" for source in sources)
    con.execute(f"CREATE OR REPLACE TEMP TABLE touched AS {union}")
    con.execute(f"INSERT OR REPLACE INTO task_state BY NAME {derivation(_TOUCHED)}")
