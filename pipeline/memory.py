"""How much memory there is to use: the machine's, or the container's where that is less.

Reads what the system says. Knows nothing of what the memory is for.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

GROUPS = tuple(Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory/memory.limit_in_bytes"))
"""Where control groups of version 2 and 1 tell their limit: cgroups(7)."""


def machine_bytes() -> int:
    """Bytes of memory that this machine has, or that its container may use if that is less."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(whole, container_bytes() or whole)


def container_bytes(groups: Iterable[Path] = GROUPS) -> int | None:
    """None where there is no limit; one near 2^63, as version 1 writes, is none, too, though it is given."""
    found = []
    for path in groups:
        with contextlib.suppress(OSError, ValueError):
            found.append(int(path.read_text()))
    return min(found, default=None)
