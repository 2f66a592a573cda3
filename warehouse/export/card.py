"""README.md of an export, a dataset card: from its header `datasets` and dataset viewers learn the splits.

Only licence identifiers that look like SPDX ids reach the header.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from warehouse.export.choice import Contents
from warehouse.export.markdown import table

_SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)

MADE = (
    "Made by verifactory; manifest.json tells the snapshot and query. No repository is in two splits unless "
    "an earlier decision put a task there."
)
RIGHTS = "NOTICE.md names every work and its authors; LICENSES/ has the texts that sources shipped."


@dataclass(frozen=True)
class Card:
    """What a layout says of itself."""

    title: str
    prose: str


def write_card(folder: Path, card: Card, contents: Contents) -> None:
    """Write the card of an export whose data files are in `folder`."""
    repositories, tasks = Counter[str](), Counter[str]()
    for work in contents.works:
        repositories[work.license] += 1
        tasks[work.license] += len(work.tasks)
    lines = ["---", *_header(folder, contents, list(tasks)), "---", "", f"# {card.title}", "", card.prose]
    lines += ["", MADE, ""]
    lines += [*table(("split", "tasks"), contents.splits.items()), ""]
    if contents.split_note:
        lines += [contents.split_note, ""]
    if contents.skipped:
        skipped = ((reason, len(ids)) for reason, ids in contents.skipped.items())
        lines += [*table(("left out because", "tasks"), skipped), ""]
    rows = ((name, repositories[name], count) for name, count in sorted(tasks.items()))
    lines += table(("licence", "works", "tasks"), rows)
    lines += ["", RIGHTS, ""]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _header(folder: Path, contents: Contents, licenses: list[str]) -> list[str]:
    only = licenses[0] if len(licenses) == 1 else ""
    header = [f"license: {only.lower()}"] if _SPDX.fullmatch(only) else [
        "license: other", "license_name: mixed", "license_link: NOTICE.md"
    ]  # fmt: skip
    size = next((name for bound, name in _SIZES if contents.rows < bound), "n>10M")
    header += ["size_categories:", f"- {size}"]
    if (folder / "data").is_dir():
        header += ["configs:", "- config_name: default", "  data_files:"]
        for split in contents.splits:
            header += [f"  - split: {split}", f"    path: data/{split}-*.parquet"]
    return header
