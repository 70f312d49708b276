"""A folder as a store of several processes, and of processes that die."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from folder_rig import ROOT, files, keys

from handler.clock import SystemClock, VirtualClock
from handler.errors import NotFound, Refused
from handler.store.disk import locked
from handler.store.folder import FolderStore
from handler.store.swap import Conflict, put_record

# ── several processes ────────────────────────────────────────────────────────────────────────────────────────────────


def create_all(root: str, worker: int, start: float) -> list[int]:
    """The numbers of the keys that this process created; each is in a folder that others keep deleting."""
    store = FolderStore(Path(root), SystemClock())
    while time.time() < start:
        time.sleep(0.001)
    won = []
    for number in range(150):
        try:
            store.put(f"jobs/{number % 7}/{number}/x", str(worker).encode(), if_absent=True)
            won.append(number)
        except Refused:
            pass
        store.put(f"jobs/{number % 7}/passing/{worker % 2}", b"")
        store.delete(f"jobs/{number % 7}/passing/{worker % 2}")
    return won


def count_up(root: str, each: int, start: float) -> int:
    clock = SystemClock()
    store = FolderStore(Path(root), clock)
    while time.time() < start:
        time.sleep(0.001)
    found = store.get("jobs/count")
    body, etag, done = found.body, found.etag, 0
    while done < each:
        try:
            written = put_record(store, "jobs/count", {"count": json.loads(body)["count"] + 1}, etag=etag, clock=clock)
        except Conflict as conflict:
            found = conflict.found or found
            body, etag = found.body, found.etag
        else:
            body, etag, done = written.body, written.etag, done + 1
    return done


def in_processes(work: Any, arguments: list[tuple[Any, ...]]) -> list[Any]:
    start = time.time() + 1.0
    with multiprocessing.get_context("spawn").Pool(len(arguments)) as pool:
        found = pool.starmap(work, [(*given, start) for given in arguments], chunksize=1)
        pool.close()
        pool.join()
    return found


def test_one_process_creates(folder_store: FolderStore, tmp_path: Path) -> None:
    """Of racing processes exactly one creates each key, while the folders around it come and go."""
    root = str(tmp_path / "bucket")
    found = in_processes(create_all, [(root, worker) for worker in range(3)])
    assert sorted(number for won in found for number in won) == list(range(150))
    for worker, won in enumerate(found):
        assert all(folder_store.get(f"jobs/{number % 7}/{number}/x").body == str(worker).encode() for number in won)
    assert not [name for name in files(tmp_path / "bucket") if ".tmp" in name]


def test_no_swap_of_a_process_is_lost(folder_store: FolderStore, tmp_path: Path) -> None:
    """Processes that count one record up by compare-and-swap lose no count."""
    put_record(folder_store, "jobs/count", {"count": 0}, etag=None, clock=SystemClock())
    found = in_processes(count_up, [(str(tmp_path / "bucket"), 60)] * 3)
    assert json.loads(folder_store.get("jobs/count").body)["count"] == sum(found) == 180


KILLED = """
import sys
from pathlib import Path
from handler.clock import SystemClock
from handler.store.base import Info
from handler.store.folder import FolderStore
store = FolderStore(Path(sys.argv[1]), SystemClock(), fsync=True)
body = b"%d" * 100_000
etag = store.put("jobs/1", body % ((0,) * 100_000))
print("started", flush=True)
number = 0
while True:
    number = (number + 1) % 10
    etag = store.put("jobs/1", body % ((number,) * 100_000), if_match=etag)
"""


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """A writer that is killed leaves a whole record and no lock; its leftovers are in no listing and go after an
    hour.
    """
    root = tmp_path / "bucket"
    store = FolderStore(root, SystemClock())
    for turn in range(6):
        writer = subprocess.Popen([sys.executable, "-c", KILLED, str(root)], stdout=subprocess.PIPE, cwd=ROOT)
        with writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.013 * turn)
            writer.send_signal(signal.SIGKILL)
        found = store.get("jobs/1")
        assert len(found.body) == 100_000
        assert len(set(found.body)) == 1
        store.put("jobs/1", b"free", if_match=found.etag)
        assert keys(store) == ["jobs/1"]


def test_leftovers_are_swept(tmp_path: Path) -> None:
    """A temporary file is removed an hour after its last write, by a listing or by a store's first write beside it."""
    clock = VirtualClock()
    for act in (lambda store: list(store.list("in/")), lambda store: store.put("in/b", b"x")):
        store = FolderStore(tmp_path, clock)
        store.put("in/a", b"x")
        leftover = tmp_path / "in" / f".dropscribe-{clock.new_id()}.tmp"
        leftover.write_bytes(b"half")
        os.utime(leftover, (clock.time(), clock.time()))
        clock.advance(3599)
        act(FolderStore(tmp_path, clock))
        assert leftover.exists()
        clock.advance(2)
        act(FolderStore(tmp_path, clock))
        assert not leftover.exists()


def test_locks_may_be_cleared(folder_store: FolderStore, tmp_path: Path) -> None:
    """Somebody who deletes the hidden folder deletes what is in it, and breaks nothing."""
    etag = folder_store.put("jobs/1", b"one")
    for path in (tmp_path / "bucket/.dropscribe/locks").iterdir():
        path.unlink()
    (tmp_path / "bucket/.dropscribe/locks").rmdir()
    folder_store.put("jobs/1", b"two", if_match=etag)
    assert folder_store.get("jobs/1").body == b"two"


def test_lock_cleared_while_waiting(tmp_path: Path) -> None:
    """Who waited for a lock file that was deleted meanwhile does not enter beside the holder of the new one."""
    entered = threading.Event()

    def wait_for_it() -> None:
        with locked(bytes(tmp_path), b"name"):
            entered.set()

    waiting = threading.Thread(target=wait_for_it)
    with contextlib.ExitStack() as newer:
        with locked(bytes(tmp_path), b"name"):
            waiting.start()
            time.sleep(0.2)
            next(tmp_path.iterdir()).unlink()
            newer.enter_context(locked(bytes(tmp_path), b"name"))
        assert not entered.wait(0.3)
    waiting.join()
    assert entered.is_set()


def test_reading_makes_nothing(tmp_path: Path) -> None:
    """Looking at a folder that is not there finds nothing and does not make it."""
    store = FolderStore(tmp_path / "bucket", SystemClock())
    assert keys(store) == []
    store.delete("in/a")
    with pytest.raises(NotFound):
        store.head("in/a")
    assert not (tmp_path / "bucket").exists()
