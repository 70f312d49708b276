"""Where an input's options come from, which of them win, and what is said about those that cannot be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from protocol_rig import layout_of

from handler.clock import SystemClock, VirtualClock
from handler.errors import Unavailable
from handler.options import CACHE_SECONDS, OptionsFinder
from handler.store.base import Info, Store
from handler.store.memory import Call, MemoryStore, Phase
from handler.watch import scan
from pipeline.errors import OptionsError
from pipeline.options import Options


def finder(store: Store) -> OptionsFinder:
    clock = store.clock if isinstance(store, MemoryStore) else SystemClock()
    return OptionsFinder(store, layout_of(store), clock)


def write(store: MemoryStore, key: str, **options: Any) -> None:
    store.drop(f"input/{key}", json.dumps(options).encode())


def recording(store: MemoryStore, key: str = "a.wav", metadata: str | None = None) -> Info:
    store.drop(f"input/{key}", b"talk", {} if metadata is None else {"dropscribe": metadata})
    return store.head(f"input/{key}")


def found(store: MemoryStore, key: str = "a.wav", metadata: str | None = None) -> Options:
    return finder(store).find(recording(store, key, metadata)).options


def test_nothing_said(memory_store: MemoryStore) -> None:
    """Without a word about it a recording gets the built-in defaults."""
    assert found(memory_store) == Options()


def test_later_ones_win(memory_store: MemoryStore) -> None:
    """Defaults, then the folder's options, then the sidecar, then the object's own metadata, option by option."""
    write(memory_store, "options.json", language="de", utt_split=1.0, tag=["folder"], initial_prompt="folder")
    write(memory_store, "a.wav.options.json", utt_split=2.0, tag=["sidecar"], initial_prompt="sidecar")
    options = found(memory_store, metadata="tag=one&tag=two&initial_prompt=own%20words")
    assert (options.language, options.utt_split, options.tag, options.initial_prompt) == (
        "de", 2.0, ("one", "two"), "own words",
    )  # fmt: skip
    assert options.paragraphs is Options().paragraphs


def test_the_nearest_folder_wins(memory_store: MemoryStore) -> None:
    """Only the nearest folder's options count; those above are not mixed in."""
    write(memory_store, "options.json", language="de", utt_split=1.0)
    write(memory_store, "calls/2024/options.json", utt_split=2.0)
    expected = {
        "a.wav": ("de", 1.0), "calls/a.wav": ("de", 1.0), "calls/2024/a.wav": (None, 2.0),
        "calls/2024/x/y/a.wav": (None, 2.0), "calls/2025/a.wav": ("de", 1.0), "other//a.wav": ("de", 1.0),
    }  # fmt: skip
    got = {key: found(memory_store, key) for key in expected}
    assert {key: (options.language, options.utt_split) for key, options in got.items()} == expected
    write(memory_store, "calls/options.json")
    assert found(memory_store, "calls/a.wav") == Options()


def test_sidecars_are_one_inputs_own(memory_store: MemoryStore) -> None:
    """A sidecar speaks for the recording whose whole name it begins with, and for no other."""
    write(memory_store, "a.wav.options.json", language="de")
    assert found(memory_store, "a.wav").language == "de"
    for other in ("a.wa", "b.wav", "deep/a.wav", "a.wav.wav"):
        assert found(memory_store, other).language is None


def test_on_every_store(store: Store) -> None:
    """On every store options files are found, named by what the scan of the same listing shows."""
    layout = layout_of(store)
    store.put("input/calls/options.json", b'{"language": "de"}')
    store.put("input/calls/a+b c.wav.options.json", b'{"utt_split": 3}')
    store.put("input/calls/a+b c.wav", b"talk")
    present = scan(store, layout).options
    for shown in (None, present):
        options = finder(store).find(store.head("input/calls/a+b c.wav"), present=shown).options
        assert (options.language, options.utt_split) == ("de", 3.0)


def test_metadata_on_s3(s3_store: Store, s3_client: Any, s3_bucket: str) -> None:
    """An object's own x-amz-meta-dropscribe is read from the HEAD that is made anyway."""
    s3_client.put_object(
        Bucket=s3_bucket, Key="some/prefix/input/a.wav", Body=b"talk", Metadata={"dropscribe": "language=fr&tag=x"}
    )
    options = finder(s3_store).find(s3_store.head("input/a.wav"), present=frozenset()).options
    assert (options.language, options.tag) == ("fr", ("x",))


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_present_is_known(memory_store: MemoryStore) -> None:
    """Where a listing has shown the options files, no request is made for others."""
    info = recording(memory_store, "deep/er/a.wav")
    client = memory_store.client()
    assert finder(client).find(info, present=frozenset()).options == Options()
    assert client.calls == []
    write(memory_store, "deep/options.json", language="de")
    assert finder(client).find(info, present={"input/deep/options.json"}).options.language == "de"
    assert [(call.verb, call.key) for call in client.calls] == [
        ("HEAD", "input/deep/options.json"), ("GET", "input/deep/options.json"),
    ]  # fmt: skip
    client.calls.clear()
    finder(client).find(info)
    assert [call.key for call in client.calls if call.verb == "HEAD"] == [
        "input/deep/er/options.json", "input/deep/options.json", "input/deep/er/a.wav.options.json",
    ]  # fmt: skip


def test_folders_are_remembered_for_a_minute(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """A folder's options are read once a minute, there or not; a sidecar, which is one input's own, each time."""
    client = memory_store.client()
    mine, info = finder(client), recording(memory_store)
    write(memory_store, "options.json", language="de")
    write(memory_store, "a.wav.options.json", utt_split=1.0)
    assert mine.find(info).options.language == "de"
    write(memory_store, "options.json", language="fr")
    write(memory_store, "a.wav.options.json", utt_split=2.0)
    virtual_clock.advance(CACHE_SECONDS)
    options = mine.find(info).options
    assert (options.language, options.utt_split) == ("de", 2.0)
    assert [call.key for call in client.calls if call.verb == "GET"].count("input/options.json") == 1
    virtual_clock.advance(1)
    assert mine.find(info).options.language == "fr"
    memory_store.delete("input/options.json")
    virtual_clock.advance(CACHE_SECONDS + 1)
    assert mine.find(info).options.language is None
    write(memory_store, "options.json", language="it")
    assert mine.find(info).options.language is None
    assert mine.find(info, present={"input/options.json"}).options.language == "it"


def test_vanished_since_the_listing(memory_store: MemoryStore) -> None:
    """An options file that was deleted after it was listed is as if it had not been there."""
    info = recording(memory_store, "deep/a.wav")
    write(memory_store, "options.json", language="de")
    present = {"input/options.json", "input/deep/options.json", "input/deep/a.wav.options.json"}
    assert finder(memory_store).find(info, present=present).options.language == "de"


def test_a_store_that_is_away(memory_store: MemoryStore) -> None:
    """Options that cannot be read for now are not taken for none: the input waits."""

    def away(call: Call, phase: Phase) -> None:
        raise Unavailable("no answer")

    info = recording(memory_store)
    with pytest.raises(Unavailable):
        finder(memory_store.client(away)).find(info)


# ── what cannot be ───────────────────────────────────────────────────────────────────────────────────────────────────

BAD = {
    "empty": b"",
    "not JSON": b"language: de",
    "truncated": b'{"language": "de"',
    "not UTF-8": b'{"language": "\xff"}',
    "a list": b'[{"language": "de"}]',
    "a string": b'"language=de"',
    "a number": b"1",
    "null": b"null",
    "too big": b'{"language": "de"}' + b" " * 64 * 1024,
    "deep": b"[" * 30_000,
    "deep object": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "a huge number": b'{"utt_split": ' + b"9" * 5000 + b"}",
    "NaN": b'{"utt_split": NaN}',
    "Infinity": b'{"utt_split": Infinity}',
    "unknown": b'{"langage": "de"}',
    "impossible": b'{"utt_split": "soon"}',
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("name", ["calls/options.json", "calls/a.wav.options.json"])
def test_bad_files_are_named(memory_store: MemoryStore, name: str, body: bytes) -> None:
    """Whatever stands in an options file, the error is one about the options, short, and names the file."""
    memory_store.drop(f"input/{name}", body)
    with pytest.raises(OptionsError) as raised:
        found(memory_store, "calls/a.wav")
    assert name in raised.value.message
    assert raised.value.hint
    assert len(raised.value.message) < 500
    assert not raised.value.retryable


@pytest.mark.parametrize(
    "query", ["langage=de", "utt_split=soon", "just words", "language=de&language=fr", "=x", "&&;"]
)
def test_bad_metadata_is_named(memory_store: MemoryStore, query: str) -> None:
    """So is what an object says about itself."""
    with pytest.raises(OptionsError, match="x-amz-meta-dropscribe"):
        found(memory_store, metadata=query)


def test_the_limit(memory_store: MemoryStore) -> None:
    """A file of just the permitted size is read."""
    body = b'{"language": "de"}'
    memory_store.drop("input/options.json", body + b" " * (64 * 1024 - len(body)))
    assert found(memory_store).language == "de"


@pytest.mark.parametrize("name", ["options.json", "a.wav.options.json"])
def test_too_large_is_not_read(memory_store: MemoryStore, name: str) -> None:
    """A file over the limit is refused by its size, without a byte being read, and nothing of it is remembered."""
    info = recording(memory_store)
    memory_store.drop(f"input/{name}", b" " * (64 * 1024 + 1))
    client = memory_store.client()
    mine = finder(client)
    with pytest.raises(OptionsError, match=f"{name} is 65,537 bytes long"):
        mine.find(info)
    assert client.counts()["GET"] == 0
    write(memory_store, name, language="de")
    assert mine.find(info).options.language == "de"


def test_grown_since_it_was_looked_at(memory_store: MemoryStore) -> None:
    """A file that is replaced by a huge one between the look at its size and the reading is refused all the same."""

    def grow(call: Call, phase: Phase) -> None:
        if (call.verb, phase) == ("HEAD", "after"):
            memory_store.drop("input/options.json", b" " * (64 * 1024 + 1))

    info = recording(memory_store)
    write(memory_store, "options.json")
    with pytest.raises(OptionsError, match="65,537 bytes"):
        finder(memory_store.client(grow)).find(info, present={"input/options.json"})


def test_errors_tell_the_layer(memory_store: MemoryStore) -> None:
    """Of several layers the one that is wrong is named, with the option."""
    write(memory_store, "options.json", language="de")
    write(memory_store, "a.wav.options.json", utt_split="soon")
    with pytest.raises(OptionsError, match=r"a\.wav\.options\.json: utt_split"):
        found(memory_store, metadata="language=fr")
