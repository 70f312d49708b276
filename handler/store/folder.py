"""A plain folder as a store, safe between the processes of one host; nothing to install, nothing to keep running.

Takes a path and a clock; gives the `Store` protocol. Create-if-absent is a hard link, which fails if the name exists;
compare-and-swap is a rename under a file lock; readers see the old or the new file, never half of one. A process may
be killed at any moment: locks go with it, and what it was writing has a name that no listing shows and is swept after
an hour. With ``fsync`` a write is on the disk before it returns, so that it survives the machine, too. Knows nothing
of jobs.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

from handler.clock import Clock
from handler.errors import BadKey, Changed, NotFound, Refused, Unavailable, UnsafeStore
from handler.store import disk
from handler.store.base import Found, Info, Listing
from handler.store.files import CHUNK, receive, removed_on_error
from handler.store.keys import one_condition
from handler.store.readiness import Readiness
from handler.store.tree import Tree, temp_name

LEFTOVER_SECONDS = 3600.0  # a temporary file not written to for this long belongs to a process that is gone
TRIES = 100  # how often a create begins again because somebody else removed the empty folder it had just made
STABLE_READS = 5  # how often `get` reads a file that somebody writes in place
_REMEMBERED = 4096


class FolderStore:
    """See `handler.store.base.Store`.

    A file is not ``ready`` until it has not changed for ``settle_seconds``: somebody may still be copying it
    (`handler.store.readiness`). ``age`` is this host's time − mtime; every write stamps the mtime from ``clock``.
    """

    def __init__(self, path: Path, clock: Clock, *, fsync: bool = False, settle_seconds: float = 1.0) -> None:
        self._path = Path(os.path.abspath(path))
        self._tree = Tree(self._path, self._sweep)
        self._clock = clock
        self._fsync = fsync
        self._readiness = Readiness(clock, settle_seconds)
        self._tidied: OrderedDict[bytes, None] = OrderedDict()
        self._memory_lock = threading.Lock()

    @property
    def url(self) -> str:
        return self._path.as_uri()

    @property
    def listing(self) -> Listing:
        return "free"

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[Info]:
        walk = self._tree.walk(prefix, start_after)
        while True:
            with disk.errors_as_ours(f"list {prefix} in {self.url}"):
                entry = next(walk, None)
            if entry is None:
                return
            yield self._info(*entry, store_time=0.0)

    def head(self, key: str) -> Info:
        with self._reading(key), self._open(key) as fd:
            return self._info(key, os.fstat(fd), self._clock.time())

    def get(self, key: str) -> Found:
        for attempt in range(STABLE_READS):
            with self._reading(key), self._open(key) as fd:
                before = os.fstat(fd)
                body = disk.read_all(fd, before.st_size + 1)
                after = os.fstat(fd)
            if disk.version_of(before) == disk.version_of(after) and len(body) == after.st_size:
                now = self._clock.time()
                return Found(body, disk.etag_of(body), max(0.0, now - after.st_mtime), now)
            self._clock.sleep(0.05 * 2**attempt)
        raise Unavailable(f"{key} in {self.url} is being written in place", "Try again once its writer is done.")

    def download(self, info: Info, path: Path, *, check: Callable[[], None] = lambda: None) -> str:
        with contextlib.ExitStack() as stack:
            with self._reading(info.key):
                fd = stack.enter_context(self._open(info.key))
                _check(info, fd)
            with removed_on_error(path):
                sha256 = receive(path, self._chunks(info, fd), check)
                with self._reading(info.key), self._open(info.key) as present:
                    _check(info, fd)  # written to in place meanwhile?
                    _check(info, present)  # replaced meanwhile?
        return sha256

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        one_condition(if_absent, if_match)
        with self._writing(key), self._staged(key) as (fd, temp, target):
            disk.write_all(fd, body)
            if if_absent:
                self._seal(fd)
                self._link(temp, target, key)
            else:
                with self._lock(target):
                    if if_match is not None and self._present_etag(key) != if_match:
                        raise Refused(f"{key} in {self.url} is not the version that was asked for")
                    self._seal(fd)
                    self._rename(temp, target, key)
            self._sync_folder(os.path.dirname(target))
        return disk.etag_of(body)

    def upload(self, key: str, path: Path) -> None:
        with path.open("rb") as source, self._writing(key), self._staged(key) as (fd, temp, target):
            while chunk := source.read(CHUNK):
                disk.write_all(fd, chunk)
            self._seal(fd)
            with self._lock(target):
                self._rename(temp, target, key)
            self._sync_folder(os.path.dirname(target))

    def delete(self, key: str) -> None:
        target = self._tree.name_of(key)
        if target is None or not os.path.lexists(target) or disk.is_folder(target):
            return
        with disk.errors_as_ours(f"delete {key} in {self.url}"):
            try:
                with self._lock(target):
                    os.unlink(target)
            except (FileNotFoundError, NotADirectoryError):
                return
            self._sync_folder(os.path.dirname(target))
            for parent in self._tree.removable_parents(target):
                if not disk.remove_if_empty(parent):
                    break  # not empty, or gone already: then those above are somebody else's to remove

    # ── inside: reading ──────────────────────────────────────────────────────────────────────────────────────────────

    def _reading(self, key: str) -> contextlib.AbstractContextManager[None]:
        return disk.errors_as_ours(f"read {key} in {self.url}")

    @contextlib.contextmanager
    def _open(self, key: str) -> Iterator[int]:
        real = self._tree.find(key)
        fd = None if real is None else disk.open_regular(real, self._tree.root)
        if fd is None:
            raise NotFound(f"no object {key} in {self.url}")
        try:
            yield fd
        finally:
            os.close(fd)

    def _chunks(self, info: Info, fd: int) -> Iterator[bytes]:
        """Only errors of *this* folder become ours, not those of the disk that the chunks are written to."""
        chunks, left = disk.chunks(fd), info.size
        while True:
            with self._reading(info.key):
                chunk = next(chunks, None)
            if chunk is None:
                return
            left -= len(chunk)
            if left < 0:  # somebody appends: without this, as long as they do
                raise Changed(f"{info.key} grew meanwhile")
            yield chunk

    def _info(self, key: str, found: os.stat_result, store_time: float) -> Info:
        version = disk.version_of(found)
        left = self._readiness.left(key, version, found.st_mtime)
        return Info(key, found.st_size, version, int(found.st_mtime), store_time, ready=left == 0, ready_in=left)

    # ── inside: writing ──────────────────────────────────────────────────────────────────────────────────────────────

    def _writing(self, key: str) -> contextlib.AbstractContextManager[None]:
        return disk.errors_as_ours(f"write {key} in {self.url}")

    def _lock(self, target: bytes) -> contextlib.AbstractContextManager[None]:
        return disk.locked(self._tree.locks, os.path.realpath(target))

    @contextlib.contextmanager
    def _staged(self, key: str) -> Iterator[tuple[int, bytes, bytes]]:
        """(descriptor, path, target) of a temporary file beside its target, removed if it was not renamed."""
        fd, temp, target = self._create_temp(key)
        try:
            self._tidy(os.path.dirname(temp))
            yield fd, temp, target
        finally:
            os.close(fd)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temp)

    def _create_temp(self, key: str) -> tuple[int, bytes, bytes]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        for _ in range(TRIES):
            folder, name = self._tree.place(key)
            temp = os.path.join(folder, temp_name(self._clock.new_id()))
            try:
                self._make_folders(folder)
                # Once the temporary file is in it, the folder cannot be removed by a racing `delete`.
                return os.open(temp, flags, 0o666), temp, os.path.join(folder, name)
            except FileNotFoundError:
                continue
            except (FileExistsError, NotADirectoryError):
                obstacle = self._tree.obstacle(folder)
                if obstacle is not None:
                    raise _clash(key, f"{obstacle} is a file") from None
        raise Unavailable(f"the folder of {key} in {self.url} keeps being removed", "Try again.")

    def _make_folders(self, folder: bytes) -> None:
        if os.path.isdir(folder):
            return
        self._make_folders(os.path.dirname(folder))
        try:
            os.mkdir(folder)
        except FileExistsError:
            if not os.path.isdir(folder):
                raise
        self._sync_folder(os.path.dirname(folder))

    def _link(self, temp: bytes, target: bytes, key: str) -> None:
        for _ in range(2):
            try:
                return os.link(temp, target)
            except FileExistsError:
                # An empty folder is no object: a process died between deleting the last one in it and removing it.
                if not disk.remove_if_empty(target):
                    break
            except OSError as error:
                if error.errno in disk.NO_LINKS:
                    raise UnsafeStore(
                        f"{self.url} cannot refuse to overwrite a file: its file system has no hard links",
                        "Use a folder on a file system that has them (ext4, xfs, btrfs, APFS), or an S3 store.",
                    ) from error
                raise
        if disk.is_folder(target):
            raise _clash(key, f"there are files in {key}/")
        raise Refused(f"{key} exists already in {self.url}")

    def _rename(self, temp: bytes, target: bytes, key: str) -> None:
        try:
            os.rename(temp, target)
        except IsADirectoryError:
            if not disk.remove_if_empty(target):
                raise _clash(key, f"there are files in {key}/") from None
            os.rename(temp, target)

    def _present_etag(self, key: str) -> str | None:
        try:
            with self._open(key) as fd:
                return disk.etag_of(disk.read_all(fd, os.fstat(fd).st_size + 1))
        except NotFound:
            return None

    def _seal(self, fd: int) -> None:
        """The last touch before the file gets its name: the time it was written, by our clock, and onto the disk."""
        now = int(self._clock.time() * 1e9)
        os.utime(fd, ns=(now, now))
        if self._fsync:
            os.fsync(fd)

    def _sync_folder(self, folder: bytes) -> None:
        if self._fsync:
            with contextlib.suppress(FileNotFoundError):  # removed since, because it was empty
                disk.sync_folder(folder)

    # ── inside: what killed processes leave ──────────────────────────────────────────────────────────────────────────

    def _tidy(self, folder: bytes) -> None:
        """Sweep a folder when this object first writes to it; those that are listed are swept by the listing."""
        with self._memory_lock:
            if folder in self._tidied:
                return
            self._tidied[folder] = None
            if len(self._tidied) > _REMEMBERED:
                self._tidied.popitem(last=False)
        self._tree.meet_temps(folder)

    def _sweep(self, temp: bytes) -> None:
        with contextlib.suppress(OSError):  # another process may sweep, too; a listing must not fail over litter
            if self._clock.time() - os.stat(temp, follow_symlinks=False).st_mtime > LEFTOVER_SECONDS:
                os.unlink(temp)


def _check(info: Info, fd: int) -> None:
    if disk.version_of(os.fstat(fd)) != info.version:
        raise Changed(f"{info.key} was replaced or written to meanwhile")


def _clash(key: str, why: str) -> BadKey:
    return BadKey(f"a folder cannot hold {key}: {why}", "Use another key: a folder cannot hold both `a` and `a/b`.")
