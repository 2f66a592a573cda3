"""Wrong usage and bad input that needs no Docker: one sentence, status not 0, nothing written."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cli_command import Command

from pipelines.cli.data import LAYOUTS, POOL_LAYOUTS
from pipelines.export import EXPORTERS
from training.forge.export.peers import RECORDS
from warehouse.loader import load
from warehouse.outbox import Outbox
from warehouse.records import Task


def task(task_id: str) -> Task:
    return Task(
        task_id=task_id, candidate_id=f"c-{task_id}", environment_id="e",
        family="swe", kind="bug_fix", repo="calc", language="python",
        license="MIT", attribution="A", source_date=datetime(2024, 5, 1, tzinfo=UTC),
        instruction="Mend the sum.", verifier="{}", gold_patch="+1\n", test_patch="+2\n",
        fail_to_pass=("tests/test_calc.py::test_add",), pass_to_pass=(), new_tests=(), quarantined=(),
        statement_check="rules", bundle="", run_id="r",
    )  # fmt: skip


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """A home with two tasks whose ids start alike."""
    command = Command(tmp_path_factory.mktemp("stocked"))
    with Outbox(command.settings) as outbox:
        outbox.append([task("aa1"), task("aa2")])
    load(command.settings)
    return command


RUNS = {
    "git-without-repo": ("--source git", "takes --repo (at least one)"),
    "limit-0": ("--package x --limit 0", "greater than or equal to 1"),
    "kind": ("--source git --repo x --kinds nonsense", "there is no kind nonsense"),
    "version-of-a-clone": ("--source git --repo x --version 1", "--version goes with"),
}


@pytest.mark.parametrize("case", sorted(RUNS))
def test_options_that_do_not_fit(command: Command, case: str) -> None:
    arguments, says = RUNS[case]
    command.fails("run", "swe", *arguments.split(), says=says)
    assert not command.home.exists()


USAGE = {
    "source": ("run swe --source nonsense --repo x", "'releases', 'git'"),
    "since": ("run swe --package x --since nonsense", "valid datetime"),
    "limit": ("run swe --package x --limit many", "valid integer"),
    "family": ("run nonsense", "No such command 'nonsense'"),
    "rows": ("tasks ls --limit 0", "greater than or equal to 1"),
}


@pytest.mark.parametrize("case", sorted(USAGE))
def test_usage_errors_are_plain_text(command: Command, case: str) -> None:
    arguments, says = USAGE[case]
    ended = command.run(*arguments.split())
    assert ended.status == 2
    assert says in ended.stderr.splitlines()[-1]
    assert ended.stderr.startswith("Usage: verifactory ")
    assert ended.stderr.isascii()
    command.check(ended)
    assert not command.home.exists()


def test_settings_that_do_not_fit(command: Command) -> None:
    command.fails("funnel", says="'runs_per_side' is not valid", VERIFACTORY_RUNS_PER_SIDE="zero")
    (command.folder / "verifactory.toml").write_text("no_such_key = 1\n")
    command.fails("funnel", says="'no_such_key' is not valid")
    (command.folder / "verifactory.toml").write_text("not toml\n")
    command.fails("funnel", says="verifactory.toml")
    assert not command.home.exists()


def test_no_warehouse_yet(command: Command) -> None:
    for arguments in (("sql", "SELECT 1"), ("tasks", "ls"), ("export", "sft", "out")):
        command.fails(*arguments, says="There is no warehouse")
    assert not command.home.exists()


SQL = {
    "wrong": ("SELEC 1", 'syntax error at or near "SELEC"'),
    "several": ("SELECT 1; SELECT 2", "one SELECT"),
    "writing": ("DELETE FROM tasks", "read-only"),
    "nothing": ("", "one SELECT"),
    "host-csv": ("SELECT * FROM read_csv('/etc/passwd')", "Permission Error"),
    "host-text": ("SELECT * FROM read_text('/etc/passwd')", "Permission Error"),
    "copy": ("COPY tasks TO 'stolen.csv'", "read-only"),
    "attach": ("ATTACH 'other.db'", "read-only"),
    "setting": ("SET enable_external_access = true", "read-only"),
}


@pytest.mark.parametrize("case", sorted(SQL))
def test_sql(stocked: Command, case: str) -> None:
    query, says = SQL[case]
    before = stocked.counts()
    ended = stocked.fails("sql", query, says=says)
    assert ended.stdout == ""
    assert stocked.counts() == before
    assert not (stocked.folder / "stolen.csv").exists()


def test_tasks_that_are_not_there(stocked: Command) -> None:
    stocked.fails("tasks", "show", "zz", says="No task id starts with 'zz'")
    stocked.fails("tasks", "show", "aa", says="2 task ids start with 'aa'")
    stocked.fails("tasks", "ls", "--where", "nonsense", says='"nonsense" not found')
    stocked.fails("tasks", "ls", "--where", "true) UNION SELECT (1", says="The query cannot be run")
    stocked.fails("tasks", "verify", says="Name tasks or give --where")
    stocked.fails("tasks", "verify", "--where", "false", says="No task matches 'false'")


def test_exports(stocked: Command) -> None:
    out = stocked.folder / "shard"
    stocked.fails("export", "nonsense", str(out), says="There is no layout called 'nonsense'")
    stocked.fails("export", "sft", str(out), "--where", "false", says="nothing was exported")
    stocked.fails("export", "parquet", str(out), "--where", "nonsense(", says="The query cannot be run")
    assert not out.exists()
    out.mkdir()
    for layout in ("parquet", "harbor", "sft"):
        stocked.fails("export", layout, str(out), says="is there already")
    assert not list(out.iterdir())


def test_help_names_every_layout() -> None:
    assert set(LAYOUTS.split(" | ")) == set(EXPORTERS)
    assert POOL_LAYOUTS.split(" | ") == sorted(RECORDS)


def test_training(command: Command) -> None:
    pytest.importorskip("torch")
    command.fails("train", "sft", "nothing.toml", says="There is no training config at nothing.toml")
    config = command.folder / "sft.toml"
    config.write_text('data = "shard"\nstepz = 3\n')
    command.fails("train", "sft", str(config), says="stepz")
    config.write_text("data = \n")
    command.fails("train", "sft", str(config), says="cannot be read")
    config.write_text('data = "shard"\nsteps = 3\n')
    command.fails("train", "sft", str(config), says="shard")
    assert not (command.folder / "runs").exists()
