"""`handler.sweep`: what goes from the stage cache, in which order, and what never does."""

from __future__ import annotations

from pathlib import Path

import pytest
from protocol_rig import layout_of
from sweep_rig import BLOBS, DAY, Cache, large

from handler.clock import VirtualClock
from handler.shelf import survey
from handler.store.base import Store
from handler.store.memory import MemoryStore
from handler.sweep import Limits, Sweep


@pytest.fixture
def cache(memory_store: MemoryStore, virtual_clock: VirtualClock, tmp_path: Path) -> Cache:
    return Cache(memory_store, virtual_clock, tmp_path)


# ── what goes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_nobody_used_for_long_goes(cache: Cache) -> None:
    """Past the time to live a reference and its blob go; what is younger stays, and still is a hit."""
    cache.keep("old", large("old"))
    cache.clock.advance(10 * DAY)
    cache.keep("new", large("new"))
    cache.clock.advance(2 * DAY)
    before = cache.size()
    swept = cache.sweep(cache_ttl=5 * DAY)
    assert (swept.references, swept.blobs, swept.left_references, swept.left_blobs) == (1, 1, 1, 1)
    assert (swept.cache_bytes, swept.left_bytes) == (before - cache.size(), cache.size())
    assert cache.has("old", "new") == [False, True]


def test_the_oldest_go_until_the_rest_fits(cache: Cache) -> None:
    """Over the size limit the oldest go, one by one, and no more of them than needed."""
    names = ["a", "b", "c", "d"]
    for name in reversed(names):  # not in the order of a listing
        cache.keep(name, large(name))
        cache.clock.advance(60)
    cache.clock.advance(2 * DAY)
    each = cache.size() // 4
    swept = cache.sweep(cache_bytes=2 * each + each // 2)
    assert cache.names(*names) == [True, True, False, False]
    assert (swept.references, swept.blobs, swept.left_bytes) == (2, 2, cache.size())
    assert cache.sweep(cache_bytes=2 * each + each // 2).references == 0
    assert cache.sweep(cache_bytes=0).left_bytes == cache.size() == 0


def test_nothing_younger_than_a_day_goes(cache: Cache) -> None:
    """However small the limits are: a reference, a blob and an orphan of the last 24 hours stay."""
    cache.keep("young", large("young"))
    cache.store.put(f"{BLOBS}{'0' * 64}", b"nobody's yet")
    cache.clock.advance(DAY)
    swept = cache.sweep(cache_ttl=1, cache_bytes=0)
    assert (swept.references, swept.blobs, swept.cache_bytes) == (0, 0, 0)
    assert cache.size() == swept.left_bytes > 0
    cache.clock.advance(1)
    assert cache.sweep(cache_ttl=1, cache_bytes=0).left_bytes == 0


def test_an_orphan_goes_without_any_limit(cache: Cache) -> None:
    """A blob that no reference names, left by a worker that died in between, goes after a day; its neighbours stay."""
    cache.keep("large", large("large"))
    cache.keep("small", b"small")
    cache.store.put(f"{BLOBS}{'0' * 64}", b"nobody's")
    cache.clock.advance(2 * DAY)
    swept = cache.sweep()
    assert (swept.references, swept.blobs, swept.cache_bytes) == (0, 1, len(b"nobody's"))
    assert cache.has("large", "small") == [True, True]


def test_a_shared_blob_stays_while_anybody_names_it(cache: Cache) -> None:
    """Two recipes with the same bytes share a blob: it goes with the last of them, not with the first."""
    cache.keep("one", large("same"))
    cache.clock.advance(5 * DAY)
    cache.keep("two", large("same"))
    cache.clock.advance(2 * DAY)
    assert cache.sweep(cache_ttl=4 * DAY).blobs == 0
    assert cache.names("one", "two") == [False, True]
    assert cache.has("two") == [True]
    cache.clock.advance(10 * DAY)
    assert cache.sweep(cache_ttl=4 * DAY).blobs == 1


def test_a_shared_blob_counts_once(cache: Cache) -> None:
    """Its bytes are there once: a limit that holds it and all references removes nothing."""
    for name in ("one", "two", "three"):
        cache.keep(name, large("same"))
    cache.clock.advance(2 * DAY)
    assert cache.sweep(cache_bytes=cache.size()).references == 0
    cache.clock.advance(2 * DAY)
    # A byte less: the oldest reference by itself saves that, so no more of them go.
    assert cache.sweep(cache_bytes=cache.size() - 1).references == 1
    assert len(cache.store.keys(BLOBS)) == 1


def test_references_go_before_blobs(cache: Cache) -> None:
    """Whoever dies in the middle of a sweep leaves blobs without a reference, never a reference without its blob."""
    for name in ("a", "b", "c"):
        cache.keep(name, large(name))
    cache.clock.advance(2 * DAY)
    cache.sweep(cache_bytes=0)
    deleted = [call.key.split("/")[2] for call in cache.seen.calls if call.verb == "DELETE"]
    assert deleted == ["stages"] * 3 + ["blobs"] * 3


def test_a_dry_run_only_reads(cache: Cache) -> None:
    """It makes no PUT and no DELETE, and says what the sweep after it then does."""
    for name in ("a", "b"):
        cache.keep(name, large(name))
    cache.keep("inline", b"small")
    cache.clock.advance(2 * DAY)
    before = cache.store.keys()
    told = cache.sweep(cache_bytes=cache.size() // 2, dry_run=True)
    assert set(cache.seen.counts()) <= {"LIST", "HEAD", "GET"}
    assert cache.store.keys() == before
    assert told.references > 0
    done = cache.sweep(cache_bytes=cache.size() // 2)
    assert done == told.model_copy(update={"dry_run": False})


def test_damaged_references_go_like_others(cache: Cache) -> None:
    """What cannot be read counts with its size, and goes when it is old."""
    cache.store.put(cache.key("damaged"), b"not JSON")
    cache.keep("large", large("large"))
    cache.clock.advance(2 * DAY)
    assert cache.sweep(cache_ttl=5 * DAY).references == 0
    assert cache.sweep(cache_ttl=DAY).references == 2
    assert cache.size() == 0


def test_only_the_cache_is_touched(cache: Cache) -> None:
    """Nothing but references and blobs goes, however old it is: no recording, no result, no record, no marker."""
    kept = [
        "input/a.wav", "results/a.wav.json", "progress/a.wav.json", "errors/b.wav.json", ".dropscribe/v1/jobs/j.json",
        ".dropscribe/v1/sources/s.json", ".dropscribe/v1/settled/s", ".dropscribe/v1/dead/j.json",
        ".dropscribe/v1/stats/w.json", ".dropscribe/v1/batches/b/plan.json",
    ]  # fmt: skip
    for key in kept:
        cache.store.put(key, b"x")
    cache.keep("a", large("a"))
    cache.clock.advance(1000 * DAY)
    cache.sweep(cache_bytes=0, cache_ttl=1)
    assert sorted(cache.store.keys()) == sorted(kept)


def test_without_blobs_no_reference_is_read(cache: Cache) -> None:
    """Where all artifacts lie in their references, listings tell everything: two of them and one HEAD."""
    for name in ("a", "b", "c"):
        cache.keep(name, name.encode())
    cache.clock.advance(2 * DAY)
    cache.sweep(cache_ttl=5 * DAY)
    assert cache.seen.counts() == {"LIST": 2, "HEAD": 1}


def test_stats_and_the_sweep_count_the_same(cache: Cache) -> None:
    """After a sweep `cache stats` shows what the sweep said is left."""
    for number in range(6):
        cache.keep(str(number), large(str(number)) if number % 2 else b"small")
        cache.clock.advance(DAY)
    swept = cache.sweep(cache_ttl=3.5 * DAY)
    shelf = survey(cache.store, layout_of(cache.store))
    assert 0 < swept.left_references == shelf.entries < 6
    assert swept.left_blobs == shelf.blobs
    assert swept.left_bytes == cache.size()


def test_every_store(store: Store) -> None:
    """On every store: an old cache cannot be made here, so nothing goes, and what is there is counted."""
    layout = layout_of(store)
    store.put(layout.stage_key("a" * 64), b"{}")
    store.put(layout.blob_key("b" * 64), b"four")
    swept = Sweep(store, layout).run(Limits(cache_ttl=1, cache_bytes=0, results_ttl=1))
    assert (swept.references, swept.blobs, swept.left_references, swept.left_blobs) == (0, 0, 1, 1)
    assert swept.left_bytes == 6
