"""A corpus of real histories: what becomes of the newest merged changes that touch tests, project by project.

The sample is a rule (`corpus.toml`), fixed before anything is built: of each project, from the commit named
there back along first parents, the newest COUNT merges and squashed pull requests that touch a file which its
toolchain's rule calls a test. All of it appears in the table: what was refused at once, what failed at which
stage for which reason, and what has not been tried yet. No model is configured.

Clones are read from `DIR/owner/name`, bare or not:

    git clone --bare https://…/owner/name DIR/owner/name
    python benchmarks/corpus.py --clones DIR --home HOME --limit 5    # accepted changes of each project
    python benchmarks/corpus.py --clones DIR --home HOME --limit 50   # goes on where it stopped
    python benchmarks/corpus.py --clones DIR --home HOME --limit 0 --markdown docs/corpus.md

Runs are `verifactory run swe --source git`, one project after another, so that a larger limit goes on with
every project's next changes. Prints the table, or with `--json` its rows.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pygit2
from rich.console import Console
from rich.table import Table

from pipelines.swe import git
from warehouse.loader import load
from warehouse.query import Reader
from warehouse.settings import Settings

RULE = Path(__file__).with_name("corpus.toml")
VERIFACTORY = Path(sys.executable).with_name("verifactory")

# The last word on each candidate: refused when mined, ended at a stage, or taken to the end.
FATES = """
SELECT c.gold_ref, c.verdict, c.reason, e.stage, e.outcome, e.reason, e.stages, n.build_seconds, n.size_bytes,
    t.language, o.status
FROM candidates c
LEFT JOIN (
    SELECT item, arg_max(stage, recorded_at) AS stage, arg_max(outcome, recorded_at) AS outcome,
        arg_max(reason, recorded_at) AS reason, list(DISTINCT stage) FILTER (outcome = 'ok') AS stages
    FROM events WHERE stage <> 'mine' GROUP BY item
) e ON e.item = c.candidate_id
LEFT JOIN tasks t ON t.candidate_id = c.candidate_id
LEFT JOIN task_overview o ON o.task_id = t.task_id
LEFT JOIN environments n ON n.environment_id = t.environment_id
WHERE c.repo = $repo
"""
CONTROLS = """
SELECT v.control, count(*), count(*) FILTER (v.passed) FROM validations v JOIN tasks t USING (task_id)
JOIN task_overview o USING (task_id)
WHERE t.repo = $repo AND o.status <> 'rejected' AND v.control IN ('gold', 'nop') GROUP BY 1
"""


@dataclass
class Row:
    """One project's line of the table."""

    project: str
    sample: int = 0
    tried: int = 0
    accepted: int = 0
    built: int = 0
    validated: int = 0
    published: int = 0
    language: str = ""
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    controls: dict[str, tuple[int, int]] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        gold, nop = (self.controls.get(name, (0, 0)) for name in ("gold", "nop"))
        return {
            "project": self.project,
            "language": self.language,
            "sample": self.sample,
            "tried": self.tried,
            "accepted": self.accepted,
            "built": self.built,
            "validated": self.validated,
            "published": self.published,
            "yield": round(self.validated / self.tried, 3) if self.tried else None,
            "environment_seconds": round(statistics.median(self.seconds), 1) if self.seconds else None,
            "environment_mb": round(statistics.median(self.megabytes), 1) if self.megabytes else None,
            "gold": f"{gold[1]}/{gold[0]}",
            "nop": f"{nop[0] - nop[1]}/{nop[0]}",
            "reasons": dict(self.reasons.most_common()),
        }


def sample(clone: Path, tip: str, count: int, settings: Settings) -> list[str]:
    """The commits that the rule names, newest first."""
    opened, is_test = git.open_clone(str(clone)), git.path_rule(str(clone), settings)
    head = opened.repository.head.target
    if str(head) != tip:
        raise SystemExit(f"{clone} is at {head}, the sample is of {tip}: reset it to that commit.")

    def touching() -> Iterator[str]:
        for commit in git.first_parents(opened, opened.repository[tip].peel(pygit2.Commit)):
            if git.kind_of_commit(commit) not in git.DEFAULT_KINDS:
                continue
            changed = opened.repository.diff(commit.parents[0], commit, context_lines=0)
            if any(is_test(delta.new_file.path) for delta in changed.deltas):
                yield str(commit.id)

    return [commit for commit, _ in zip(touching(), range(count), strict=False)]


def run(clone: Path, limit: int, home: Path) -> None:
    """The command itself, on one clone; what it cannot mine or build, it records."""
    asked = ("run", "swe", "--source", "git", "--repo", str(clone), "--limit", str(limit))
    environment = {**os.environ, "VERIFACTORY_HOME": str(home)}
    ran = subprocess.run([str(VERIFACTORY), *asked], stdout=subprocess.DEVNULL, env=environment, check=False)
    if ran.returncode not in (0, 1):
        raise SystemExit(f"`verifactory {' '.join(asked)}` ended with {ran.returncode}")


def counted(project: str, commits: list[str], settings: Settings) -> Row:
    """What the warehouse says of a project's sample."""
    row, known = Row(project, len(commits)), set(commits)
    reader = Reader(settings)
    for (
        commit,
        verdict,
        refused,
        stage,
        outcome,
        reason,
        stages,
        seconds,
        size,
        language,
        status,
    ) in reader.sql(FATES, {"repo": project}).rows:
        if commit not in known:
            continue
        if verdict == "rejected":
            row.tried += 1
            row.reasons[f"mine: {refused}"] += 1
            continue
        row.accepted += 1
        if outcome is None:  # not its turn yet
            continue
        row.tried += 1
        row.built += "build" in (stages or ())
        row.validated += "validate" in (stages or ()) or (stage == "validate" and outcome == "ok")
        row.published += status == "published"
        row.language = language or row.language
        if outcome != "ok":
            row.reasons[f"{stage}: {reason}"] += 1
        if seconds is not None:
            row.seconds.append(seconds)
            row.megabytes.append(size / 1e6)
    row.controls = {name: (n, passed) for name, n, passed in reader.sql(CONTROLS, {"repo": project}).rows}
    return row


def table(rows: list[Row]) -> Table:
    shown = Table("project", "language", "sample", "tried", "accepted", "built", "validated", "published",
                  "s / env", "MB / env", "gold", "nop", "reasons")  # fmt: skip
    for row in rows:
        told = row.told()
        reasons = ", ".join(f"{reason} {n}" for reason, n in told["reasons"].items())
        cells = [told[name] for name in ("project", "language", "sample", "tried", "accepted", "built",
                                         "validated", "published", "environment_seconds",
                                         "environment_mb", "gold", "nop")]  # fmt: skip
        shown.add_row(*("" if cell is None else str(cell) for cell in cells), reasons)
    return shown


def markdown(rows: list[Row]) -> str:
    """The table as the documentation has it."""
    shown = table(rows)
    lines = [[str(column.header) for column in shown.columns], ["---"] * len(shown.columns)]
    lines += [list(cells) for cells in zip(*(column.cells for column in shown.columns), strict=True)]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines) + "\n"


def put(table: str, page: Path) -> None:
    """The table in the place of the page's own, or at its end."""
    text = page.read_text() if page.exists() else ""
    old = re.search(r"^(\|.*\n)+", text, re.M)
    start, end = old.span() if old else (len(text), len(text))
    page.write_text(text[:start] + table + text[end:])


def totals(rows: list[Row]) -> dict[str, Any]:
    added = {name: sum(getattr(row, name) for row in rows)
             for name in ("sample", "tried", "accepted", "built", "validated", "published")}  # fmt: skip
    controls = {name: [sum(row.controls.get(name, (0, 0))[i] for row in rows) for i in (0, 1)]
                for name in ("gold", "nop")}  # fmt: skip
    return {
        "projects": sum(row.tried > 0 for row in rows),
        "languages": len({row.language for row in rows if row.validated}),
        **added,
        "yield": round(added["validated"] / added["tried"], 3) if added["tried"] else None,
        "gold_passed": controls["gold"],
        "nop_passed": controls["nop"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clones", type=Path, required=True, help="folder of clones, owner/name")
    parser.add_argument("--home", type=Path, required=True, help="the warehouse's home")
    parser.add_argument("--limit", type=int, default=0, help="accepted changes of each; 0 only counts")
    parser.add_argument("--only", nargs="*", default=[], help="these projects")
    parser.add_argument("--markdown", type=Path, help="put the table into this page")
    parser.add_argument("--json", action="store_true", help="rows and totals as JSON")
    asked = parser.parse_args()
    rule = tomllib.loads(RULE.read_text())
    settings = Settings(home=asked.home)
    rows = []
    for project, tip in rule["tips"].items():
        clone = asked.clones / project
        if asked.only and project not in asked.only:
            continue
        commits = sample(clone, tip, rule["count"], settings)
        if asked.limit:
            print(f"== {project}: {len(commits)} in the sample", file=sys.stderr, flush=True)
            run(clone, asked.limit, asked.home)
        load(settings)
        rows.append(counted(project, commits, settings))
    if asked.markdown:
        put(markdown(rows), asked.markdown)
    if asked.json:
        print(json.dumps({**totals(rows), "rows": [row.told() for row in rows]}, indent=1))
    else:
        Console(width=200).print(table(rows))
        print(totals(rows))


if __name__ == "__main__":
    main()
