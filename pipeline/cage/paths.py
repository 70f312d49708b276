"""Which files a process may see: Landlock, by which any process can shut itself out of the rest of the file system.

With it go, where the kernel knows them: signals to other processes, their /proc (whoever is outside cannot be looked
into), sockets without a name in the file system, and TCP. Knows nothing of what the paths are for.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress

from pipeline.cage.kernel import call

# linux/landlock.h
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_MAKE = 0x10 | 0x20 | 0x80 | 0x100 | 0x200 | 0x400 | 0x1000  # remove, make folders, files, sockets, pipes, links
_DEVICES = 0x40 | 0x800  # make devices: nobody may
_REFER, _TRUNCATE = 0x2000, 0x4000  # from ABI 2 and 3 on
_BIND_TCP, _CONNECT_TCP = 1, 2  # from ABI 4 on
_SCOPES = 1 | 2  # from ABI 6 on: abstract sockets, signals
_PATH_BENEATH = 1
_VERSION = 1
_FOR_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE

LOOK = _READ_FILE | _READ_DIR
USE = LOOK | _EXECUTE
ALTER = LOOK | _WRITE_FILE | _TRUNCATE
KEEP = ALTER | _MAKE | _REFER


def enclose(rights: Iterable[tuple[str, int]], *, network: bool) -> None:
    """From now on, for this thread and those that it starts: each path with what lies in it, and the rights in it
    (`LOOK`, `USE`, `ALTER`, `KEEP`). Paths that are not there are left out. Needs no_new_privs. OSError where the
    kernel has no Landlock.
    """
    version = call("landlock_create_ruleset", None, 0, _VERSION)
    known = _EXECUTE | _WRITE_FILE | _READ_FILE | _READ_DIR | _MAKE | _DEVICES
    known |= _REFER if version >= 2 else 0
    known |= _TRUNCATE if version >= 3 else 0
    parts = [known]
    if version >= 4:
        parts.append(0 if network else _BIND_TCP | _CONNECT_TCP)
    if version >= 6:
        parts.append(_SCOPES)
    attributes = struct.pack(f"={len(parts)}Q", *parts)
    ruleset = call("landlock_create_ruleset", ctypes.c_char_p(attributes), len(attributes), 0)
    try:
        for path, right in rights:
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                _add(ruleset, path, right & known)
        call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _add(ruleset: int, path: str, right: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            right &= _FOR_FILES
        rule = struct.pack("=Qi", right, place)
        call("landlock_add_rule", ruleset, _PATH_BENEATH, ctypes.c_char_p(rule), 0)
    finally:
        os.close(place)
