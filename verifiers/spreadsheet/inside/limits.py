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
NO_SUCH_CALL = 0x00050000 | 38  # and with ENOSYS, where the C library then takes an older one
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_BITS, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # offsets of what the filter sees
X32 = 0x40000000
CLONE3, THREAD = 435, 0x00010000
# architecture, clone, and: socket, connect, socketpair, bind, execve, execveat, ptrace, fork, vfork, kill,
# io_uring_setup
MACHINES = {
    "x86_64": (0xC000003E, 56, (41, 42, 53, 49, 59, 322, 101, 57, 58, 62, 425)),
    "aarch64": (0xC00000B7, 220, (198, 203, 199, 200, 221, 281, 117, 129, 425)),
}
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
        architecture, clone, refused = MACHINES[platform.machine()]
    except KeyError:
        raise Unconfined(f"no filter of system calls is known for {platform.machine()}") from None
    program = [(LOAD, 0, 0, ARCHITECTURE), (JUMP_EQUAL, 1, 0, architecture), (RETURN, 0, 0, REFUSE)]
    program += [(LOAD, 0, 0, NUMBER), (JUMP_AT_LEAST, 0, 1, X32), (RETURN, 0, 0, REFUSE)]
    for number in refused:
        program += [(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, REFUSE)]
    program += [(JUMP_EQUAL, 0, 1, CLONE3), (RETURN, 0, 0, NO_SUCH_CALL)]
    program += [(JUMP_EQUAL, 0, 3, clone), (LOAD, 0, 0, FIRST_ARGUMENT)]  # threads yes, processes no
    program += [(JUMP_BITS, 1, 0, THREAD), (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)]
    packed = b"".join(struct.pack("<HBBI", *step) for step in program)
    steps = ctypes.create_string_buffer(packed, len(packed))
    header = struct.pack("@HxxxxxxQ", len(program), ctypes.addressof(steps))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise Unconfined("privileges cannot be given up")
    if libc.prctl(PR_SET_SECCOMP, FILTER_MODE, ctypes.create_string_buffer(header, len(header)), 0, 0):
        raise Unconfined(f"the kernel takes no filter of system calls (errno {ctypes.get_errno()})")
