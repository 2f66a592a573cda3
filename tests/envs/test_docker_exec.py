"""Commands in a real container: how they end, what they leave, and that a limit is a limit."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from envs.docker.backend import DockerBackend
from envs.docker.container import DockerSandbox
from envs.sandbox import Limits, Outcome, SandboxSpec
from warehouse.errors import FactoryError

pytestmark = pytest.mark.docker

_LIST = "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $f; echo; done"


async def _processes(sandbox: DockerSandbox) -> str:
    return (await sandbox.exec(["bash", "-c", _LIST], timeout=20)).stdout.decode()


async def test_streams_input_and_status_come_back(sandbox: DockerSandbox) -> None:
    done = await sandbox.exec(["sh", "-c", "cat; echo bad >&2; exit 7"], timeout=20, stdin=b"a\0b" * 100_000)
    assert (done.outcome, done.exit_code) == (Outcome.EXITED, 7)
    assert done.stdout == b"a\0b" * 100_000
    assert done.stderr == b"bad\n"
    assert not done.ok
    assert not done.truncated


@pytest.mark.parametrize(
    "sandbox", [{"env": {"A": "1", "B": "1"}, "user": "nobody", "workdir": "/usr"}], indirect=True
)
async def test_user_folder_and_variables_come_from_the_spec_and_the_call(sandbox: DockerSandbox) -> None:
    show = ["sh", "-c", "id -un; pwd; echo $A $B"]
    assert (await sandbox.exec(show, timeout=20)).stdout == b"nobody\n/usr\n1 1\n"
    other = await sandbox.exec(show, timeout=20, user="root", workdir="/etc", env={"B": "2"})
    assert other.stdout == b"root\n/etc\n1 2\n"


async def test_no_shell_sees_the_arguments(sandbox: DockerSandbox) -> None:
    done = await sandbox.exec(["printf", "%s|", "$HOME", "a b", "; exit 3", "-s"], timeout=20)
    assert done.stdout == b"$HOME|a b|; exit 3|-s|"


@pytest.mark.parametrize(
    ("command", "outcome", "code"),
    [
        ("exit 0", Outcome.EXITED, 0),
        ("exit 128", Outcome.EXITED, 128),
        ("kill -KILL $$", Outcome.SIGNAL, 137),
        ("kill -SEGV $$", Outcome.SIGNAL, 139),
        ("exec tail /dev/zero", Outcome.OOM, 137),
        ("sleep 60", Outcome.TIMEOUT, None),
        ("exec >&- 2>&-; sleep 0.5; exit 3", Outcome.EXITED, 3),
    ],
)
@pytest.mark.parametrize("sandbox", [{"limits": Limits(memory_mb=64)}], indirect=True)
async def test_endings_are_told_apart(
    sandbox: DockerSandbox, command: str, outcome: Outcome, code: int | None
) -> None:
    done = await sandbox.exec(["sh", "-c", command], timeout=1.5 if outcome is Outcome.TIMEOUT else 60)
    assert (done.outcome, done.exit_code) == (outcome, code)


@pytest.mark.parametrize("sandbox", [{"limits": Limits(memory_mb=64)}], indirect=True)
async def test_a_child_ended_for_memory_is_its_parents_to_report(sandbox: DockerSandbox) -> None:
    survives = await sandbox.exec(["sh", "-c", "tail /dev/zero; echo child $?; exit 5"], timeout=60)
    assert (survives.outcome, survives.exit_code, survives.stdout) == (Outcome.EXITED, 5, b"child 137\n")
    passes_on = await sandbox.exec(["sh", "-c", "tail /dev/zero; exit $?"], timeout=60)
    assert (passes_on.outcome, passes_on.exit_code) == (Outcome.OOM, 137)


@pytest.mark.parametrize("sandbox", [{"limits": Limits(memory_mb=64)}], indirect=True)
async def test_a_kill_after_an_oom_is_not_an_oom(sandbox: DockerSandbox) -> None:
    outcomes = [
        (await sandbox.exec(["sh", "-c", command], timeout=60)).outcome
        for command in ("exec tail /dev/zero", "kill -KILL $$", "exec tail /dev/zero")
    ]
    assert outcomes == [Outcome.OOM, Outcome.SIGNAL, Outcome.OOM]


async def test_a_missing_program_is_status_127(sandbox: DockerSandbox) -> None:
    done = await sandbox.exec(["no-such-program"], timeout=20)
    assert (done.outcome, done.exit_code) == (Outcome.EXITED, 127)


async def test_time_out_kills_daemonised_grandchildren_and_spares_the_rest(sandbox: DockerSandbox) -> None:
    await sandbox.exec(["sh", "-c", "setsid sleep 1001 >/dev/null 2>&1 &"], timeout=20)
    neighbour = asyncio.ensure_future(sandbox.exec(["sh", "-c", "sleep 6 & sleep 5; echo done"], timeout=30))
    await asyncio.sleep(0.5)
    daemon = "(setsid sh -c '(sleep 1002; :) & env -i sleep 1003' &) ; sleep 1004"
    done = await sandbox.exec(["sh", "-c", daemon], timeout=1.5, user="nobody")
    assert done.outcome is Outcome.TIMEOUT
    left = await _processes(sandbox)
    assert "sleep 1001" in left
    assert not [line for line in left.splitlines() if any(f"sleep 100{n}" in line for n in (2, 3, 4))]
    assert (await neighbour).stdout == b"done\n"


async def test_time_out_ends_all_even_where_the_shell_was_replaced(sandbox: DockerSandbox) -> None:
    hostile = "ln -sf /bin/true /bin/sh; (setsid sleep 1005 &); sleep 1006"
    done = await sandbox.exec(["bash", "-c", hostile], timeout=1.5)
    assert done.outcome is Outcome.TIMEOUT
    left = await _processes(sandbox)
    assert "sleep infinity" in left
    assert "100" not in left


@pytest.mark.parametrize("sandbox", [{"limits": Limits(pids=48)}], indirect=True)
async def test_a_fork_bomb_ends_at_the_limit(sandbox: DockerSandbox) -> None:
    done = await sandbox.exec(["bash", "-c", "bomb() { bomb | bomb & }; bomb; sleep 60"], timeout=3)
    assert done.outcome is Outcome.TIMEOUT
    assert (await sandbox.exec(["echo", "alive"], timeout=20)).stdout == b"alive\n"
    assert len((await _processes(sandbox)).splitlines()) < 10


async def test_a_process_left_behind_goes_on_and_does_not_hold_the_command(sandbox: DockerSandbox) -> None:
    began = time.monotonic()
    done = await sandbox.exec(["sh", "-c", "sleep 1007 & echo started"], timeout=30)
    assert done.stdout == b"started\n"
    assert time.monotonic() - began < 10
    assert "sleep 1007" in await _processes(sandbox)


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


@pytest.mark.parametrize("sandbox", [{"limits": Limits(output_bytes=1 << 20)}], indirect=True)
async def test_a_gigabyte_of_output_neither_fills_memory_nor_blocks(sandbox: DockerSandbox) -> None:
    await sandbox.exec(["true"], timeout=20)
    before = _resident_mb()
    running = asyncio.ensure_future(
        sandbox.exec(["sh", "-c", "head -c 1G /dev/zero; echo end >&2"], timeout=120)
    )
    highest = before
    while not running.done():
        highest = max(highest, _resident_mb())
        await asyncio.sleep(0.05)
    done = running.result()
    assert (done.outcome, done.exit_code) == (Outcome.EXITED, 0)
    assert done.truncated
    assert len(done.stdout) == 1 << 20
    assert done.stderr == b"end\n"
    assert highest - before < 64


async def test_endless_output_ends_at_the_time_limit(sandbox: DockerSandbox) -> None:
    done = await sandbox.exec(["yes"], timeout=1.0)
    assert done.outcome is Outcome.TIMEOUT
    assert done.seconds < 8
    assert "yes" not in await _processes(sandbox)


async def test_cancelling_kills_the_command(sandbox: DockerSandbox) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await sandbox.exec(["sleep", "1008"], timeout=600)
    assert "1008" not in await _processes(sandbox)


@pytest.mark.parametrize("sandbox", [{"limits": Limits(memory_mb=128, pids=77, cpus=0.5)}], indirect=True)
async def test_limits_are_what_the_kernel_has(docker: DockerBackend, sandbox: DockerSandbox) -> None:
    had = docker.daemon.client.api.inspect_container(sandbox.id)["HostConfig"]
    assert had["Memory"] == had["MemorySwap"] == 128 << 20
    assert had["PidsLimit"] == 77
    assert had["NanoCpus"] == 500_000_000
    counted = await sandbox.exec(
        ["sh", "-c", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null"],
        timeout=20,
    )
    assert int(counted.stdout) == 128 << 20
    status = (await sandbox.exec(["cat", "/proc/self/status"], timeout=20)).stdout.decode()
    assert "NoNewPrivs:\t1" in status
    capabilities = int(status.partition("CapEff:")[2].split()[0], 16)
    assert not capabilities & (1 << 13)  # NET_RAW
    assert not capabilities & (1 << 21)  # SYS_ADMIN


@pytest.mark.parametrize("sandbox", [{"cap_drop_all": True}], indirect=True)
async def test_without_capabilities_a_time_out_still_kills(sandbox: DockerSandbox) -> None:
    status = (await sandbox.exec(["cat", "/proc/self/status"], timeout=20)).stdout.decode()
    assert int(status.partition("CapBnd:")[2].split()[0], 16) == 0
    await sandbox.exec(["sh", "-c", "(setsid sleep 1009 &); sleep 1009"], timeout=1, user="nobody")
    assert "1009" not in await _processes(sandbox)


async def test_an_image_that_is_not_here_is_one_sentence(docker: DockerBackend) -> None:
    with pytest.raises(FactoryError, match="not on this machine: build it first"):
        await docker.start(SandboxSpec(image="verifactory/no-such-image:1"))


async def test_stop_is_idempotent_and_removes(docker: DockerBackend, base_image: str) -> None:
    sandbox = await docker.start(SandboxSpec(image=base_image))
    await sandbox.stop()
    await sandbox.stop()
    assert not docker.daemon.client.api.containers(all=True, filters={"id": sandbox.id})
