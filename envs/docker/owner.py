"""Labels: how we know our own containers, networks and images, and which process a container belongs to.

Only what carries `LABEL` is ever removed. A container or network also carries `OWNER`, which names machine,
boot, process namespace, process and its start time, so that one left by a killed process can be told from
one in use. An image never carries a usable `OWNER`: labels of an image are inherited by every container
that anybody starts from it, and those are not ours to remove.
"""

from __future__ import annotations

import os
import platform
import subprocess
from functools import lru_cache
from pathlib import Path

LABEL = "org.verifactory"
OWNER = "org.verifactory.owner"
HOME = "org.verifactory.home"
KIND = "org.verifactory.kind"
TAG = "org.verifactory.tag"


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When process `pid` started, in the system's own terms; '' when there is no such process."""
    stat = _read(f"/proc/{pid}/stat")
    if stat:
        fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
        return "" if fields[0] in "ZX" else fields[19]
    if Path("/proc/self/stat").exists():
        return ""
    shown = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return "-".join(shown.stdout.split())


@lru_cache(maxsize=1)
def _place() -> tuple[str, str, str]:
    """Machine, boot, process namespace."""
    machine = _read("/etc/machine-id") or platform.node()
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = "host"
    return machine, _read("/proc/sys/kernel/random/boot_id") or "-", namespace


def owner() -> str:
    """This process, as the value of `OWNER`."""
    return "|".join((*_place(), str(os.getpid()), _started(os.getpid())))


def owner_is_dead(value: str) -> bool:
    """True only if it is certain: of this machine, and of an earlier boot or a process that is gone from our
    namespace.
    """
    parts = value.split("|")
    if len(parts) != 5:
        return False
    machine, boot, namespace, pid, started = parts
    here = _place()
    if machine != here[0]:
        return False
    if boot != here[1]:
        return True
    return namespace == here[2] and pid.isdigit() and _started(int(pid)) != started


def owned_labels(home: Path, kind: str) -> dict[str, str]:
    """Labels of a container or network that lives as long as this process."""
    return {LABEL: "1", OWNER: owner(), HOME: str(home.absolute()), KIND: kind}


def image_labels(kind: str, tag: str) -> dict[str, str]:
    """Labels of an image of ours.

    `TAG` repeats its tag: an image that somebody builds on it inherits a wrong one.
    """
    return {LABEL: "1", KIND: kind, TAG: tag, OWNER: ""}
