"""Four writers and one loader, killed with SIGKILL at random moments: is any row lost or doubled?

Writers record items (a task, its event, its status) in batches, one flush each, and note their progress after
the flush returned, so a killed one does its last batch again, as a resumed run does. A loader loads without
pause. A killed process is started again at once. While that goes on, every snapshot is read: an event must
never appear without its task, nor a task without its event. In the end the warehouse must hold exactly the
items that were written, once each and whole, and all archived units, loaded into an empty home in random
order, in random portions and some of them twice, must give the same tables.

    python benchmarks/loader_kill.py [--json] [--kills 20] [--seed N]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb
from made_up.tasks import made_up_tasks

from warehouse.database import literal
from warehouse.loader import archived, load
from warehouse.outbox import Outbox
from warehouse.query import Reader
from warehouse.records import RECORDS, Event, Task, TaskEvent, utcnow
from warehouse.settings import Settings

WRITERS = 4
BATCH = 25
# Items of writer w are numbered from w * STRIDE.
STRIDE = 1_000_000


def batch_of(writer: int, number: int) -> list[Task]:
    """The tasks of one batch: the same ones whenever it is done, but for when."""
    return [
        task.model_copy(update={"recorded_at": utcnow()})
        for task in made_up_tasks(BATCH, first=writer * STRIDE + number * BATCH, seed=writer)
    ]


def progress_of(home: Path, writer: int) -> int:
    """How many batches a writer knows to be flushed."""
    progress = home / f"progress-{writer}"
    return int(progress.read_text()) if progress.exists() else 0


def write(home: Path, writer: int) -> None:
    """Record batches until told to stop."""
    progress = home / f"progress-{writer}"
    number = progress_of(home, writer)
    outbox = Outbox(Settings(home=home))
    while not (home / "stop").exists():
        for task in batch_of(writer, number):
            status = TaskEvent(task_id=task.task_id, event="status", value="validated", run_id="kill")
            event = Event(
                run_id="kill", flow="swe", stage="validate", item=task.task_id, source="made up", outcome="ok"
            )
            outbox.append([task, status, event])
        outbox.flush()
        number += 1
        temporary = progress.with_suffix(".new")
        temporary.write_text(str(number))
        temporary.replace(progress)
        time.sleep(random.random() / 50)


def keep_loading(home: Path) -> None:
    """Load until told to stop."""
    while not (home / "stop").exists():
        load(Settings(home=home))


@dataclass
class Crew:
    """The running processes by name, and how they are started."""

    home: Path
    running: dict[str, subprocess.Popen[bytes]]

    def start(self, name: str) -> None:
        command = [sys.executable, __file__, "--role", name, "--home", str(self.home)]
        self.running[name] = subprocess.Popen(
            command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        )

    def kill(self, name: str) -> None:
        self.running[name].send_signal(signal.SIGKILL)
        self.running[name].wait()

    def stop(self) -> None:
        (self.home / "stop").touch()
        for name, process in self.running.items():
            if process.wait(timeout=120) != 0:
                raise SystemExit(f"{name} ended with exit code {process.returncode}")


def torn(settings: Settings) -> int:
    """Rows in the snapshot whose companions of the same flush are missing."""
    with Reader(settings) as reader:
        (count,) = reader.sql(
            "SELECT count(*) FROM (SELECT task_id FROM tasks) t "
            "FULL JOIN (SELECT item FROM events) e ON e.item = t.task_id "
            "FULL JOIN (SELECT task_id FROM task_events) s ON s.task_id = t.task_id "
            "WHERE t.task_id IS NULL OR e.item IS NULL OR s.task_id IS NULL"
        ).rows[0]
    return count


def rampage(home: Path, kills: int, draw: random.Random) -> dict[str, int]:
    """Let the crew work and kill it `kills` times; returns who was killed, and snapshots looked at."""
    settings = Settings(home=home)
    load(settings)
    names = ["loader", *(f"writer-{number}" for number in range(WRITERS))]
    crew = Crew(home, {})
    told = {"loader_kills": 0, "writer_kills": 0, "snapshots_read": 0, "torn_rows": 0}
    for name in names:
        crew.start(name)
    try:
        while not all(progress_of(home, writer) for writer in range(WRITERS)):
            time.sleep(0.1)  # until everyone is at work
        for _ in range(kills):
            time.sleep(draw.uniform(0.1, 1.2))
            told["torn_rows"] += torn(settings)
            told["snapshots_read"] += 1
            # The loader has the longest critical section, so it dies as often as the writers together.
            name = "loader" if draw.random() < 0.5 else draw.choice(names[1:])
            told["loader_kills" if name == "loader" else "writer_kills"] += 1
            crew.kill(name)
            crew.start(name)
        time.sleep(1)
        crew.stop()
    finally:
        for process in crew.running.values():
            process.kill()
            process.wait()
    load(settings)
    return told


def compare_with_written(settings: Settings) -> dict[str, int]:
    """Rows lost, doubled, or different from what was written."""
    expected: dict[str, Task] = {}
    for writer in range(WRITERS):
        done = progress_of(settings.home, writer)
        expected |= {t.task_id: t for number in range(done) for t in batch_of(writer, number)}
    names = [name for name in Task.model_fields if name != "recorded_at"]
    with Reader(settings) as reader:
        rows = reader.sql(f"SELECT {', '.join(names)} FROM tasks").rows
        events = [item for (item,) in reader.sql("SELECT item FROM events").rows]
        status = "SELECT task_id FROM task_overview WHERE status = 'validated'"
        statuses = [task for (task,) in reader.sql(status).rows]
    stored = {row[0]: Task.model_validate(dict(zip(names, row, strict=True))) for row in rows}
    when = {"recorded_at": utcnow()}
    lists = ([row[0] for row in rows], events, statuses)
    return {
        "items": len(expected),
        "lost": sum(len(expected.keys() - set(found)) for found in lists),
        "doubled": sum(len(found) - len(set(found)) for found in lists),
        "invented": sum(len(set(found) - expected.keys()) for found in lists),
        "different": sum(
            stored[key].model_copy(update=when) != task.model_copy(update=when)
            for key, task in expected.items()
            if key in stored
        ),
        "set_aside": len(list(settings.quarantine.glob("*"))) if settings.quarantine.exists() else 0,
        "left_in_outbox": len([p for p in settings.outbox.iterdir() if not p.name.startswith(".")]),
    }


def replay(settings: Settings, home: Path, draw: random.Random) -> dict[str, int]:
    """Load the archive into an empty home in random order and portions, some units twice; count differing
    rows.
    """
    fresh = Settings(home=home)
    units = archived(settings)
    queue = units + draw.sample(units, len(units) // 5)
    draw.shuffle(queue)
    loads = 0
    while queue:
        size = draw.randint(1, 1 + len(units) // 4)
        portion, queue = queue[:size], queue[size:]
        for unit in portion:
            shutil.copytree(unit, fresh.outbox / unit.name, dirs_exist_ok=True)
        load(fresh, refresh="never" if queue else "always")
        loads += 1
    return {"units": len(units), "replay_loads": loads, "replay_differences": differences(settings, fresh)}


def differences(one: Settings, other: Settings) -> int:
    """Rows that only one of two warehouses has, over all tables."""
    con = duckdb.connect(":memory:")
    con.execute(f"ATTACH {literal(one.snapshot)} AS one (READ_ONLY)")
    con.execute(f"ATTACH {literal(other.snapshot)} AS other (READ_ONLY)")
    count = 0
    for table in [*(record.table for record in RECORDS), "task_state"]:
        for left, right in (("one", "other"), ("other", "one")):
            query = f"SELECT count(*) FROM (FROM {left}.{table} EXCEPT ALL FROM {right}.{table})"
            count += con.execute(query).fetchall()[0][0]
    con.close()
    return count


def trial(kills: int, seed: int) -> dict[str, int | bool | float]:
    """The whole experiment."""
    draw = random.Random(seed)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder) / "home")
        told = rampage(settings.home, kills, draw)
        told |= compare_with_written(settings)
        told |= replay(settings, Path(folder) / "replay", draw)
    wrong = ("torn_rows", "lost", "doubled", "invented", "different", "set_aside", "left_in_outbox")
    passed = not any(told[name] for name in (*wrong, "replay_differences")) and told["items"] > 0
    return {"seed": seed, "kills": kills, **told, "seconds": time.monotonic() - started, "passed": passed}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "loader":
        keep_loading(options.home)
        return
    if options.role:
        write(options.home, int(options.role.removeprefix("writer-")))
        return
    result = trial(options.kills, options.seed)
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        for name, value in result.items():
            sys.stdout.write(
                f"{name:20} {value:.1f}\n" if isinstance(value, float) else f"{name:20} {value}\n"
            )
    sys.exit(0 if result["passed"] else 1)


if __name__ == "__main__":
    main()
