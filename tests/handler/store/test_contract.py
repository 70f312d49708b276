"""The promises of `handler.store.base.Store`, kept by all three stores; with ``--s3``, on that server alone."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from handler.clock import SystemClock
from handler.errors import BadKey, Changed, NotFound, Refused
from handler.store.base import Store
from handler.store.memory import MemoryStore
from handler.store.swap import Conflict, put_record


@pytest.fixture(params=["memory", "folder", pytest.param("s3", marks=pytest.mark.server)])
def store(request: pytest.FixtureRequest) -> Store:
    """Each implementation in turn."""
    found: Store = request.getfixturevalue(f"{request.param}_store")
    return found


def keys(store: Store, prefix: str = "", start_after: str = "") -> list[str]:
    return [info.key for info in store.list(prefix, start_after=start_after)]


def race(count: int, work: Callable[[int], str]) -> list[str]:
    """What ``count`` threads return that start ``work`` at the same moment."""
    gate = threading.Barrier(count)

    def run(number: int) -> str:
        gate.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@pytest.mark.parametrize("body", [b"", b"a", bytes(range(256)) * 5000])
def test_get_gives_what_was_put(store: Store, body: bytes) -> None:
    """Any bytes, none included, come back whole, with the ETag that `put` returned."""
    etag = store.put("results/a.json", body)
    found = store.get("results/a.json")
    assert (found.body, found.etag) == (body, etag)
    assert found.age >= 0
    assert found.store_time > 0


def test_put_replaces(store: Store) -> None:
    """A second write is seen by every read after it, and is another version."""
    first = store.put("a/b", b"one")
    before = store.head("a/b")
    second = store.put("a/b", b"two!")
    assert first != second
    assert store.get("a/b").body == b"two!"
    assert store.head("a/b").version != before.version
    assert keys(store) == ["a/b"]


def test_absent_objects(store: Store, tmp_path: Path) -> None:
    """`get`, `head` and `download` say `NotFound` of what is not there; `delete` is content."""
    store.put("a/present", b"x")
    info = store.head("a/present")
    store.delete("a/present")
    store.delete("a/present")
    for read in (lambda: store.get("a/present"), lambda: store.head("a/present"), lambda: store.get("a")):
        with pytest.raises(NotFound):
            read()
    with pytest.raises(NotFound):
        store.download(info, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert keys(store) == []


@pytest.mark.parametrize("key", ["", "nul\0nul", "\ud800", "x" * 1025])
def test_impossible_keys(store: Store, key: str) -> None:
    """A key that no store can hold is refused with a line when written, and is simply absent when read or deleted."""
    with pytest.raises(BadKey) as raised:
        store.put(key, b"x")
    assert raised.value.hint
    with pytest.raises(NotFound):
        store.get(key)
    with pytest.raises(NotFound):
        store.head(key)
    store.delete(key)


def test_create_if_absent(store: Store) -> None:
    """The first create wins, a second is refused and changes nothing; after a delete the key is free again."""
    etag = store.put("jobs/1", b"first", if_absent=True)
    with pytest.raises(Refused):
        store.put("jobs/1", b"second", if_absent=True)
    assert store.get("jobs/1").etag == etag
    store.delete("jobs/1")
    store.put("jobs/1", b"third", if_absent=True)
    assert store.get("jobs/1").body == b"third"


def test_compare_and_swap(store: Store) -> None:
    """The right ETag (of `put` or of `get`) is accepted; a stale one, or any one of an absent key, is refused."""
    first = store.put("jobs/1", b"first", if_absent=True)
    second = store.put("jobs/1", b"second", if_match=first)
    with pytest.raises(Refused):
        store.put("jobs/1", b"stale", if_match=first)
    store.put("jobs/1", b"third", if_match=store.get("jobs/1").etag)
    with pytest.raises(Refused):
        store.put("jobs/1", b"stale", if_match=second)
    with pytest.raises(Refused):
        store.put("jobs/absent", b"stale", if_match=first)
    assert store.get("jobs/1").body == b"third"
    assert keys(store, "jobs/") == ["jobs/1"]


def test_both_conditions(store: Store) -> None:
    """Asking for both conditions is a bug in the caller, not a race that was lost."""
    with pytest.raises(ValueError, match="exclude"):
        store.put("jobs/1", b"x", if_absent=True, if_match="etag")


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_one_creator_wins(kind: str, request: pytest.FixtureRequest) -> None:
    """Of many threads that create the same key, exactly one is told that it did, and its bytes are there."""
    store: Store = request.getfixturevalue(f"{kind}_store")

    def create(number: int) -> str:
        try:
            store.put(f"jobs/deep/{turn}", str(number).encode(), if_absent=True)
        except Refused:
            return ""
        return str(number)

    for turn in range(20):
        winners = [name for name in race(8, create) if name]
        assert [store.get(f"jobs/deep/{turn}").body.decode()] == winners


def test_no_swap_is_lost(store: Store, request: pytest.FixtureRequest) -> None:
    """Many threads that count one record up by compare-and-swap lose no count (on the tests' own S3 server, which
    checks and then writes: each loses to another one only).
    """
    clock = SystemClock()
    atomic = "s3" not in request.node.callspec.id or bool(request.config.getoption("--s3"))
    workers, each = (4, 15) if atomic else (2, 4)
    start = put_record(store, "jobs/count", {"count": 0}, etag=None, clock=clock)

    def count(_: int) -> str:
        done, body, etag = 0, start.body, start.etag
        while done < each:
            fields = json.loads(body)
            try:
                written = put_record(store, "jobs/count", {"count": fields["count"] + 1}, etag=etag, clock=clock)
            except Conflict as conflict:
                found = conflict.found or store.get("jobs/count")
                body, etag = found.body, found.etag
            else:
                done, body, etag = done + 1, written.body, written.etag
        return ""

    race(workers, count)
    total = json.loads(store.get("jobs/count").body)["count"]
    assert total == workers * each if atomic else total <= workers * each


def test_listing(store: Store) -> None:
    """A listing has every key under the prefix, once, in the order of the whole key's bytes, with size and version."""
    names = ["a-b", "a.b/x", "a/b", "a/b-c", "a/c/d", "a0", "aa", "é", "z", "\U0001f600", "Ā/x", "\uffee", ".dot/x"]
    for name in reversed(names):
        store.put(name, name.encode())
    ordered = sorted(names, key=str.encode)
    assert keys(store) == ordered
    assert keys(store, "a/") == ["a/b", "a/b-c", "a/c/d"]
    assert keys(store, "a/b") == ["a/b", "a/b-c"]
    assert keys(store, "a") == [name for name in ordered if name.startswith("a")]
    assert keys(store, "nothing/") == []
    for after in [*names, "a", "a/", "a/b!", "zz"]:
        assert keys(store, "", after) == [name for name in ordered if name.encode() > after.encode()]
    assert keys(store, "a/", "a/b") == ["a/b-c", "a/c/d"]
    assert keys(store, "a/", "a") == ["a/b", "a/b-c", "a/c/d"]
    for info in store.list(""):
        head = store.head(info.key)
        assert (info.size, info.version, info.modified) == (len(info.key.encode()), head.version, head.modified)
        assert (info.store_time, dict(info.metadata), info.sha256) == (0.0, {}, None)


def test_listing_over_pages(store: Store, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """More keys than a page holds are all listed, in order, and each page is one request."""
    names = [f"in/{number:05d}" for number in range(1003)]
    if "s3" in request.node.callspec.id:
        place = request.getfixturevalue("s3_place")
        for name in names:
            place.client.put_object(Bucket=place.bucket, Key=f"{place.prefix}/{name}", Body=b"")
    else:
        for name in names:
            store.put(name, b"")
    assert keys(store, "in/") == names
    assert keys(store, "in/", "in/00999") == names[1000:]
    if isinstance(store, MemoryStore):
        assert store.counts()["LIST"] == 2 + 1


def test_upload_and_download(store: Store, tmp_path: Path) -> None:
    """A file goes there and back unchanged, and `download` gives its SHA-256; an older copy is replaced."""
    body = bytes(range(256)) * 12_000
    (tmp_path / "source").write_bytes(body)
    (tmp_path / "copy").write_bytes(body * 2)
    store.upload("blobs/x", tmp_path / "source")
    store.upload("blobs/x", tmp_path / "source")
    info = store.head("blobs/x")
    assert info.size == len(body)
    assert store.download(info, tmp_path / "copy") == hashlib.sha256(body).hexdigest()
    assert (tmp_path / "copy").read_bytes() == body


def test_empty_download(store: Store, tmp_path: Path) -> None:
    """An object without bytes is downloaded as a file without bytes."""
    store.put("in/empty", b"")
    assert store.download(store.head("in/empty"), tmp_path / "copy") == hashlib.sha256(b"").hexdigest()
    assert (tmp_path / "copy").read_bytes() == b""


def test_download_of_another_version(store: Store, tmp_path: Path) -> None:
    """An object that was replaced since it was listed is `Changed`, and no file is left."""
    store.put("in/a", b"one")
    info = next(iter(store.list("in/")))
    store.put("in/a", b"two")
    with pytest.raises(Changed):
        store.download(info, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


class Halt(Exception):
    """What a caller raises who no longer wants what it asked for."""


def test_a_download_can_be_ended(store: Store, tmp_path: Path) -> None:
    """`check` is asked for every piece of a download; what it raises ends the download and leaves no file."""
    body = bytes(range(256)) * 12_000
    (tmp_path / "source").write_bytes(body)
    store.upload("in/a", tmp_path / "source")
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked == last:
            raise Halt

    info, last = store.head("in/a"), 0
    assert store.download(info, tmp_path / "copy", check=check) == hashlib.sha256(body).hexdigest()
    (tmp_path / "copy").unlink()
    last, asked = asked, 0
    assert last >= (1 if isinstance(store, MemoryStore) else 3)
    with pytest.raises(Halt):
        store.download(info, tmp_path / "copy", check=check)
    assert asked == last
    assert not (tmp_path / "copy").exists()


def test_full_disk_passes_through(store: Store, tmp_path: Path) -> None:
    """An error of the disk that a download goes to is the disk's own, not the store's."""
    store.put("in/a", b"x" * 100_000)
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        store.download(store.head("in/a"), tmp_path / "full")


def test_url_names_the_store(store: Store) -> None:
    """The URL has a scheme and no credentials."""
    assert store.url.split(":")[0] in ("memory", "file", "s3")
    assert "test:test" not in store.url


LONG = "in/" + "/".join(["ü %+&=#?😀 ~" * 13 + str(number) for number in range(5)]) + "." * 13


@pytest.mark.parametrize("key", ["in/a b%2Fc+d&e=f?g#h.wav", "in/Ünï😀\t.wav", LONG])
def test_any_unicode_in_keys(store: Store, key: str, tmp_path: Path) -> None:
    """Spaces, percent signs, tabs, emoji and a thousand bytes survive every operation."""
    assert len(LONG.encode()) == 1000
    if store.url.startswith("s3:"):  # there the limit is of prefix and key together
        above = len(store.url.split("/", 3)[3]) + 1
        while len(key.encode()) + above > 1024:
            key = key[:-1]
    store.put(key, b"x", if_absent=True)
    assert keys(store, "in/") == [key]
    assert keys(store, key[:-3]) == [key]
    assert store.get(key).body == b"x"
    store.download(store.head(key), tmp_path / "copy")
    store.delete(key)
    assert keys(store) == []
