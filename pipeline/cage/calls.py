"""Which system calls a process may not make any more: a seccomp filter in the kernel's own little language.

No connections: `socket` gives EAFNOSUPPORT, as on a machine without a network, and io_uring, which has a way of its own
to sockets, is not there. Other processes of the same user stay closed: their memory, descriptors and namespaces. Holds
for all threads, present and future, and for whatever is executed. Knows nothing of files.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import socket
import struct
from collections.abc import Iterable

from pipeline.cage.kernel import call, number

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
_X32 = 0x40000000  # from here on, x86_64 takes the calls of another ABI, with numbers of its own

# linux/bpf_common.h, linux/seccomp.h
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_AT_NUMBER, _AT_ARCHITECTURE, _AT_FIRST_ARGUMENT = 0, 4, 16  # in struct seccomp_data
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_SET_MODE_FILTER, _ALL_THREADS = 1, 1

_CLOSED = ("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "unshare", "setns")

# A GPU's driver talks to its own daemons (MPS, persistence) on this machine.
LOCAL_FAMILIES = (socket.AF_UNIX, 16)  # AF_NETLINK, which other systems lack


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def refuse(*, network: bool, families: Iterable[int] = ()) -> None:
    """From now on. ``network``: whether sockets may be made; if not, only those of ``families``. Needs no_new_privs.
    OSError where the kernel or the machine has no such filter.
    """
    filters = _filter(network, tuple(families))
    program = _Program(len(filters) // 8, filters)
    call("seccomp", _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(program))


def _filter(network: bool, families: tuple[int, ...]) -> bytes:
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise OSError(f"no filter of system calls is known for {machine}")
    lines = [
        _line(_LOAD, _AT_ARCHITECTURE),
        _line(_EQUAL, _ARCHITECTURES[machine], 1, 0),
        _line(_RETURN, _ERRNO | errno.EPERM),
        _line(_LOAD, _AT_NUMBER),
    ]
    if machine == "x86_64":
        lines += [_line(_AT_LEAST, _X32, 0, 1), _line(_RETURN, _ERRNO | errno.EPERM)]
    for name in _CLOSED if network else (*_CLOSED, "io_uring_setup"):
        lines += [_line(_EQUAL, number(name), 0, 1), _line(_RETURN, _ERRNO | errno.EPERM)]
    if not network:
        lines.append(_line(_EQUAL, number("socket"), 0, 3 + len(families)))  # else: to the last line
        lines.append(_line(_LOAD, _AT_FIRST_ARGUMENT))
        for place, family in enumerate(families):
            lines.append(_line(_EQUAL, family, len(families) - place, 0))
        lines.append(_line(_RETURN, _ERRNO | errno.EAFNOSUPPORT))
        lines.append(_line(_RETURN, _ALLOW))
    lines.append(_line(_RETURN, _ALLOW))
    return b"".join(lines)


def _line(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One struct sock_filter; the jumps count lines that are left out."""
    return struct.pack("=HBBI", code, if_true, if_false, value)
