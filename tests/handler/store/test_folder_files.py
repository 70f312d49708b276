"""A folder as a store: times, files that change under the reader, and what the system answers."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from handler.clock import SystemClock, VirtualClock
from handler.errors import AccessDenied, BadKey, Changed, StoreError, Unavailable
from handler.store.base import Info
from handler.store.disk import errors_as_ours
from handler.store.folder import FolderStore

# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ready_once_settled(tmp_path: Path) -> None:
    """A file is ready when nobody has written to it for a second, in a listing as in `head`."""
    clock = VirtualClock()
    store = FolderStore(tmp_path, clock)
    store.put("in/a", b"x")
    for seconds, ready in ((0.0, False), (0.9, False), (0.2, True)):
        clock.advance(seconds)
        assert store.head("in/a").ready is ready
        assert [info.ready for info in store.list("in/")] == [ready]


def test_mtime_in_the_future(tmp_path: Path) -> None:
    """A file from the future is ready when this store has seen the same version for a second, and not before."""
    clock = VirtualClock()
    store = FolderStore(tmp_path, clock)
    store.put("in/a", b"x")
    os.utime(tmp_path / "in/a", (clock.time() + 9000, clock.time() + 9000))
    assert not store.head("in/a").ready
    clock.advance(0.5)
    os.utime(tmp_path / "in/a", (clock.time() + 9001, clock.time() + 9001))
    assert not store.head("in/a").ready
    clock.advance(0.9)
    assert not store.head("in/a").ready
    clock.advance(0.2)
    assert store.head("in/a").ready
    assert store.get("in/a").age == 0.0


def test_age_is_time_since_the_write(tmp_path: Path) -> None:
    """`age` counts from the write, `modified` is its whole second, and the version has size, mtime and inode."""
    clock = VirtualClock(start=1_000_000.75)
    store = FolderStore(tmp_path, clock)
    store.put("a", b"xyz")
    clock.advance(12.5)
    assert store.get("a").age == pytest.approx(12.5)
    info = store.head("a")
    assert (info.modified, info.store_time) == (1_000_000, 1_000_013.25)
    found = (tmp_path / "a").stat()
    assert info.version == f"3-{found.st_mtime_ns}-{found.st_ino}"


# ── files that change under the reader ───────────────────────────────────────────────────────────────────────────────


def test_written_in_place_while_read(tmp_path: Path) -> None:
    """A file that somebody keeps appending to while it is copied is `Changed` at once, and no copy is left."""
    path = tmp_path / "bucket/in/a"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * (3 << 20))

    class Growing(FolderStore):
        def _chunks(self, info: Info, fd: int) -> Any:
            for chunk in super()._chunks(info, fd):
                yield chunk
                with path.open("ab") as out:
                    out.write(b"more")

    store = Growing(tmp_path / "bucket", SystemClock())
    with pytest.raises(Changed):
        store.download(store.head("in/a"), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_replaced_while_read(tmp_path: Path) -> None:
    """A file that is replaced while it is copied is `Changed`, although the copy itself is whole."""

    class Replacing(FolderStore):
        def _chunks(self, info: Info, fd: int) -> Any:
            yield from super()._chunks(info, fd)
            self.put(info.key, b"two")

    store = Replacing(tmp_path / "bucket", SystemClock())
    store.put("in/a", b"one")
    with pytest.raises(Changed):
        store.download(store.head("in/a"), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    ("number", "error", "hint"),
    [
        (errno.ENOSPC, Unavailable, "Free space"),
        (errno.EACCES, AccessDenied, "right to read and write"),
        (errno.EROFS, AccessDenied, "right to read and write"),
        (errno.ENAMETOOLONG, BadKey, "shorter key"),
        (errno.EIO, Unavailable, "Check the disk"),
    ],
)
def test_errors_of_the_system(number: int, error: type[StoreError], hint: str) -> None:
    """What the operating system forbids, or has no room for, is one line that says where, and what to do."""
    with pytest.raises(error, match=f"cannot write a: {os.strerror(number)}: /b") as raised, errors_as_ours("write a"):
        raise OSError(number, os.strerror(number), "/b")
    assert hint in raised.value.hint
