"""Progress manifests: often enough, never backwards, and never over something newer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from protocol_rig import SETTINGS, Fault, layout_of

from handler.clock import Clock, SystemClock, VirtualClock
from handler.errors import Unavailable
from handler.progress import WRITE_TRIES, ManifestWriter, parse_manifest, write_manifest
from handler.store.base import Store
from handler.store.folder import FolderStore
from handler.store.memory import Call, MemoryStore, Phase
from handler.types import Manifest, canonical_json

KEY = "progress/a.wav.json"
TOKEN = 1_700_000_000


def manifest(**fields: Any) -> Manifest:
    base: dict[str, Any] = {
        "job_id": "job", "source_id": "version 1", "key": "a.wav", "status": "processing", "stage": "transcribing",
        "percent": 50.0, "message": "", "token": TOKEN, "queued_at": "", "updated_at": "", "worker": "one",
    }  # fmt: skip
    return Manifest(**{**base, **fields})


def never() -> bool:
    raise AssertionError("nothing here is decided by the source's present version")


def writer(store: Store, clock: Clock, is_current: Any = never) -> ManifestWriter:
    return ManifestWriter(
        store, layout_of(store), clock, least_seconds=SETTINGS.progress_seconds, is_current=is_current
    )


def shown(store: Store) -> Manifest:
    found = parse_manifest(store.get(KEY).body)
    assert found is not None
    return found


def put(store: MemoryStore, there: Manifest) -> bytes:
    body = canonical_json(there.model_dump(mode="json"))
    store.drop(KEY, body)
    return body


# ── how often ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_at_most_every_two_seconds(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """However often the engine reports, one stage's progress is written once in `progress_seconds`, by one PUT each."""
    mine = writer(memory_store, virtual_clock)
    for percent in range(100):
        mine.write(manifest(percent=float(percent)))
        virtual_clock.advance(0.125)
    assert memory_store.counts() == {"PUT": 7}
    assert shown(memory_store).percent == 96.0


def test_changes_are_written_at_once(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """A new stage, a new status, and what is forced do not wait."""
    mine = writer(memory_store, virtual_clock)
    mine.write(manifest(stage="downloading", percent=1.0))
    mine.write(manifest(percent=2.0))
    assert shown(memory_store).percent == 2.0
    mine.write(manifest(percent=3.0))
    assert shown(memory_store).percent == 2.0
    mine.write(manifest(percent=4.0, status="queued"))
    assert shown(memory_store).percent == 4.0
    mine.write(manifest(percent=5.0, status="queued"), force=True)
    assert shown(memory_store).percent == 5.0


def test_on_every_store(store: Store) -> None:
    """A job's manifests follow each other on every store, first to last."""
    clock = SystemClock()
    mine = writer(store, clock)
    for percent in (1.0, 2.0, 3.0):
        mine.write(manifest(percent=percent), force=True)
        assert shown(store) == manifest(percent=percent)
    assert mine.newer is None


# ── never backwards ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_percent_never_goes_back(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """Within a claim the percent only rises; a new claim begins where it begins."""
    mine = writer(memory_store, virtual_clock)
    seen = []
    for percent in (10.0, 40.0, 30.0, 0.0, 41.0):
        mine.write(manifest(percent=percent), force=True)
        seen.append(shown(memory_store).percent)
    assert seen == [10.0, 40.0, 40.0, 40.0, 41.0]
    writer(memory_store, virtual_clock).write(manifest(percent=5.0, token=TOKEN + 1))
    assert shown(memory_store).percent == 5.0


ENDED = manifest(status="completed", stage="completed", percent=100.0)


@pytest.mark.parametrize(
    ("mine", "there", "wins"),
    [
        (manifest(), manifest(token=TOKEN + 1), False),
        (manifest(), manifest(token=TOKEN - 1), True),
        (manifest(percent=60.0), manifest(), True),
        (manifest(), ENDED, False),
        (manifest(), manifest(status="failed", stage="failed"), False),
        (manifest(), manifest(status="cancelled", stage="cancelled"), False),
        (ENDED, manifest(status="cancelled", stage="cancelled"), True),
        (ENDED, manifest(status="cancelled", stage="cancelled", token=TOKEN + 1), False),
        (ENDED, manifest(status="failed", stage="failed"), False),
        (manifest(), ENDED.model_copy(update={"token": TOKEN + 1}), False),
        (manifest(token=TOKEN + 1), ENDED, True),
        (ENDED, manifest(token=TOKEN + 1), False),
        (ENDED, manifest(), True),
        (manifest(), manifest(job_id="other", token=TOKEN + 1), False),
        (manifest(), manifest(job_id="other", token=TOKEN - 1), True),
        (manifest(), ENDED.model_copy(update={"job_id": "other", "token": TOKEN - 1}), True),
    ],
)
def test_tokens_decide(
    memory_store: MemoryStore, virtual_clock: VirtualClock, mine: Manifest, there: Manifest, wins: bool
) -> None:
    """For one version of an input the later claim speaks, and an end is not taken back by the claim that made it."""
    before = put(memory_store, there)
    claim = writer(memory_store, virtual_clock)
    claim.write(mine)
    assert shown(memory_store) == (mine if wins else there)
    assert (claim.newer, claim.replaced) == ((None, there) if wins else (there, None))
    claim.write(manifest(stage="generating_output", token=mine.token), force=True)
    if not wins:  # silent from now on
        assert memory_store.peek(KEY) == before


@pytest.mark.parametrize("token", [TOKEN - 5, TOKEN, TOKEN + 5])
@pytest.mark.parametrize("current", [True, False])
def test_the_present_version_decides(
    memory_store: MemoryStore, virtual_clock: VirtualClock, token: int, current: bool
) -> None:
    """Between two versions of an input speaks the one that lies there, whatever the tokens of their jobs."""
    there = ENDED.model_copy(update={"job_id": "other", "source_id": "version 0", "token": token})
    put(memory_store, there)
    asked: list[bool] = []

    def is_current() -> bool:
        asked.append(current)
        return current

    writer(memory_store, virtual_clock, is_current).write(manifest())
    assert shown(memory_store) == (manifest() if current else there)
    assert asked == [current]


def test_a_takeover_silences_the_late(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """A worker that lost its job stops writing at the first manifest of the next claim, and costs no more requests."""
    late, heir = memory_store.client(), memory_store.client()
    first = writer(late, virtual_clock)
    first.write(manifest())
    writer(heir, virtual_clock).write(manifest(token=TOKEN + 9, percent=1.0, worker="two"))
    first.write(manifest(percent=60.0), force=True)
    assert shown(memory_store).worker == "two"
    late.calls.clear()
    first.write(manifest(percent=70.0, stage="generating_output"), force=True)
    assert late.calls == []


# ── what others do to it ─────────────────────────────────────────────────────────────────────────────────────────────


def test_deleted_by_hand(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """A manifest that somebody deleted while the job runs is there again with the next write."""
    mine = writer(memory_store, virtual_clock)
    mine.write(manifest())
    memory_store.delete(KEY)
    mine.write(manifest(percent=60.0), force=True)
    assert shown(memory_store).percent == 60.0
    mine.write(manifest(percent=61.0), force=True)
    assert shown(memory_store).percent == 61.0


@pytest.mark.parametrize("body", [b"", b"not JSON", b'{"format": 2}', b"[]", b"\xff"])
@pytest.mark.parametrize("started", [False, True])
def test_garbage_is_replaced(
    memory_store: MemoryStore, virtual_clock: VirtualClock, body: bytes, started: bool
) -> None:
    """What is no manifest of ours stops none: neither before the first write nor in between."""
    mine = writer(memory_store, virtual_clock)
    if started:
        mine.write(manifest(percent=1.0))
    memory_store.drop(KEY, body)
    mine.write(manifest(), force=True)
    assert shown(memory_store) == manifest()
    assert mine.newer is None


def test_giving_up_is_not_for_good(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """Another program that writes there all the time costs one manifest, not those that follow."""

    def meddle(call: Call, phase: Phase) -> None:
        if (call.method, phase) == ("put", "before"):
            memory_store.drop(KEY, b"garbage %d" % len(client.calls))

    client = memory_store.client(meddle)
    mine = writer(client, virtual_clock)
    mine.write(manifest())
    assert client.counts()["PUT"] == WRITE_TRIES
    client.hook = None
    mine.write(manifest(percent=60.0), force=True)
    assert shown(memory_store).percent == 60.0


def test_lost_answers(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """A manifest whose answer was lost is known as written; without any answer the next one goes on from there."""
    client = memory_store.client(Fault("put"))
    mine = writer(client, virtual_clock)
    mine.write(manifest(percent=1.0))
    client.hook = Fault(times=1000)
    with pytest.raises(Unavailable):
        mine.write(manifest(percent=2.0), force=True)
    client.hook = None
    mine.write(manifest(percent=3.0), force=True)
    assert shown(memory_store).percent == 3.0
    assert mine.newer is None


def test_names_that_cannot_be_written(folder_store: FolderStore, virtual_clock: VirtualClock) -> None:
    """An input whose manifest has too long a name for the store is worked on without one."""
    mine = writer(folder_store, virtual_clock)
    mine.write(manifest(key="x" * 238))
    mine.write(manifest(key="x" * 238, stage="generating_output"), force=True)
    assert list(folder_store.list("progress/")) == []


def test_what_a_write_says(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """The first write tells what it replaced; the manifest is deterministic JSON of exactly its fields."""
    layout = layout_of(memory_store)

    def write(one: Manifest, etag: str | None) -> Any:
        return write_manifest(memory_store, layout, virtual_clock, one, etag=etag, is_current=never)

    first = write(manifest(), None)
    assert (first.replaced, first.newer) == (None, None)
    assert first.etag == memory_store.get(KEY).etag
    second = write(manifest(token=TOKEN + 1), None)
    assert second.replaced == manifest()
    body = memory_store.peek(KEY) or b""
    assert body == json.dumps(json.loads(body), sort_keys=True, separators=(",", ":")).encode()
    assert set(json.loads(body)) == set(Manifest.model_fields)
