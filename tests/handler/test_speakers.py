"""Where names of speakers come from, and what it costs to look."""

from __future__ import annotations

import json

import pytest
from protocol_rig import layout_of

from handler.clock import SystemClock
from handler.errors import AccessDenied, Unavailable
from handler.speakers import CACHE_SECONDS, SpeakerNames
from handler.store.base import Store
from handler.store.memory import Call, MemoryStore, Phase


def finder(store: Store) -> SpeakerNames:
    return SpeakerNames(store, layout_of(store), store.clock if isinstance(store, MemoryStore) else SystemClock())


def write(store: Store, key: str, **names: str) -> None:
    store.put(f"input/{key}", json.dumps({key.removeprefix("_"): name for key, name in names.items()}).encode())


def test_the_nearest_speaks_alone(store: Store) -> None:
    """On every store the recording's own file wins over its folder's, that over those above; they are not mixed."""
    write(store, "speakers.json", _0="Top", _1="Above")
    write(store, "calls/speakers.json", _0="Folder")
    write(store, "calls/a.wav.speakers.json", _0="Own")
    names = finder(store)
    assert names.find("b.wav") == ({"0": "Top", "1": "Above"}, ())
    assert names.find("calls/b.wav") == ({"0": "Folder"}, ())
    assert names.find("calls/2024/b.wav") == ({"0": "Folder"}, ())
    assert names.find("calls/a.wav") == ({"0": "Own"}, ())


def test_a_key_that_leaves_no_room(folder_store: Store) -> None:
    """A recording whose name is too long to have a file of its own still has its folder's names."""
    write(folder_store, "speakers.json", _0="Alice")
    assert finder(folder_store).find(f"{'a' * 236}.wav") == ({"0": "Alice"}, ())


def test_folders_are_remembered(memory_store: MemoryStore) -> None:
    """What a folder says, and that it says nothing, is asked for once a minute; a recording's own file each time."""
    client = memory_store.client()
    names = finder(client)
    for key in ("calls/a.wav", "calls/b.wav"):
        assert names.find(key) == ({}, ())
    assert [call.key for call in client.calls] == [
        "input/calls/a.wav.speakers.json", "input/calls/speakers.json", "input/speakers.json",
        "input/calls/b.wav.speakers.json",
    ]  # fmt: skip
    write(memory_store, "calls/speakers.json", _0="Alice")
    assert names.find("calls/a.wav") == ({}, ())
    memory_store.clock.sleep(CACHE_SECONDS + 1)
    assert names.find("calls/a.wav") == ({"0": "Alice"}, ())


def test_a_large_file_is_not_read(memory_store: MemoryStore) -> None:
    """A file that is too large is named with its size, and not fetched."""
    memory_store.drop("input/speakers.json", b" " * 65_537)
    client = memory_store.client()
    names, [warning] = finder(client).find("a.wav")
    assert names == {}
    assert (warning.parameter, "65,537 bytes" in warning.message) == ("speakers.json", True)
    assert client.counts().get("GET", 0) == 0


def test_a_file_that_may_not_be_read(memory_store: MemoryStore) -> None:
    """A file that the worker may not read is a warning; the job goes on."""

    def deny(call: Call, phase: Phase) -> None:
        if call.key == "input/speakers.json":
            raise AccessDenied("no")

    names, [warning] = finder(memory_store.client(deny)).find("a.wav")
    assert names == {}
    assert "may not be read" in warning.message


def test_no_answer_is_no_absence(memory_store: MemoryStore) -> None:
    """A store that does not answer is not taken for one without names: nothing is published under wrong ones."""
    write(memory_store, "speakers.json", _0="Alice")

    def silent(call: Call, phase: Phase) -> None:
        raise Unavailable("no answer")

    with pytest.raises(Unavailable):
        finder(memory_store.client(silent)).find("a.wav")
