"""The scan: what is unsettled, and nothing else, for the price of two listings."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from protocol_rig import dropped, layout_of

from handler.clock import VirtualClock
from handler.errors import Unavailable
from handler.layout import Layout
from handler.settings import load_settings
from handler.store.base import Listing, Store
from handler.store.folder import FolderStore
from handler.store.memory import Call, MemoryStore, Phase
from handler.watch import Pace, SettledIds, scan

SETTLED = ".dropscribe/v1/settled/"


def seen(store: Store) -> list[str]:
    return [candidate.source.key for candidate in scan(store, layout_of(store)).candidates]


def settle(store: Store, key: str) -> None:
    layout = layout_of(store)
    store.put(layout.settled_key(layout.source(store.head(layout.input_key(key))).sid), b"{}")


def test_only_the_unsettled(memory_store: MemoryStore) -> None:
    """A settled version is not seen again; the same key with other bytes is, and so is one whose marker is gone."""
    for key in ("a.wav", "b.wav", "c.wav"):
        dropped(memory_store, key)
    settle(memory_store, "a.wav")
    settle(memory_store, "b.wav")
    assert seen(memory_store) == ["c.wav"]
    dropped(memory_store, "a.wav", b"other talk")
    assert seen(memory_store) == ["a.wav", "c.wav"]
    for key in memory_store.keys(SETTLED):
        memory_store.delete(key)
    assert seen(memory_store) == ["a.wav", "b.wav", "c.wav"]


def test_any_set_of_markers(memory_store: MemoryStore) -> None:
    """Whichever of many inputs are settled, exactly the others are seen."""
    keys = [f"{number}.wav" for number in range(200)]
    for key in keys:
        dropped(memory_store, key)
    for key in keys[::3]:
        settle(memory_store, key)
    assert sorted(seen(memory_store)) == sorted(set(keys) - set(keys[::3]))


def test_the_oldest_first(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """Inputs are taken in the order in which they arrived; of the same second, in that of their keys."""
    for key in ("z.wav", "m.wav", "b.wav", "a.wav"):
        dropped(memory_store, key)
        virtual_clock.advance(0 if key == "b.wav" else 2)
    assert seen(memory_store) == ["z.wav", "m.wav", "a.wav", "b.wav"]


@pytest.mark.parametrize(
    "key",
    [
        "folder/", ".hidden.wav", ".hidden/a.wav", "deep/.git/a.wav", "deep/.a.wav", "options.json",
        "deep/options.json", "speakers.json", "deep/speakers.json", "a.wav.options.json", "deep/a.wav.options.json",
        "many.batch.jsonl", "deep/many.batch.jsonl",
    ],
)  # fmt: skip
def test_what_is_no_recording(memory_store: MemoryStore, key: str) -> None:
    """Folder markers, dot files, options, speakers' names and batches are no work, whether settled or being written."""
    dropped(memory_store, key)
    found = scan(memory_store, layout_of(memory_store))
    assert (found.candidates, found.unready) == ((), 0)


@pytest.mark.parametrize(
    "key", ["options.json.wav", "my-options.json", "speakers.json.wav", "a.json", "batch.jsonl", "x/..a/.../b"]
)
def test_what_looks_like_none(memory_store: MemoryStore, key: str) -> None:
    """A name that only resembles those is a recording, unless a part of it begins with a dot."""
    dropped(memory_store, key)
    assert seen(memory_store) == ([] if "/." in key else [key])


def test_empty_recordings_are_seen(store: Store) -> None:
    """On every store a recording without a byte is an input, so that somebody is told; it is not passed over."""
    dropped(store, "empty.wav", b"")
    found = scan(store, layout_of(store))
    assert len(found.candidates) + found.unready == 1


def test_unready_files_are_counted(tmp_path: Path, virtual_clock: VirtualClock) -> None:
    """A file that is still being copied is not taken, but keeps the scan from calling the folder done."""
    store = FolderStore(tmp_path, virtual_clock)
    dropped(store)
    dropped(store, "settled.wav")
    settle(store, "settled.wav")
    found = scan(store, layout_of(store))
    assert (found.candidates, found.unready) == ((), 1)
    virtual_clock.advance(1.5)
    found = scan(store, layout_of(store))
    assert ([one.source.key for one in found.candidates], found.unready) == (["a.wav"], 0)


def test_garbage_among_the_markers(memory_store: MemoryStore) -> None:
    """Whatever else lies under settled/, in capitals too, settles nothing and un-settles nothing."""
    keys = [f"{number}.wav" for number in range(50)]
    for key in keys:
        dropped(memory_store, key)
    for key in keys[1:]:
        settle(memory_store, key)
    sid = layout_of(memory_store).source(memory_store.head("input/0.wav")).sid
    digests = [hashlib.sha256(b"%d" % number).hexdigest().upper() for number in range(20)]
    for name in [
        "x",
        "README.md",
        sid[:-2],
        sid + "00",
        sid.upper(),
        f"{sid}.json",
        f"deep/{sid}",
        f" {sid}",
        *digests,
    ]:
        memory_store.drop(SETTLED + name, b"")
    assert seen(memory_store) == ["0.wav"]


def test_options_files_are_listed(memory_store: MemoryStore) -> None:
    """The same listing tells which options files there are, so that nobody has to ask for those that are not."""
    for key in ("options.json", "deep/options.json", "a.wav.options.json", "a.wav", "speakers.json"):
        dropped(memory_store, key)
    found = scan(memory_store, layout_of(memory_store))
    assert found.options == {"input/options.json", "input/deep/options.json", "input/a.wav.options.json"}


def test_the_price_of_a_scan(memory_store: MemoryStore) -> None:
    """5,000 settled inputs cost ten listing requests and nothing else, however often they are scanned."""
    for number in range(5000):
        memory_store.drop(f"input/{number:05d}.wav", b"talk")
    layout = layout_of(memory_store)
    for info in memory_store.list("input/"):
        memory_store.drop(layout.settled_key(layout.source(info).sid), b"{}")
    memory_store.calls.clear()
    assert scan(memory_store, layout).candidates == ()
    assert memory_store.counts() == {"LIST": 10}


def test_markers_before_inputs(memory_store: MemoryStore) -> None:
    """An input that comes and is settled while the scan runs is looked at once more; a new one is never missed."""

    def hook(call: Call, phase: Phase) -> None:
        if (call.key, phase) == (SETTLED, "after"):
            dropped(memory_store, "new.wav")

    client = memory_store.client(hook)
    assert seen(client) == ["new.wav"]


def test_other_prefixes(memory_store: MemoryStore) -> None:
    """What lies elsewhere in the bucket is no input: results, and folders whose names begin alike."""
    for key in ("results/a.wav.json", "input.wav", "inputs/a.wav", "a.wav"):
        memory_store.drop(key, b"talk")
    layout = Layout.of(memory_store.url, load_settings(input_prefix="in/calls/"))
    memory_store.drop("in/calls/deep/b.wav", b"talk")
    assert seen(memory_store) == []
    assert [one.source.key for one in scan(memory_store, layout).candidates] == ["deep/b.wav"]


LONG = "/".join(["long", *("x" * 230 for _ in range(4)), "x" * 65 + ".wav"])  # 998 bytes


@pytest.mark.parametrize(
    "key",
    [
        "a b+c%20d.wav", "a+b.wav", "50%.wav", "%41.wav", "ümläut/日本語.wav", "🎙️ talk.wav", "e\u0301.wav",
        "a'\"b&c=d?e#f.wav", "a\\b.wav", "-rf.wav", "no extension", "a.wav.json", "~tilde(1) [2] {3};$!@^,.wav",
        "tab\tin it.wav", "A.WAV", LONG,
    ],
)  # fmt: skip
def test_keys_of_any_form(store: Store, tmp_path: Path, key: str) -> None:
    """On every store whatever key a person chose survives the way: listing, HEAD, download, result beside its name."""
    layout = layout_of(store)
    written = dropped(store, key)
    (info,) = store.list(layout.input)
    assert layout.source(info) == layout.source(store.head(info.key))
    assert (layout.source(info).key, layout.source(info).sid) == (key, written.sid)
    assert layout.input_key(key) == info.key
    assert store.download(info, tmp_path / "copy") == hashlib.sha256(b"talk").hexdigest()
    store.put(layout.result_key(key), json.dumps({"key": key}).encode(), if_absent=True)
    (result,) = [info.key for info in store.list(layout.results)]
    assert result == f"results/{key}.json" == layout.result_key(key)
    assert json.loads(store.get(result).body)["key"] == key


def test_a_store_that_is_away(memory_store: MemoryStore) -> None:
    """A listing without an answer is an error, not an empty bucket."""
    dropped(memory_store)

    def away(call: Call, phase: Phase) -> None:
        raise Unavailable("no answer")

    with pytest.raises(Unavailable):
        scan(memory_store.client(away), layout_of(memory_store))


def test_ids_are_looked_up_by_bisection() -> None:
    """The ids of a listing are found, and no others: before the first, between two, after the last."""
    digests = sorted(hashlib.sha256(b"%d" % number).hexdigest() for number in range(101))
    ids = SettledIds()
    assert not ids.has(digests[0])
    for digest in digests[1:-1:2]:
        ids.append(bytes.fromhex(digest))
    assert len(ids) == 50
    assert [digest for digest in digests if ids.has(digest)] == digests[1:-1:2]


def paces(found: list[bool], listing: Listing, **overrides: Any) -> list[float]:
    pace = Pace(load_settings(**overrides), listing)
    return [pace.after(found_work=each) for each in found]


def test_the_pace_of_scans() -> None:
    """An idle S3 bucket is looked at ever more seldom, up to a limit that is twice as long where it is on a bill, until
    there is work; a folder always soon.
    """
    idle = [False] * 8 + [True, False]
    assert paces(idle, "own") == [3.0, 4.5, 6.75, 10.125, 15.0, 15.0, 15.0, 15.0, 2.0, 3.0]
    assert paces(idle, "paid") == [3.0, 4.5, 6.75, 10.125, 15.1875, 22.78125, 30.0, 30.0, 2.0, 3.0]
    assert paces([True, False, False, False], "free") == [0.5] * 4
    assert paces([False] * 3, "free", scan_seconds=7.0) == [7.0] * 3
    assert paces([True, False], "own", scan_seconds=60.0) == [60.0, 60.0]
    assert (
        paces([False] * 3, "paid", scan_idle_seconds=4.0)
        == paces([False] * 3, "own", scan_idle_seconds=4.0)
        == [3, 4, 4]
    )


def test_the_pace_of_dear_scans() -> None:
    """A scan that took many requests is paid for by a pause where they are on a bill, with work or without, told by a
    queue or not; on a server of one's own only if that is wished for, in a folder never.
    """
    for hears in (False, True):
        pace = Pace(load_settings(), "paid", hears=hears)
        assert pace.after(found_work=True, listed=2_000_000) == 1000.0
        assert pace.after(found_work=False, batches=True, listed=2_000_000) == 1000.0
        assert pace.after(found_work=True, listed=1_999) == (300.0 if hears else 2.0)
    many: dict[str, Any] = {"found_work": True, "listed": 2_000_000}
    assert Pace(load_settings(scan_page_seconds=0.0), "paid").after(**many) == 2.0
    assert Pace(load_settings(), "own").after(**many) == 2.0
    assert Pace(load_settings(scan_page_seconds=0.1), "own").after(**many) == 200.0
    assert Pace(load_settings(scan_page_seconds=0.1), "free").after(**many) == 0.5
