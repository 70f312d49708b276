"""`handler.sweep` while others are at work: what is in use stays, and a sweep that ends early does no harm."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from protocol_rig import Fault, layout_of
from sweep_rig import BLOBS, DAY, STAGES, Cache, large

from handler.clock import VirtualClock
from handler.errors import Unavailable
from handler.store.memory import Call, MemoryStore, Phase
from handler.sweep import Limits, Sweep, SweepStopped


@pytest.fixture
def cache(memory_store: MemoryStore, virtual_clock: VirtualClock, tmp_path: Path) -> Cache:
    return Cache(memory_store, virtual_clock, tmp_path)


# ── use keeps things young ───────────────────────────────────────────────────────────────────────────────────────────


def test_use_renews_once_a_day(cache: Cache) -> None:
    """An artifact that is used stays for good; a use within the day of the last write costs no PUT."""
    cache.keep("used", large("used"))
    cache.keep("unused", large("unused"))
    for _ in range(10):
        cache.clock.advance(DAY + 1)
        puts = cache.store.counts()["PUT"]
        assert cache.has("used", "used") == [True, True]
        assert cache.store.counts()["PUT"] == puts + 1
        cache.clock.advance(DAY / 2)
        assert cache.has("used") == [True]
        assert cache.store.counts()["PUT"] == puts + 1
    assert cache.sweep(cache_ttl=2 * DAY).references == 1
    assert cache.names("used", "unused") == [True, False]


# ── somebody else meanwhile ──────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_used_meanwhile_stays_with_its_blob(cache: Cache) -> None:
    """A reference that is renewed after the sweep has listed it stays, and so does the blob that it names."""
    cache.keep("used", large("used"))
    cache.clock.advance(2 * DAY)

    def hook(call: Call, phase: Phase) -> None:
        if (call.method, phase) == ("get", "after") and call.key == cache.key("used"):
            assert cache.has("used") == [True]

    cache.seen.hook = hook
    swept = cache.sweep(cache_ttl=DAY)
    assert (swept.references, swept.blobs) == (0, 0)
    assert cache.has("used") == [True]


def test_a_blob_that_is_written_again_stays(cache: Cache) -> None:
    """An old orphan whose bytes somebody makes again, and is about to name, is left to them: equal ETags or not."""
    cache.keep("first", large("same"))
    cache.store.delete(cache.key("first"))
    cache.clock.advance(2 * DAY)

    def hook(call: Call, phase: Phase) -> None:
        if (call.method, phase) == ("list", "after") and call.key == STAGES:
            cache.keep("second", large("same"))

    cache.seen.hook = hook
    assert cache.sweep().blobs == 0
    assert cache.has("second") == [True]


def test_a_stop_ends_it_between_two_requests(cache: Cache) -> None:
    """Told to stop it sends nothing more, and leaves no reference whose blob is gone."""
    for number in range(20):
        cache.keep(str(number), large(str(number)))
    cache.clock.advance(2 * DAY)
    stop = threading.Event()

    def hook(call: Call, phase: Phase) -> None:
        if (call.method, phase) == ("delete", "after"):
            stop.set()

    with pytest.raises(SweepStopped):
        Sweep(cache.store.client(hook), layout_of(cache.store), side_by_side=1, stop=stop).run(Limits(cache_ttl=DAY))
    assert cache.names(*map(str, range(20))).count(False) == 1
    assert len(cache.store.keys(BLOBS)) == 20


def test_a_store_that_is_away(cache: Cache) -> None:
    """No answer ends the sweep with that error; the next one goes on."""
    cache.keep("a", large("a"))
    cache.clock.advance(2 * DAY)
    cache.seen.hook = Fault("delete", "before")
    with pytest.raises(Unavailable):
        cache.sweep(cache_ttl=DAY)
    assert cache.sweep(cache_ttl=DAY).left_bytes == 0
