"""What the kernel's counters say of memory kills, in the format of either cgroup version."""

from __future__ import annotations

import pytest

from envs.docker.processes import oom_kills

V1 = b"oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
V1_BEFORE_LINUX_4_13 = b"oom_kill_disable 0\nunder_oom 0\n"
V2 = b"low 0\nhigh 12\nmax 40\noom 7\noom_kill 2\noom_group_kill 1\n"


@pytest.mark.parametrize(
    ("counters", "kills"),
    [
        (V1, 3),
        (V2, 2),
        (V2.replace(b"oom_kill 2", b"oom_kill 0"), 0),
        (V1_BEFORE_LINUX_4_13, 0),
        (b"", 0),
        (b"oom_kill\noom_kill many\n\xff\n", 0),
    ],
    ids=["v1", "v2", "v2, none killed", "v1 without the counter", "no file", "not a counter"],
)
def test_kills_are_counted(counters: bytes, kills: int) -> None:
    assert oom_kills(counters) == kills
