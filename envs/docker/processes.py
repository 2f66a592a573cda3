"""Ending a command with everything it started, and telling what the memory limit did.

Each command runs under its own small init (`docker-init -s`, which the daemon mounts read-only), a
*subreaper*: a process that daemonises becomes its child instead of the container's, so the command's
processes stay one tree for as long as it runs. At a time-out the tree is frozen, then killed, by a script
inside the container. The image may have been tampered with, so the script is not believed: the daemon's own
process list, taken before and after, decides, and if anything of the tree lives on, the container is
restarted, which ends every process in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from docker import APIClient
from docker.errors import APIError

MARKER = "VERIFACTORY_EXEC"
INIT = "/sbin/docker-init"

# Shell builtins only: at the limit on processes nothing can be forked. /proc/*/status escapes names; stat
# does not.
_PARENT_OF = r"""
parent_of() {
    while read -r key value; do
        [ "$key" = PPid: ] && { parent=$value; return 0; }
    done 2>/dev/null < "/proc/$1/status"
    return 1
}
"""
_END_TREE = (
    _PARENT_OF
    + r"""
mark=$1
marked() {
    while read -r line || [ -n "$line" ]; do
        case $line in *VERIFACTORY_EXEC=$mark*) return 0 ;; esac
    done 2>/dev/null < "/proc/$1/environ"
    return 1
}
tree=" "
for dir in /proc/[0-9]*; do
    pid=${dir#/proc/}
    [ "$pid" = 1 ] && continue
    [ "$pid" = $$ ] && continue
    parent_of "$pid" && [ "$parent" = 0 ] && marked "$pid" && tree="$tree$pid "
done
[ "$tree" = " " ] && exit 3
kill -STOP $tree 2>/dev/null
sweeps=0
grew=1
while [ $grew = 1 ] && [ $sweeps -lt 50 ]; do
    grew=0
    sweeps=$((sweeps + 1))
    for dir in /proc/[0-9]*; do
        pid=${dir#/proc/}
        case $tree in *" $pid "*) continue ;; esac
        parent_of "$pid" || continue
        case $tree in *" $parent "*) tree="$tree$pid "; kill -STOP "$pid" 2>/dev/null; grew=1 ;; esac
    done
done
kill -KILL $tree 2>/dev/null
exit 0
"""
)


# Everything but the container's own two processes (the init, and its first child, which keeps it up) and this
# shell. The child is looked for among the lowest numbers; if that is wrong the sandbox ends, and is not used
# again.
_END_ALL = (
    _PARENT_OF
    + r"""
keeper=
for dir in /proc/[0-9]*; do
    pid=${dir#/proc/}
    parent_of "$pid" && [ "$parent" = 1 ] && { [ -z "$keeper" ] || [ "$pid" -lt "$keeper" ]; } && keeper=$pid
done
for round in 1 2 3 4 5; do
    for dir in /proc/[0-9]*; do
        pid=${dir#/proc/}
        [ "$pid" = 1 ] || [ "$pid" = $$ ] || [ "$pid" = "$keeper" ] || kill -KILL "$pid" 2>/dev/null
    done
done
exit 0
"""
)
_EMPTY = r"""
for folder in "$@"; do find "$folder" -mindepth 1 -xdev -delete || exit 1; done
"""


def end_all_command() -> list[str]:
    return ["/bin/sh", "-c", _END_ALL, "end-all"]


def empty_command(folders: tuple[str, ...]) -> list[str]:
    return ["/bin/sh", "-c", _EMPTY, "empty", *folders]


def end_tree_command(token: str) -> list[str]:
    return ["/bin/sh", "-c", _END_TREE, "end-tree", token]


def under_init(argv: list[str]) -> list[str]:
    return [INIT, "-s", "--", *argv]


@dataclass(frozen=True)
class ProcessList:
    """What the daemon sees of a container: parent by process id, in the host's numbering."""

    parent: dict[int, int]

    @classmethod
    def of(cls, api: APIClient, container: str) -> ProcessList | None:
        """None where the daemon's host has no usable `ps`, or the container is not running."""
        try:
            shown = api.top(container, ps_args="-eo pid,ppid")
        except APIError:
            return None
        return cls({int(row[0]): int(row[1]) for row in shown["Processes"]})

    def tree(self, roots: set[int]) -> set[int]:
        found = roots & self.parent.keys()
        grown = True
        while grown:
            more = {pid for pid, parent in self.parent.items() if parent in found and pid not in found}
            found |= more
            grown = bool(more)
        return found


def survivors(before: ProcessList, after: ProcessList, ended: int, others: set[int]) -> set[int]:
    """Processes in `after` that belonged to the tree of `ended`, or came up meanwhile and belong to no other
    command.
    """
    tree = before.tree({ended})
    spared = after.tree(others)
    return {pid for pid in after.parent if pid in tree or (pid not in before.parent and pid not in spared)}


OOM_COUNTERS = ["/bin/cat", "/sys/fs/cgroup/memory/memory.oom_control", "/sys/fs/cgroup/memory.events"]
"""cgroup v1 and v2; the one that is not there is an error that nobody reads."""


def oom_kills(counters: bytes) -> int:
    """Processes of a container that its memory limit has ended so far."""
    for line in counters.decode("ascii", "replace").splitlines():
        key, _, value = line.partition(" ")
        if key == "oom_kill" and value.isdigit():
            return int(value)
    return 0
