"""What a process that reads a stranger's workbook may do: bounded memory, time and files, no network.

Linux only. Memory and processor time are resource limits, so a bomb ends in MemoryError or a signal of this
process alone. The network and other programs are taken away by a seccomp filter, which needs no privilege.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_SET_DUMPABLE, FILTER_MODE = 38, 22, 4, 2
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 1  # the refused call fails with EPERM
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
# socket, connect, socketpair, bind, execve, execveat, ptrace, fork, vfork, kill, io_uring_setup
_X86 = (41, 42, 53, 49, 59, 322, 101, 57, 58, 62, 425)
_ARM = (198, 203, 199, 200, 221, 281, 117, 129, 425)
MACHINES = {"x86_64": (0xC000003E, _X86), "aarch64": (0xC00000B7, _ARM)}
NOBODY = 65534


class Unconfined(Exception):
    """This machine cannot hold a process to these limits."""


def confine(*, memory_bytes: int, cpu_seconds: int, network: bool = False, uid: int = NOBODY) -> None:
    """Hold the present process, for good. Raises Unconfined where that is not possible."""
    for what, limit in (
        (resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, 256 << 20), (resource.RLIMIT_NOFILE, 256), (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        resource.setrlimit(what, (limit, limit))
    libc = ctypes.CDLL(None, use_errno=True)
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # or its own /proc/self/fd would be closed to it
    if not network:
        _no_calls(libc)


def _no_calls(libc: ctypes.CDLL) -> None:
    try:
        architecture, refused = MACHINES[platform.machine()]
    except KeyError:
        raise Unconfined(f"no filter of system calls is known for {platform.machine()}") from None
    program = [(LOAD, 0, 0, 4), (JUMP_EQUAL, 1, 0, architecture), (RETURN, 0, 0, REFUSE), (LOAD, 0, 0, 0)]
    for place, number in enumerate(refused):
        program.append((JUMP_EQUAL, len(refused) - place, 0, number))
    # The x32 numbers of x86-64 are other names of the same calls.
    program += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    if platform.machine() == "x86_64":
        program.insert(4, (0x35, len(refused) + 1, 0, 0x40000000))
    packed = b"".join(struct.pack("<HBBI", *step) for step in program)
    steps = ctypes.create_string_buffer(packed, len(packed))
    header = struct.pack("@HxxxxxxQ", len(program), ctypes.addressof(steps))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise Unconfined("privileges cannot be given up")
    if libc.prctl(PR_SET_SECCOMP, FILTER_MODE, ctypes.create_string_buffer(header, len(header)), 0, 0):
        raise Unconfined(f"the kernel takes no filter of system calls (errno {ctypes.get_errno()})")
