"""What only the folder store can get wrong: paths, links, half-written files, other processes, and processes that
die.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.clock import SystemClock, VirtualClock
from handler.errors import AccessDenied, BadKey, Changed, NotFound, Refused, StoreError, Unavailable
from handler.store.base import Info
from handler.store.disk import errors_as_ours, locked
from handler.store.folder import FolderStore
from handler.store.memory import MemoryStore
from handler.store.swap import Conflict, put_record

ROOT = Path(__file__).resolve().parents[3]


def keys(store: FolderStore, prefix: str = "") -> list[str]:
    return [info.key for info in store.list(prefix)]


def files(folder: Path) -> list[str]:
    """All files in a folder, hidden ones and temporary ones too, but no locks."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if not path.is_relative_to(".dropscribe/locks"))


# ── keys and paths ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "key",
    ["/a", "a/", "a//b", "..", "../a", "a/../b", "./a", "a/.", "é" * 121, ".dropscribe/locks/00", ".dropscribe/locks"],
)
def test_keys_that_are_no_paths(folder_store: FolderStore, tmp_path: Path, key: str) -> None:
    """A key that would leave the folder, name another file, or cannot be a file name is refused, and nothing is
    written.
    """
    for if_absent in (True, False):
        with pytest.raises(BadKey) as raised:
            folder_store.put(key, b"x", if_absent=if_absent)
        assert raised.value.hint
    with pytest.raises(NotFound):
        folder_store.get(key)
    folder_store.delete(key)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_longest_component(folder_store: FolderStore) -> None:
    """240 bytes of UTF-8 are a component, 241 are not; a longer name that is there already can be read."""
    folder_store.put("in/" + "é" * 120, b"x")
    with pytest.raises(BadKey, match="240"):
        folder_store.put("in/" + "é" * 120 + "x", b"x")
    root = Path(folder_store.url.removeprefix("file://"))
    (root / "in" / ("y" * 255)).write_bytes(b"long")
    assert folder_store.get("in/" + "y" * 255).body == b"long"


@pytest.mark.parametrize("if_absent", [True, False])
def test_clashing_keys(folder_store: FolderStore, if_absent: bool) -> None:
    """`a` and `a/b` cannot both be: the second is refused with a line that names what is in the way."""
    folder_store.put("in/a", b"x")
    with pytest.raises(BadKey, match="in/a is a file"):
        folder_store.put("in/a/b/c", b"x", if_absent=if_absent)
    folder_store.put("in/d/e", b"x")
    with pytest.raises(BadKey, match="there are files in in/d/"):
        folder_store.put("in/d", b"x", if_absent=if_absent)
    with pytest.raises(NotFound):
        folder_store.get("in/d")
    folder_store.delete("in/d")
    assert keys(folder_store) == ["in/a", "in/d/e"]


@pytest.mark.parametrize("if_absent", [True, False])
def test_empty_folder_is_no_object(folder_store: FolderStore, tmp_path: Path, if_absent: bool) -> None:
    """A folder that a dead process left empty does not keep its name from being an object's."""
    (tmp_path / "bucket/in/a").mkdir(parents=True)
    folder_store.put("in/a", b"x", if_absent=if_absent)
    assert keys(folder_store) == ["in/a"]


def test_delete_removes_empty_folders(folder_store: FolderStore, tmp_path: Path) -> None:
    """The last object in a folder takes the folder with it, but never the root or a folder in it."""
    folder_store.put("in/a/b/c", b"x")
    folder_store.put("in/a/d", b"x")
    folder_store.delete("in/a/b/c")
    assert not (tmp_path / "bucket/in/a/b").exists()
    assert keys(folder_store) == ["in/a/d"]
    folder_store.delete("in/a/d")
    assert not (tmp_path / "bucket/in/a").exists()
    assert (tmp_path / "bucket/in").is_dir()


def test_links_that_lead_out(folder_store: FolderStore, tmp_path: Path) -> None:
    """What lies outside the folder is neither listed, read, written nor deleted through a link in it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    folder_store.put("in/a", b"x")
    root = tmp_path / "bucket"
    (root / "in/link").symlink_to(outside / "secret")
    (root / "in/dir").symlink_to(outside)
    (root / "in/up").symlink_to("../..")
    (root / "in/self").symlink_to("self")
    (root / "in/gone").symlink_to("nothing")
    info = next(iter(folder_store.list("")))
    assert keys(folder_store) == ["in/a"]
    assert keys(folder_store, "in/dir/") == []
    for key in ("in/link", "in/dir/secret", "in/up/outside/secret", "in/self", "in/gone"):
        with pytest.raises(NotFound):
            folder_store.get(key)
        with pytest.raises(NotFound):
            folder_store.download(type(info)(key, 6, info.version, 0), tmp_path / "copy")
    with pytest.raises(BadKey, match="leads out"):
        folder_store.put("in/dir/new", b"x")
    folder_store.delete("in/dir/secret")
    assert files(outside) == ["secret"]


def warnings_of_two_listings(store: FolderStore, prefix: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        keys(store, prefix)
        keys(store, prefix)
    return [record.getMessage() for record in caplog.records]


def test_links_that_lead_out_are_told(
    folder_store: FolderStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each link that leads out is named in one warning, not in one for each scan; those that stay inside in none."""
    (tmp_path / "outside").mkdir()
    folder_store.put("in/a", b"x")
    root = tmp_path / "bucket"
    (root / "in/talk.wav").symlink_to(tmp_path / "outside/talk.wav")
    (root / "in/calls").symlink_to("../../outside")
    (root / "in/all").symlink_to("..")
    (root / "in/same").symlink_to("a")
    (root / "in/gone").symlink_to("nothing")
    told = warnings_of_two_listings(folder_store, "in/", caplog)
    assert [line.partition(" is skipped: ")[0] for line in sorted(told)] == [
        str(root / "in/calls"), str(root / "in/talk.wav"),
    ]  # fmt: skip
    assert all(f"leads out of {root}" in line for line in told)


def test_a_prefix_that_leads_out_is_told(
    folder_store: FolderStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A link in place of the folder that is listed is named as well; a folder that is not there yet is no trouble."""
    (tmp_path / "outside/today").mkdir(parents=True)
    folder_store.put("results/a", b"x")
    (tmp_path / "bucket/in").symlink_to(tmp_path / "outside")
    for prefix in ("in/", "in/today/"):
        store = FolderStore(tmp_path / "bucket", VirtualClock())
        [told] = warnings_of_two_listings(store, prefix, caplog)
        assert told.startswith(f"{tmp_path / 'bucket/in'} is skipped: it is a link that leads out")
    assert warnings_of_two_listings(folder_store, "nowhere/", caplog) == []


# Lists a bucket without the rights of root, twice; says what it saw, and what was warned of.
UNPRIVILEGED = """
import json, logging, os, sys
from pathlib import Path
from handler.clock import SystemClock
from handler.store.folder import FolderStore

told = []
handler = logging.Handler()
handler.emit = lambda record: told.append(record.getMessage())
logging.getLogger().addHandler(handler)
store = FolderStore(Path(sys.argv[1]), SystemClock())
list(store.list("in/open/"))  # what is imported late, is imported
if os.geteuid() == 0:
    os.seteuid(65534)
seen = [[info.key for info in store.list("in/")] for _ in range(2)]
try:
    list(store.list("in/closed/"))
except Exception as error:
    refused = type(error).__name__
print(json.dumps({"seen": seen, "told": told, "refused": refused}))
"""


def test_folders_that_may_not_be_read() -> None:
    """A folder that may not be read hides what is in it and nothing else, with one warning; asked for by its own name
    it is an error.
    """
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        root = Path(name)
        root.chmod(0o755)
        for key in ("in/a", "in/closed/b", "in/names/c", "in/open/d", "in/z"):
            (root / key).parent.mkdir(parents=True, exist_ok=True)
            (root / key).write_bytes(b"x")
        for folder in (root, root / "in", root / "in/open"):
            folder.chmod(0o755)
        (root / "in/closed").chmod(0o000)
        (root / "in/names").chmod(0o444)
        try:
            command = [sys.executable, "-c", UNPRIVILEGED, name]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        finally:
            (root / "in/closed").chmod(0o755)
            (root / "in/names").chmod(0o755)
        found = json.loads(done.stdout)
        assert found["seen"] == [["in/a", "in/open/d", "in/z"]] * 2
        assert [line.partition(" is skipped: ")[0] for line in found["told"]] == [
            str(root / "in/closed"), str(root / "in/names"),
        ]  # fmt: skip
        assert all("right to read it" in line for line in found["told"])
        assert found["refused"] == "AccessDenied"


def test_links_that_stay_inside(folder_store: FolderStore, tmp_path: Path) -> None:
    """A link to a file or folder in the bucket is followed, a circle of them only once."""
    folder_store.put("archive/a", b"x")
    root = tmp_path / "bucket"
    (root / "in").mkdir()
    (root / "in/b").symlink_to("../archive/a")
    (root / "in/old").symlink_to("../archive")
    (root / "archive/back").symlink_to("../in")
    assert keys(folder_store, "in/") == ["in/b", "in/old/a"]
    assert folder_store.get("in/b").body == b"x"
    assert folder_store.get("in/old/a").body == b"x"


def test_what_is_no_file(folder_store: FolderStore, tmp_path: Path) -> None:
    """A pipe in the folder is neither listed nor waited for."""
    folder_store.put("in/a", b"x")
    os.mkfifo(tmp_path / "bucket/in/pipe")
    assert keys(folder_store) == ["in/a"]
    with pytest.raises(NotFound):
        folder_store.get("in/pipe")


def test_names_that_are_not_utf8(folder_store: FolderStore, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file whose name is not UTF-8 is skipped with one warning, not one for each scan."""
    folder_store.put("in/a", b"x")
    (tmp_path / "bucket/in" / os.fsdecode(b"b\xff.wav")).write_bytes(b"x")
    with caplog.at_level(logging.WARNING):
        assert keys(folder_store) == ["in/a"]
        assert keys(folder_store) == ["in/a"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "UTF-8" in caplog.text


def test_locks_are_not_objects(folder_store: FolderStore, tmp_path: Path) -> None:
    """The lock files are in the bucket, and in no listing."""
    folder_store.put(".dropscribe/v1/jobs/1", b"x")
    assert list((tmp_path / "bucket/.dropscribe/locks").iterdir())
    assert keys(folder_store) == [".dropscribe/v1/jobs/1"]
    assert keys(folder_store, ".dropscribe/locks/") == []


PART = st.text("ab-./0é", min_size=1, max_size=3).filter(lambda text: text.strip("./") == text and "//" not in text)


@settings(max_examples=60, deadline=None)
@given(st.sets(PART, max_size=12), st.text("ab-/é", max_size=3), st.text("ab-/é", max_size=3))
def test_listing_is_that_of_a_sorted_map(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], prefix: str, after: str
) -> None:
    """For any keys, prefix and start, a folder lists what the store in memory lists."""
    clock = VirtualClock()
    folder, model = FolderStore(tmp_path_factory.mktemp("b"), clock), MemoryStore(clock)
    for name in sorted(names):
        try:
            folder.put(name, b"x")
        except BadKey:
            continue
        model.put(name, b"x")
    expected = [(info.key, info.modified) for info in model.list(prefix, start_after=after)]
    assert [(info.key, info.modified) for info in folder.list(prefix, start_after=after)] == expected


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
