"""What lies beside the data files of an export: dataset card, rights, manifest.

The text in them was mined, so it is cut to one line, stripped of escapes and escaped for Markdown. Only
licence identifiers that look like SPDX ids reach the card's YAML header.
"""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from warehouse.query import plain
from warehouse.records import Shard

FORMAT = 1
"""Version of manifest.json."""

_SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)

_WORKS = """
    SELECT t.repo, t.license, t.attribution, any_value(s.url) AS url,
        string_agg(DISTINCT c.gold_ref, ', ' ORDER BY c.gold_ref) AS revisions, count(*) AS tasks,
        min(t.task_id) AS example
    FROM chosen t LEFT JOIN candidates c USING (candidate_id) LEFT JOIN sources s USING (source_id)
    GROUP BY ALL ORDER BY t.repo, t.license, t.attribution
"""


def write(
    con: duckdb.DuckDBPyConnection,
    folder: Path,
    splits: dict[str, int],
    shards: Sequence[Shard],
    bundles: Path,
) -> None:
    """Complete an export whose data files are written and whose rows are in the table `chosen`."""
    works = con.execute(_WORKS).fetchall()
    notice = ["The tasks of this export are derived from these works. Each remains under its own licence.\n"]
    notice += table(
        ("work", "licence", "authors", "source", "revisions", "tasks"), (work[:6] for work in works)
    )
    (folder / "NOTICE.md").write_text("\n".join(notice) + "\n", encoding="utf-8")
    for repo, *_, example in works:
        _license_texts(bundles / example / "LICENSES", folder / "LICENSES" / _folder_name(repo))
    (folder / "README.md").write_text(_card(con, splits, shards), encoding="utf-8")
    _manifest(folder, splits, shards)


def _card(con: duckdb.DuckDBPyConnection, splits: dict[str, int], shards: Sequence[Shard]) -> str:
    licenses = con.execute(
        "SELECT license, count(DISTINCT repo), count(*) FROM chosen GROUP BY ALL ORDER BY 3 DESC, 1"
    ).fetchall()
    total = sum(splits.values())
    only = licenses[0][0] if len(licenses) == 1 else ""
    header = [f"license: {only.lower()}"] if _SPDX.fullmatch(only) else [
        "license: other", "license_name: mixed", "license_link: NOTICE.md"
    ]  # fmt: skip
    size = next((name for bound, name in _SIZES if total < bound), "n>10M")
    header += ["size_categories:", f"- {size}", "configs:", "- config_name: default", "  data_files:"]
    for split in splits:
        header += [f"  - split: {split}", f"    path: data/{split}-*.parquet"]
    lines = ["---", *header, "---", "", "# Verified tasks", ""]
    lines += [
        "One row a task: instruction, gold patch, hidden tests, and the tests that decide (`fail_to_pass`, "
        "`pass_to_pass`, `new_tests`). Made by verifactory; manifest.json tells the snapshot and query. "
        "No repository is in two splits unless an earlier decision put a task there.",
        "",
    ]
    lines += table(("split", "tasks"), splits.items())
    lines += ["", *table(("licence", "repositories", "tasks"), licenses)]
    lines += [
        "",
        "NOTICE.md names every work and its authors; LICENSES/ has the texts that sources shipped.",
        "",
    ]
    return "\n".join(lines)


def _manifest(folder: Path, splits: dict[str, int], shards: Sequence[Shard]) -> None:
    data = [folder / "data" / Path(shard.path).name for shard in shards]
    schema = pq.read_schema(data[0])
    content = {
        "format": FORMAT,
        "layout": "parquet",
        "query": shards[0].query,
        "snapshot": shards[0].snapshot,
        "rows": sum(splits.values()),
        "splits": splits,
        "schema": {name: str(schema.field(name).type) for name in schema.names},
        "files": [
            {"path": f"data/{path.name}", "rows": s.rows, "bytes": path.stat().st_size, "sha256": s.sha256}
            for path, s in zip(data, shards, strict=True)
        ],
    }
    (folder / "manifest.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _license_texts(source: Path, target: Path) -> None:
    """Copy a bundle's licence texts; links are not followed."""
    if not source.is_dir():
        return
    for path in sorted(p for p in source.rglob("*") if p.is_file() and not p.is_symlink()):
        target.mkdir(parents=True, exist_ok=True)
        if not (target / path.name).exists():
            shutil.copyfile(path, target / path.name, follow_symlinks=False)


def _folder_name(repo: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", repo).lstrip(".") or "_"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A Markdown table of mined text."""
    lines = [header, ["---"] * len(header), *([_cell(value) for value in row] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _cell(value: object) -> str:
    text = " ".join(plain("" if value is None else str(value)).split())
    return re.sub(r"([\\`*_\[\]|!])", r"\\\1", html.escape(text, quote=False))
