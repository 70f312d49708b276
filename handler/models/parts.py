"""One large object into one file: several parts at once, and none twice, even after a crash.

Takes a store that gives ranges and one version of an object; gives the file, of the right size. What was there of an
earlier try is kept: beside the file, ``.NAME.parts`` lists the parts that are in it. Whether the bytes are the right
ones is for the caller to check. Knows nothing of models.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from handler.clock import Clock
from handler.errors import Unavailable
from handler.store.base import GivesRanges, Info
from handler.store.s3_body import pause

PART = 32 << 20  # bytes of one request
THREADS = 4
ATTEMPTS = 8  # requests for one part


class Ended(Exception):
    """Another part failed; this one need not go on."""


class Parts:
    """Which parts of ``path`` are there. Safe to use from several threads."""

    def __init__(self, path: Path, size: int, part: int = PART) -> None:
        self._notes = path.with_name(f".{path.name}.parts")
        self._head = f"{size} {part}"
        self._lock = threading.Lock()
        self._done = self._read() if path.is_file() and path.stat().st_size == size else set()
        self.missing = [(first, min(first + part, size)) for first in range(0, size, part) if first not in self._done]
        if not self._done:
            self._notes.write_text(f"{self._head}\n")

    def _read(self) -> set[int]:
        try:
            head, *lines = self._notes.read_text().splitlines()
            return {int(line) for line in lines} if head == self._head else set()
        except (OSError, ValueError):
            return set()

    def done(self, first: int) -> None:
        """That part's bytes are in the file."""
        with self._lock, self._notes.open("a") as notes:
            notes.write(f"{first}\n")

    def forget(self) -> None:
        self._notes.unlink(missing_ok=True)


def download(
    store: GivesRanges,
    info: Info,
    path: Path,
    clock: Clock,
    *,
    check: Callable[[], None] = lambda: None,
    told: Callable[[int], None] = lambda count: None,
    part: int = PART,
    threads: int = THREADS,
) -> bool:
    """The object's bytes into ``path``; True if some were there of an earlier try.

    ``check`` is called again and again, in any thread but in one at a time: what it raises ends the download and passes
    through. ``told`` gets the number of bytes that arrived. `Unavailable`, `Changed`, `NotFound`; OSError of the local
    disk. What came until then stays, for the next try.
    """
    parts = Parts(path, info.size, part)
    lacking = sum(last - first for first, last in parts.missing)
    told(info.size - lacking)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    over, turn = threading.Event(), threading.Lock()

    def arrived(count: int) -> None:
        with turn:
            if over.is_set():
                raise Ended
            check()
            told(count)

    def fetch(first: int, last: int) -> None:
        _fetch(store, info, fd, first, last, clock, arrived)
        parts.done(first)

    try:
        os.ftruncate(fd, info.size)
        _fetch_all(fetch, parts.missing, threads, over)
    finally:
        os.close(fd)
    return lacking < info.size


def _fetch_all(
    fetch: Callable[[int, int], None], missing: Sequence[tuple[int, int]], threads: int, over: threading.Event
) -> None:
    """All of them, several at once. The first error is raised when all have ended; ``over`` is set meanwhile."""

    def one(first: int, last: int) -> None:
        try:
            fetch(first, last)
        except BaseException:
            over.set()
            raise

    with ThreadPoolExecutor(threads, "model") as pool:
        futures = [pool.submit(one, first, last) for first, last in missing]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:
            over.set()
            raise
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, Ended)):
        raise error


def _fetch(
    store: GivesRanges, info: Info, fd: int, first: int, last: int, clock: Clock, arrived: Callable[[int], None]
) -> None:
    """One part; a torn answer is continued where it ended."""
    at = first
    torn: Unavailable | None = None
    for attempt in range(ATTEMPTS):
        pause(clock, attempt)
        arrived(0)
        try:
            for piece in store.pieces(info, at, last):
                _write(fd, piece, at)
                at += len(piece)
                arrived(len(piece))
        except Unavailable as error:
            torn = error
        if at == last:
            return
    raise Unavailable(f"{info.key} does not arrive whole in {ATTEMPTS} requests for a part of it") from torn


def _write(fd: int, piece: bytes, at: int) -> None:
    view = memoryview(piece)
    while view:
        count = os.pwrite(fd, view, at)
        view, at = view[count:], at + count
