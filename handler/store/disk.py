"""File-system calls that a folder store is made of: open, read, lock, and the system's errors in our words.

Takes real paths and descriptors; knows nothing of keys, of the root, or of the `Store` protocol.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator

from handler.errors import AccessDenied, BadKey, StoreError, Unavailable
from handler.store.files import CHUNK

SHARDS = 64  # lock files; writers of different files seldom meet

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV)  # from a file system without them

# O_PATH, where there is one: a folder that may be passed through need not be readable.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO)


def version_of(found: os.stat_result) -> str:
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"


def etag_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def open_regular(real: bytes, root: bytes) -> int | None:
    """A descriptor for reading, None if there is no regular file. Never waits for a pipe's writer. Follows no link
    below ``root``, in which ``real`` lies: somebody may have put one in place of a folder since it was resolved.
    """
    folders = real[len(root.rstrip(b"/")) + 1 :].split(b"/")
    name = folders.pop()
    try:
        above = os.open(root, _FOLDER)
        try:
            for folder in folders:
                below = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=above)
                os.close(above)
                above = below
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=above)
        finally:
            os.close(above)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def chunks(fd: int) -> Iterator[bytes]:
    while chunk := os.read(fd, CHUNK):
        yield chunk


def read_all(fd: int, limit: int) -> bytes:
    """Up to ``limit`` bytes: a file that somebody appends to would else never end."""
    parts, left = [], limit
    while left and (part := os.read(fd, min(CHUNK, left))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def write_all(fd: int, body: bytes) -> None:
    rest = memoryview(body)
    while rest:
        rest = rest[os.write(fd, rest) :]


def sync_folder(folder: bytes) -> None:
    """Names made, renamed or removed in ``folder`` survive the machine."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def is_folder(path: bytes) -> bool:
    """A real folder, not a link to one."""
    return os.path.isdir(path) and not os.path.islink(path)


def remove_if_empty(path: bytes) -> bool:
    """Whether ``path`` was an empty folder, which it no longer is."""
    try:
        os.rmdir(path)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def locked(folder: bytes, name: bytes) -> Iterator[None]:
    """One writer at a time for everything that shares ``name``'s lock file in ``folder``, over all processes and
    threads.

    The kernel lets go when the holder dies. A holder that is stopped (SIGSTOP) makes the others wait.
    """
    shard = int.from_bytes(hashlib.sha256(name).digest()[:4], "big") % SHARDS
    path = os.path.join(folder, b"%02x" % shard)
    while True:
        os.makedirs(folder, exist_ok=True)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            continue  # the folder was cleared since the line above
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            # If somebody cleared the folder while we waited, this lock no longer excludes anybody.
            if _is_at(fd, path):
                yield
                return
        finally:
            os.close(fd)


def _is_at(fd: int, path: bytes) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def errors_as_ours(what: str) -> Iterator[None]:
    """OSErrors in the words of `handler.errors`; ``what`` completes "cannot …"."""
    try:
        yield
    except OSError as error:
        where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
        detail = f"{error.strerror or error}: {where}" if where else f"{error.strerror or error}"
        raise _translated(error, f"cannot {what}: {detail}") from error


def _translated(error: OSError, message: str) -> StoreError:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return AccessDenied(message, "Give the user that runs this the right to read and write the folder.")
    if error.errno == errno.ENAMETOOLONG:
        return BadKey(message, "Use a shorter key.")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(message, "Free space on the disk that holds the folder.")
    return Unavailable(message, "Check the disk that holds the folder, then try again.")
