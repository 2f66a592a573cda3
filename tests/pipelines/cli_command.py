"""The installed command as a user runs it: its own home and Prefect home, the machine's cache, output kept.

`Command.check` holds for every ending: no traceback, nothing half-written, no container or network left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import docker

from warehouse.query import Reader
from warehouse.settings import Settings

PROGRAM = str(Path(sys.executable).parent / "verifactory")
QUICK = {
    "VERIFACTORY_TEST_SECONDS": "4",
    "VERIFACTORY_SUITE_SECONDS": "120",
    "VERIFACTORY_RUNS_PER_SIDE": "1",
    "VERIFACTORY_PARALLEL": "2",
    "VERIFACTORY_CERTIFY": "false",
}
TABLES = (
    "sources", "candidates", "environments", "tasks", "task_events",
    "test_outcomes", "validations", "flakes", "events",
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def sentences(self) -> list[str]:
        return [line for line in self.stderr.splitlines() if line.startswith("verifactory: ")]


@dataclass
class Command:
    """The command in one folder: `folder/home` is its home, `folder` its working directory."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home)

    def start(self, *arguments: str, **env: str) -> Running:
        """Start it; stderr goes to a file, so that a process left behind cannot make a reader wait."""
        self.folder.mkdir(parents=True, exist_ok=True)
        own = {"VERIFACTORY_HOME": str(self.home), "PREFECT_HOME": str(self.folder / "prefect")}
        with (self.folder / "stdout").open("wb") as out, (self.folder / "stderr").open("wb") as err:
            process = subprocess.Popen(
                [PROGRAM, *arguments],
                env={**os.environ, **QUICK, **own, **self.env, **env},
                cwd=self.folder,
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
            )
        return Running(self, process)

    def run(self, *arguments: str, timeout: float = 200, **env: str) -> Ended:
        return self.start(*arguments, **env).wait(timeout)

    def fails(self, *arguments: str, says: str, status: int = 1, **env: str) -> Ended:
        """It must end with `status` and one sentence that holds `says`."""
        ended = self.run(*arguments, **env)
        assert ended.status == status, ended
        assert len(ended.sentences) == 1, ended.stderr
        assert says in ended.sentences[0], ended.stderr
        assert ended.stderr.splitlines()[-1] == ended.sentences[0], ended.stderr
        assert ended.sentences[0].endswith((".", ")")), ended.stderr
        self.check(ended)
        return ended

    def check(self, ended: Ended) -> None:
        assert "Traceback" not in ended.stderr + ended.stdout, ended.stderr
        assert "\x1b" not in ended.stderr
        assert not [str(path) for path in self.home.rglob(".tmp*")]
        if self.home.exists() and (self.home / "outbox").exists():
            for unit in (self.home / "outbox").iterdir():
                assert unit.is_dir()
                assert list(unit.glob("*.parquet"))
        if (self.home / "browse.duckdb").exists():
            self.counts()
        left = self.left_behind()
        assert left == [], left

    def left_behind(self) -> list[str]:
        """Containers and networks of this home, running or not."""
        client = docker.from_env()
        try:
            mine = {"label": f"org.verifactory.home={self.home}"}
            containers = client.api.containers(all=True, filters=mine)
            return [c["Names"][0] for c in containers] + [
                n["Name"] for n in client.api.networks(filters=mine)
            ]
        finally:
            client.close()

    def counts(self) -> dict[str, int]:
        with Reader(self.settings) as reader:
            return {table: reader.sql(f"SELECT count(*) FROM {table}").rows[0][0] for table in TABLES}

    def task_ids(self) -> list[str]:
        with Reader(self.settings) as reader:
            return [row[0] for row in reader.sql("SELECT task_id FROM tasks ORDER BY task_id").rows]

    def reasons(self) -> dict[str, str]:
        """Newer release, or "repository: title" → why the candidate ended; '' for a validated one."""
        query = (
            "SELECT c.repo, c.title, c.gold_ref, last(e.reason ORDER BY e.recorded_at, e.attempt) "
            "FROM candidates c JOIN events e ON e.item = c.candidate_id GROUP BY ALL"
        )
        with Reader(self.settings) as reader:
            rows = reader.sql(query).rows
        return {f"{repo}: {title}" if len(gold) == 40 else gold: why for repo, title, gold, why in rows}


@dataclass
class Running:
    """A command that has not ended yet."""

    command: Command
    process: subprocess.Popen[bytes]

    @property
    def stderr(self) -> str:
        return (self.command.folder / "stderr").read_text(errors="replace")

    def until(self, words: str, timeout: float = 120) -> None:
        """Wait until stderr holds `words`, or the command ends."""
        deadline = time.monotonic() + timeout
        while words not in self.stderr:
            assert self.process.poll() is None, self.stderr
            assert time.monotonic() < deadline, self.stderr
            time.sleep(0.05)

    def until_container(self, timeout: float = 120) -> None:
        """Wait until the command has started a sandbox or a proxy."""
        deadline = time.monotonic() + timeout
        while not self.command.left_behind():
            assert self.process.poll() is None, self.stderr
            assert time.monotonic() < deadline, self.stderr
            time.sleep(0.1)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = 200) -> Ended:
        try:
            status = self.process.wait(timeout)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
        stdout = (self.command.folder / "stdout").read_text(errors="replace")
        return Ended(status, stdout, self.stderr)
