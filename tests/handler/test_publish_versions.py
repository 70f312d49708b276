"""Publishing for the right version of an input: what is older never hides what is newer."""

from __future__ import annotations

from typing import Any

import pytest
from protocol_rig import (
    JOB,
    dropped,
    layout_of,
)
from publish_rig import (
    ERROR,
    PROGRESS,
    RESULT,
    RESULTS,
    TOKEN,
    complete,
    dead,
    done,
    ending,
    fail,
    later_claim,
    manifest,
    marker,
    outputs,
    publisher,
)

from handler.clock import VirtualClock
from handler.layout import job_id_of
from handler.progress import ManifestWriter
from handler.store.base import Store
from handler.store.memory import Call, MemoryStore, Phase
from handler.watch import scan

# ── the right version ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("publish", [complete, fail])
@pytest.mark.parametrize("fate", ["overwritten", "deleted"])
def test_superseded(store: Store, publish: Any, fate: str) -> None:
    """On every store, what was made of a version that is gone is not shown; that version is settled as cancelled."""
    subscriber = dropped(store)
    if fate == "overwritten":
        dropped(store, body=b"other talk")
    else:
        store.delete("input/a.wav")
    assert publish(store, subscriber) == "superseded"
    assert outputs(store) == []
    assert marker(store, subscriber).outcome == "cancelled"
    assert "replaced" in marker(store, subscriber).reason
    seen = scan(store, layout_of(store))
    assert len(seen.candidates) + seen.unready == (fate == "overwritten")


@pytest.mark.parametrize("fate", ["overwritten", "deleted"])
def test_the_manifest_of_a_version_that_is_gone(
    memory_store: MemoryStore, virtual_clock: VirtualClock, fate: str
) -> None:
    """It does not say for ever that it is being worked on; the manifest of the version that came after is let alone."""
    old = dropped(memory_store)
    mine = publisher(memory_store)
    writer = ManifestWriter(
        memory_store, layout_of(memory_store), virtual_clock, least_seconds=2.0, is_current=lambda: mine.is_current(old)
    )
    later_claim(memory_store, old, token=TOKEN, job_id=job_id_of(JOB.jid, old.sid))
    writer.write(manifest(memory_store).model_copy(update={"percent": 9.0}))
    if fate == "deleted":
        memory_store.delete("input/a.wav")
    else:
        new = dropped(memory_store, body=b"other talk")
        before = later_claim(memory_store, new)
    assert mine.completed(ending(old), done(old), RESULTS, writer) == "superseded"
    if fate == "deleted":
        assert (manifest(memory_store).status, manifest(memory_store).source_id) == ("cancelled", old.sid)
    else:
        assert memory_store.peek(PROGRESS) == before


def test_a_newer_result_replaces_an_older(memory_store: MemoryStore) -> None:
    """The new version's result takes the place of the old one's; the old one, published late, does not come back."""
    old = dropped(memory_store)
    complete(memory_store, old, RESULTS.replace(b"one", b"old"))
    new = dropped(memory_store, body=b"other talk")
    assert b"old" in (memory_store.peek(RESULT) or b"")
    assert complete(memory_store, new, RESULTS.replace(b"one", b"new"), token=TOKEN + 5) == "written"
    after = memory_store.peek(RESULT)
    assert b"new" in (after or b"")
    assert complete(memory_store, old, RESULTS.replace(b"one", b"old"), token=TOKEN + 50) == "superseded"
    assert memory_store.peek(RESULT) == after
    assert manifest(memory_store).source_id == new.sid


def test_the_source_is_asked_before_every_write(memory_store: MemoryStore) -> None:
    """A recording that is replaced while its result meets an older one is noticed: the older one stays."""
    subscriber = dropped(memory_store)
    memory_store.drop(RESULT, b"older")

    def replace(call: Call, phase: Phase) -> None:
        if (call.method, call.key, phase) == ("put", RESULT, "after"):
            memory_store.drop("input/a.wav", b"other talk")

    assert complete(memory_store.client(replace), subscriber) == "superseded"
    assert memory_store.peek(RESULT) == b"older"


@pytest.mark.parametrize("publish", [complete, fail])
@pytest.mark.parametrize("job", ["other", JOB.jid])
@pytest.mark.parametrize("status", ["processing", "completed"])
def test_a_later_claim_speaks(memory_store: MemoryStore, publish: Any, job: str, status: str) -> None:
    """What an earlier claim has to say comes too late: nothing of the later one's is touched, its input is not
    settled for it.
    """
    subscriber = dropped(memory_store)
    memory_store.drop(RESULT, b"newer")
    later_claim(memory_store, subscriber, job_id=job_id_of(job, subscriber.sid), status=status)
    before = {key: memory_store.peek(key) for key in memory_store.keys("")}
    assert publish(memory_store, subscriber) == "older"
    assert {key: memory_store.peek(key) for key in memory_store.keys("")} == before


def test_a_later_claim_is_not_settled(memory_store: MemoryStore) -> None:
    """Where a retry is at work already, an old result may be shown again, but the retry is not called done."""
    subscriber = dropped(memory_store)
    before = later_claim(memory_store, subscriber)
    assert complete(memory_store, subscriber) == "older"
    assert memory_store.peek(PROGRESS) == before
    assert [one.source.sid for one in scan(memory_store, layout_of(memory_store)).candidates] == [subscriber.sid]


@pytest.mark.parametrize("fields", [{"source_id": "other"}, {"token": TOKEN}])
def test_who_does_not_speak_later(memory_store: MemoryStore, fields: dict[str, Any]) -> None:
    """Another version's manifest, or one of the same claim, keeps no result from replacing an older one."""
    subscriber = dropped(memory_store)
    memory_store.drop(RESULT, b"older")
    later_claim(memory_store, subscriber, **fields)
    assert complete(memory_store, subscriber) == "written"
    assert memory_store.peek(RESULT) != b"older"
    assert marker(memory_store, subscriber).outcome == "completed"


@pytest.mark.parametrize("publish", [complete, fail])
def test_a_marker_that_comes_too_late(memory_store: MemoryStore, publish: Any) -> None:
    """Whoever found no marker and claimed the job anew is not left with one: nobody would take over from them."""
    subscriber = dropped(memory_store)

    def slowly(call: Call, phase: Phase) -> None:
        if (call.method, phase) == ("put", "before") and "/settled/" in call.key:
            later_claim(memory_store, subscriber)
            memory_store.clock.sleep(30.0)

    assert publish(memory_store.client(slowly), subscriber) == "older"
    assert [one.source.sid for one in scan(memory_store, layout_of(memory_store)).candidates] == [subscriber.sid]
    assert manifest(memory_store).status == "processing"


def test_a_newer_version_that_failed_keeps_its_error(memory_store: MemoryStore) -> None:
    """What was made of a version that was replaced while its result was written says nothing of the one that came."""
    old = dropped(memory_store)

    def replace(call: Call, phase: Phase) -> None:
        if (call.method, call.key, phase) == ("put", RESULT, "after"):
            fail(memory_store, dropped(memory_store, body=b"other talk"), token=TOKEN + 5)

    assert complete(memory_store.client(replace), old) == "superseded"
    assert memory_store.peek(ERROR) is not None
    assert manifest(memory_store).status == "failed"
    assert marker(memory_store, old).outcome == "cancelled"


# ── errors that were mended ──────────────────────────────────────────────────────────────────────────────────────────


def test_success_removes_the_error(store: Store) -> None:
    """On every store an error is gone once a later attempt succeeds."""
    fail(store, dropped(store))
    assert ERROR in outputs(store)
    assert complete(store, dropped(store, body=b"mended"), token=TOKEN + 5) == "written"
    assert outputs(store) == [PROGRESS, RESULT]


def test_a_taken_over_success_removes_the_error(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """Also when the worker that succeeds found only the manifest of one that was lost, and no failure."""
    fail(memory_store, dropped(memory_store))
    subscriber = dropped(memory_store, body=b"mended")
    own = job_id_of(JOB.jid, subscriber.sid)
    later_claim(memory_store, subscriber, token=TOKEN - 5, job_id=own)
    layout = layout_of(memory_store)
    writer = ManifestWriter(memory_store, layout, virtual_clock, least_seconds=2.0, is_current=lambda: True)
    writer.write(manifest(memory_store).model_copy(update={"token": TOKEN}))
    publisher(memory_store).completed(ending(subscriber), done(subscriber), RESULTS, writer)
    assert outputs(memory_store) == [PROGRESS, RESULT]
    assert manifest(memory_store).status == "completed"


def test_a_charged_success_removes_the_error(memory_store: MemoryStore) -> None:
    """Also when the record tells of failures and the manifest is gone."""
    subscriber = dropped(memory_store)
    memory_store.drop(ERROR, b"{}")
    record = done(subscriber).model_copy(update={"failures": dead(subscriber).failures})
    publisher(memory_store).completed(ending(subscriber), record, RESULTS)
    assert outputs(memory_store) == [PROGRESS, RESULT]


def test_a_later_failure_keeps_its_error(memory_store: MemoryStore) -> None:
    """A late success of an earlier claim does not remove the error of the claim that failed after it."""
    subscriber = dropped(memory_store)
    fail(memory_store, subscriber, token=TOKEN + 9, jid="other")
    complete(memory_store, subscriber)
    assert memory_store.peek(ERROR) is not None
    assert manifest(memory_store).status == "failed"
