"""A run that is ended early, by Ctrl-C, SIGTERM, `kill -9` or a lost daemon, goes on where it stopped."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from calc_repo import make
from cli_command import Command
from cut_socket import CutableSocket
from odd_repo import fresh, odd

from envs.docker.backend import DockerBackend
from warehouse.query import Reader

pytestmark = [pytest.mark.docker, pytest.mark.network, pytest.mark.prefect]


@pytest.fixture
def command(tmp_path: Path, docker: DockerBackend) -> Command:
    return Command(tmp_path)


def _git_run(repo: Path) -> tuple[str, ...]:
    return ("run", "swe", "--source", "git", "--repo", str(repo))


def _controls(command: Command) -> dict[str, float]:
    with Reader(command.settings) as reader:
        return dict(reader.sql("SELECT control, reward FROM validations WHERE verdict = 'scored'").rows)


def _servers(command: Command) -> list[psutil.Process]:
    """Prefect servers of this command's Prefect home that are alive."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("PREFECT_HOME") == str(command.folder / "prefect"):
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if "uvicorn" in " ".join(process.cmdline())]


def _gone(command: Command, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while _servers(command) and time.monotonic() < deadline:
        time.sleep(0.2)
    return not _servers(command)


def test_ctrl_c_and_sigterm(command: Command, tmp_path: Path) -> None:
    arguments = _git_run(fresh(tmp_path / "fresh"))
    for number, moment in ((signal.SIGINT, None), (signal.SIGTERM, "compose: ok")):
        running = command.start(*arguments)
        running.until(moment) if moment else running.until_container()
        time.sleep(0.5)
        running.send(number)
        ended = running.wait(60)
        assert ended.status == 128 + number, ended
        assert ended.sentences == [
            "verifactory: Stopped. Nothing is lost: run the same command again to go on."
        ]
        command.check(ended)
        assert _gone(command)
    ended = command.run(*arguments)
    assert (ended.status, ended.sentences) == (0, []), ended.stderr
    command.check(ended)
    assert _controls(command) == {"gold": 1.0, "nop": 0.0}
    assert command.counts()["tasks"] == 1


def test_kill_9_at_random_moments_adds_nothing_twice(command: Command, tmp_path: Path) -> None:
    arguments = (*_git_run(make(tmp_path / "calc")), "--limit", "2")
    seed = int.from_bytes(os.urandom(4))
    chance = random.Random(seed)
    moments = sorted(chance.uniform(0, 9) for _ in range(3))
    for moment in moments:
        running = command.start(*arguments)
        running.until_container()
        time.sleep(moment)
        running.send(signal.SIGKILL)
        assert running.wait(20).status in (-signal.SIGKILL, 0)
        assert _gone(command), "a Prefect server outlived its command"
    ended = command.run(*arguments)
    assert (ended.status, ended.sentences) == (0, []), (seed, ended.stderr)
    command.check(ended)
    undisturbed = Command(tmp_path / "undisturbed")
    ended = undisturbed.run(*arguments)
    assert ended.status == 0, ended.stderr
    assert command.counts() == undisturbed.counts(), (seed, moments)
    assert command.task_ids() == undisturbed.task_ids()
    assert command.task_ids()


def test_a_daemon_that_dies_in_a_build_and_comes_back(
    command: Command, tmp_path: Path, wire: CutableSocket
) -> None:
    """The change is the awkward one, with Latin-1, CRLF, binary and a rename; its gold patch must score 1."""
    arguments = _git_run(odd(tmp_path / "odd"))
    running = command.start(*arguments, DOCKER_HOST=wire.url)
    running.until_container()
    time.sleep(2)
    wire.cut()
    ended = running.wait(90)
    assert ended.status == 1
    assert len(ended.sentences) == 1, ended.stderr
    assert "Docker" in ended.sentences[0] or "infrastructure" in ended.sentences[0]
    assert "Traceback" not in ended.stderr
    assert command.counts()["tasks"] == 0
    ended = command.run(*arguments)
    assert (ended.status, ended.sentences) == (0, []), (ended.stderr, command.reasons())
    command.check(ended)
    assert _controls(command) == {"gold": 1.0, "nop": 0.0}, command.reasons()
    with Reader(command.settings) as reader:
        ((tests, patch),) = reader.sql("SELECT fail_to_pass || new_tests, gold_patch FROM tasks").rows
    assert {test.rpartition("::")[2] for test in tests} >= {
        "test_latin",
        "test_crlf",
        "test_binary",
        "test_renamed",
    }
    assert "GIT binary patch" in patch
    assert "rename to calc/new_name.py" in patch


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
def test_a_full_disk(tmp_path: Path) -> None:
    command = Command(tmp_path)
    command.home.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(command.home)], check=False
    ).returncode:
        pytest.skip("this machine mounts no tmpfs here")
    try:
        arguments = _git_run(make(tmp_path / "calc"))
        assert command.run("load").status == 0
        filler = command.home / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
        command.fails(*arguments, says="is full")
        assert not list((command.home / "outbox").iterdir())
        filler.unlink()
        assert command.run("load").status == 0
        assert command.counts()["events"] == 0
    finally:
        subprocess.run(["umount", "-l", str(command.home)], check=True)
