"""A worker's own folder in the work directory, and what killed workers of this machine have left there.

A worker holds a lock on its folder for as long as its process lives; the kernel lets go of it however that ends. So a
folder whose lock is free belongs to nobody, and goes with the next worker that starts. Knows nothing of what lies
inside.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

_LOCK = ".lock"


class Scratch:
    """``work_dir/name``, removed with everything in it on `close`. ``name`` is this worker's alone."""

    def __init__(self, work_dir: Path, name: str) -> None:
        self.path = work_dir / name
        self._fd: int | None = None

    def open(self) -> None:
        """Make and lock the folder, and remove those of workers that were killed. OSError, also when a living worker
        of this machine has the name.
        """
        parent = self.path.parent
        parent.mkdir(parents=True, exist_ok=True)
        for lock in parent.glob(f"[!.]*/{_LOCK}"):
            _sweep(lock)
        # Under a name that nobody sweeps until it is locked.
        making = parent / f".{self.path.name}"
        making.mkdir(exist_ok=True)
        self._fd = os.open(making / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        making.rename(self.path)

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _sweep(lock: Path) -> None:
    """Remove a folder whose worker is gone; another user's is left alone."""
    with contextlib.suppress(OSError):
        fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            log.info("removing %s, which a killed worker left behind", lock.parent)
            shutil.rmtree(lock.parent, ignore_errors=True)
        finally:
            os.close(fd)
