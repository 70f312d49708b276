"""System calls that Python has no name for, by ctypes. OSError where the kernel refuses; knows nothing of why they are
made.
"""

from __future__ import annotations

import ctypes
import os
import platform

PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h

# asm/unistd.h. Those from 424 on have one number on every machine.
_NUMBERS = {
    "x86_64": {
        "socket": 41, "ptrace": 101, "capset": 126, "unshare": 272, "setns": 308, "process_vm_readv": 310,
        "process_vm_writev": 311, "seccomp": 317,
    },
    "aarch64": {
        "capset": 91, "unshare": 97, "ptrace": 117, "socket": 198, "setns": 268, "process_vm_readv": 270,
        "process_vm_writev": 271, "seccomp": 277,
    },
}  # fmt: skip
_EVERYWHERE = {
    "io_uring_setup": 425, "pidfd_getfd": 438, "landlock_create_ruleset": 444, "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}  # fmt: skip


def number(name: str) -> int:
    """Of a system call on this machine. OSError on a machine whose numbers are not known here."""
    numbers = {**_EVERYWHERE, **_NUMBERS.get(platform.machine(), {})}
    if name not in numbers:
        raise OSError(f"the number of {name} on {platform.machine()} is not known")
    return numbers[name]


def call(name: str, *arguments: object) -> int:
    """What the system call gives. OSError with its errno."""
    return checked(_libc().syscall(ctypes.c_long(number(name)), *(_wide(argument) for argument in arguments)))


def prctl(option: int, *arguments: int) -> int:
    """prctl(2). OSError with its errno."""
    wide = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    return checked(_libc().prctl(ctypes.c_int(option), *wide))


def checked(answer: int) -> int:
    if answer < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return answer


def _wide(argument: object) -> object:
    """An int as wide as a register: the rest of it would be whatever was there."""
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
