"""The engine on a kernel without Landlock and without filters of system calls: an earlier filter answers for them."""

from __future__ import annotations

import ctypes
import errno
import os
import sys

from pipeline.cage import calls
from pipeline.cage.kernel import PR_SET_NO_NEW_PRIVS, call, number, prctl


def main() -> None:
    lines = [calls._line(calls._LOAD, calls._AT_NUMBER)]
    for name in ("landlock_create_ruleset", "seccomp"):
        lines += [
            calls._line(calls._EQUAL, number(name), 0, 1),
            calls._line(calls._RETURN, calls._ERRNO | errno.ENOSYS),
        ]
    lines.append(calls._line(calls._RETURN, calls._ALLOW))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    filters = b"".join(lines)
    call("seccomp", calls._SET_MODE_FILTER, 0, ctypes.byref(calls._Program(len(lines), filters)))
    os.execv(sys.executable, [sys.executable, "-P", "-m", "pipeline", "engine", *sys.argv[1:]])


if __name__ == "__main__":
    main()
