"""A worker's own folder in the work directory, and what killed workers of this machine have left there.

A worker holds a lock on its folder for as long as its process lives; the kernel lets go of it however that ends. So a
folder whose lock is free belongs to nobody, and goes with the next worker that starts. What lies inside is nobody
else's to read: recordings, and what is heard in them. Knows nothing of it itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
from pathlib import Path

from handler.errors import CannotWrite

log = logging.getLogger(__name__)

_LOCK = ".lock"
_OWN = 0o700  # the mode of folders in which recordings lie for a while


def made(work_dir: Path) -> Path:
    """The work directory, which is there afterwards. `CannotWrite` with what to do."""
    try:
        work_dir.mkdir(mode=_OWN, parents=True, exist_ok=True)
    except OSError as error:
        raise _useless(work_dir, error) from error
    return work_dir


def _useless(work_dir: Path, error: OSError) -> CannotWrite:
    return CannotWrite(
        f"the work directory {work_dir} cannot be used: {error.strerror or error}",
        "Set DROPSCRIBE_WORK_DIR to another.",
    )


class Scratch:
    """``work_dir/name``, removed with everything in it on `close`. ``name`` is this worker's alone."""

    def __init__(self, work_dir: Path, name: str) -> None:
        self.path = work_dir / name
        self._fd: int | None = None

    def open(self) -> None:
        """Make and lock the folder, and remove those of workers that were killed. `CannotWrite` where none can be
        made, OSError when a living worker of this machine has the name.
        """
        parent = made(self.path.parent)
        for lock in parent.glob(f"[!.]*/{_LOCK}"):
            _sweep(lock)
        # Under a name that nobody sweeps until it is locked.
        making = parent / f".{self.path.name}"
        try:
            making.mkdir(mode=_OWN, exist_ok=True)
            making.chmod(_OWN)  # should it have been there
            self._fd = os.open(making / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _useless(parent, error) from error
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
