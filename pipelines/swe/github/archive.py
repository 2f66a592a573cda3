"""GH Archive hours as a list of pull requests to ask for: which were closed, in which repository.

Only ids are taken from them. What an event says besides has changed over the years and is trimmed in recent
ones; GitHub itself is asked for everything else. DuckDB reads the compressed lines as they are.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import duckdb

from pipelines.swe.change import SourceError

_QUERY = """
    SELECT repo->>'$.name' AS name,
           list(
               DISTINCT coalesce((payload->>'$.number'), (payload->>'$.pull_request.number'))::BIGINT
           ) AS numbers
    FROM read_json(
        $files, format = 'newline_delimited', maximum_object_size = 67108864,
        columns = {type: 'VARCHAR', repo: 'JSON', payload: 'JSON'}
    )
    WHERE type = 'PullRequestEvent'
      AND (payload->>'$.action') IN ('closed', 'merged')
      -- absent from trimmed events; then GitHub tells whether it was merged
      AND coalesce((payload->>'$.pull_request.merged'), 'true') = 'true'
    GROUP BY name HAVING name IS NOT NULL
    ORDER BY len(numbers) DESC, name
"""


@lru_cache(maxsize=4)
def closed_pulls(files: tuple[Path, ...]) -> dict[str, tuple[int, ...]]:
    """Repository → numbers of pull requests closed in these hours, the busiest repository first.

    Raises SourceError `archive_unreadable`.
    """
    for file in files:
        if not file.is_file():
            raise SourceError(
                f"There is no file {file}: download an hour of GH Archive, name it.", "archive_unreadable"
            )
    try:
        with duckdb.connect() as con:
            rows = con.execute(_QUERY, {"files": [str(file) for file in files]}).fetchall()
    except duckdb.Error as error:
        said = str(error).strip().partition("\n")[0][:300]
        raise SourceError(
            f"{', '.join(map(str, files))}: no hour of GH Archive, one JSON event a line ({said}).",
            "archive_unreadable",
        ) from error
    return {name: tuple(sorted((n for n in numbers if n), reverse=True)) for name, numbers in rows}
