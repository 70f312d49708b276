"""What tests of the protocol rely on: the store in memory counts, fails and keeps time as it is told to."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from handler.clock import VirtualClock
from handler.errors import NotFound, Unavailable
from handler.store.memory import Call, MemoryStore, Phase


def test_every_request_is_counted(memory_store: MemoryStore, tmp_path: Path) -> None:
    """Each method is one request of its kind, refused ones too; what only tests use is none."""
    memory_store.drop("in/a", b"x")
    memory_store.put("out/a", b"x")
    memory_store.get("in/a")
    info = memory_store.head("in/a")
    memory_store.download(info, tmp_path / "copy")
    memory_store.upload("out/b", tmp_path / "copy")
    list(memory_store.list("in/"))
    memory_store.delete("out/b")
    with pytest.raises(NotFound):
        memory_store.get("out/b")
    assert memory_store.counts() == {"GET": 3, "HEAD": 1, "PUT": 2, "LIST": 1, "DELETE": 1}
    assert memory_store.calls[0] == Call("put", "PUT", "out/a")
    assert memory_store.peek("out/b") is None
    assert memory_store.keys("o") == ("out/a",)
    assert len(memory_store.calls) == 8


@pytest.mark.parametrize(("count", "pages"), [(0, 1), (1, 1), (1000, 1), (1001, 2), (2000, 2), (2001, 3)])
def test_one_list_per_thousand_keys(memory_store: MemoryStore, count: int, pages: int) -> None:
    """A listing costs a request for each 1,000 keys that it gives, and one if it gives none."""
    for number in range(count):
        memory_store.drop(f"in/{number:05d}", b"")
    assert len(list(memory_store.list("in/"))) == count
    assert memory_store.counts()["LIST"] == pages


def test_listings_stop_early(memory_store: MemoryStore) -> None:
    """Who takes only the first key of a long listing pays for one page."""
    for number in range(2500):
        memory_store.drop(f"in/{number:05d}", b"")
    assert next(memory_store.list("in/")).key == "in/00000"
    assert memory_store.counts()["LIST"] == 1


@pytest.mark.parametrize(("phase", "applied"), [("before", False), ("after", True)])
def test_hooks_lose_requests_and_responses(memory_store: MemoryStore, phase: Phase, applied: bool) -> None:
    """A hook that raises before a write keeps it from happening; one that raises after it, only from being known."""

    def hook(call: Call, now: Phase) -> None:
        if now == phase:
            raise Unavailable("fault")

    client = memory_store.client(hook)
    with pytest.raises(Unavailable):
        client.put("a", b"x", if_absent=True)
    assert (memory_store.peek("a") == b"x") is applied
    assert (len(client.calls), len(memory_store.calls)) == (1, 0)


def test_refusals_can_be_lost(memory_store: MemoryStore) -> None:
    """The answer to a request that was refused is lost like any other: its sender learns nothing."""
    memory_store.put("a", b"x")

    def hook(call: Call, now: Phase) -> None:
        if now == "after":
            raise Unavailable("fault")

    with pytest.raises(Unavailable):
        memory_store.client(hook).put("a", b"y", if_absent=True)
    assert memory_store.peek("a") == b"x"


def test_hooks_may_use_the_store(memory_store: MemoryStore) -> None:
    """A hook can let another worker act between a request and its answer."""

    def hook(call: Call, now: Phase) -> None:
        if now == "before":
            memory_store.put("a", b"theirs")

    assert memory_store.client(hook).get("a").body == b"theirs"


def test_ages_are_the_virtual_clocks(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """An object ages as the store's clock is advanced, and a rewrite makes it new."""
    memory_store.put("a", b"x")
    virtual_clock.advance(90.5)
    assert memory_store.get("a").age == pytest.approx(90.5)
    assert memory_store.head("a").store_time == virtual_clock.time()
    memory_store.put("a", b"x")
    assert memory_store.get("a").age == 0.0


def test_equal_bytes_have_equal_etags(memory_store: MemoryStore) -> None:
    """A→B→A has A's ETag again, as on S3: a protocol that would fall for it there falls for it here."""
    first = memory_store.put("a", b"A")
    memory_store.put("a", b"B")
    memory_store.put("a", b"A")
    assert memory_store.put("a", b"stale", if_match=first)


def test_inputs_have_metadata(virtual_clock: VirtualClock) -> None:
    """`drop` gives an input its metadata, which `head` shows and a listing does not; a digest only where it is
    vouched for.
    """
    store = MemoryStore(virtual_clock, vouch_sha256=True)
    dropped = store.drop("in/a", b"x", {"dropscribe": "diarize=true"})
    info = store.head("in/a")
    assert info.metadata == {"dropscribe": "diarize=true"}
    assert info.sha256 == hashlib.sha256(b"x").hexdigest()
    assert list(store.list("")) == [dropped]
    assert (dropped.metadata, dropped.sha256) == ({}, None)
