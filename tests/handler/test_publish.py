"""Publishing: results, errors and the settled marker, in that order, with the same bytes each time; and trouble."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from protocol_rig import (
    JOB,
    Fault,
    dropped,
    layout_of,
    trouble,
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
    manifest,
    marker,
    outputs,
    publisher,
)

from handler.clock import VirtualClock
from handler.errors import StoreError
from handler.layout import job_id_of
from handler.progress import ManifestWriter
from handler.publish import WRITE_TRIES
from handler.store.base import Store
from handler.store.folder import FolderStore
from handler.store.memory import Call, MemoryStore, Phase
from handler.types import JobRecord
from handler.watch import scan
from pipeline.types import Warning

# ── what is written ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_result(store: Store) -> None:
    """On every store a finished job leaves its result, its last manifest and a settled marker; the scan is content."""
    subscriber = dropped(store)
    assert complete(store, subscriber) == "written"
    result = json.loads(store.get(RESULT).body)
    assert result["results"] == json.loads(RESULTS)
    assert result["metadata"]["request_id"] == job_id_of(JOB.jid, subscriber.sid) == manifest(store).job_id
    assert result["metadata"]["sha256"] == JOB.content.sha256
    assert (manifest(store).status, manifest(store).percent, manifest(store).result) == ("completed", 100.0, RESULT)
    assert marker(store, subscriber).outcome == "completed"
    assert scan(store, layout_of(store)).candidates == ()
    assert outputs(store) == [PROGRESS, RESULT]


def test_an_error(store: Store) -> None:
    """On every store a dead job leaves Deepgram's error object and what a person needs, its record, and a marker."""
    subscriber = dropped(store)
    assert fail(store, subscriber) == "written"
    error = json.loads(store.get(ERROR).body)
    job_id = job_id_of(JOB.jid, subscriber.sid)
    assert {name: value for name, value in error.items() if name != "failures"} == {
        "err_code": "INTERNAL_SERVER_ERROR", "err_msg": "it broke", "request_id": job_id, "job_id": job_id,
        "key": "a.wav", "class": "EngineFailure", "hint": "Mend it.", "retryable": True, "attempts": 3,
    }  # fmt: skip
    assert [one["attempt"] for one in error["failures"]] == [1, 2, 3]
    kept = JobRecord.model_validate_json(store.get(layout_of(store).dead_key(JOB.jid)).body)
    assert (kept.state, len(kept.failures)) == ("dead", 3)
    assert (manifest(store).status, manifest(store).error) == ("failed", trouble())
    assert (marker(store, subscriber).outcome, marker(store, subscriber).reason) == ("failed", "it broke")
    assert outputs(store) == [ERROR, PROGRESS]


def test_requests_in_order(memory_store: MemoryStore) -> None:
    """The source is looked at before the first write, a first result costs no read, and the marker comes last."""
    subscriber = dropped(memory_store)
    memory_store.calls.clear()
    complete(memory_store, subscriber)
    settled = layout_of(memory_store).settled_key(subscriber.sid)
    assert [(call.verb, call.key) for call in memory_store.calls] == [
        ("HEAD", "input/a.wav"), ("PUT", RESULT), ("PUT", PROGRESS), ("PUT", settled),
    ]  # fmt: skip
    other = dropped(memory_store, "b.wav")
    memory_store.calls.clear()
    fail(memory_store, other)
    assert [call.key for call in memory_store.calls if call.verb == "PUT"] == [
        layout_of(memory_store).dead_key(JOB.jid), "errors/b.wav.json", "progress/b.wav.json",
        layout_of(memory_store).settled_key(other.sid),
    ]  # fmt: skip


def test_each_input_gets_its_own(memory_store: MemoryStore) -> None:
    """Inputs that share a job share its words; tag, extra and warnings are each one's own."""
    warning = Warning(parameter="model", type="unknown", message="nova is not here")
    one = dropped(memory_store, "a.wav", tag=("x", "y"), extra={"order": "7"}, warnings=(warning,))
    two = dropped(memory_store, "b.wav")
    record = done(one, two)
    for subscriber in record.subscribers:
        publisher(memory_store).completed(ending(subscriber), record, RESULTS)
    first = json.loads(memory_store.peek("results/a.wav.json") or b"")
    second = json.loads(memory_store.peek("results/b.wav.json") or b"")
    assert first["results"] == second["results"]
    assert (first["metadata"]["tags"], first["metadata"]["extra"]) == (["x", "y"], {"order": "7"})
    assert first["metadata"]["warnings"] == [warning.model_dump()]
    assert not {"tags", "extra", "warnings"} & set(second["metadata"])
    assert first["metadata"]["request_id"] != second["metadata"]["request_id"]
    assert first["metadata"]["created"] == second["metadata"]["created"]


@pytest.mark.parametrize("publish", [complete, fail])
def test_again_the_same_bytes(memory_store: MemoryStore, publish: Any) -> None:
    """Published again, later and by another worker, an ending gives the same bytes: readers see no change."""
    subscriber = dropped(memory_store)
    publish(memory_store, subscriber)
    before = {key: memory_store.peek(key) for key in (RESULT, ERROR)}
    settled = memory_store.peek(layout_of(memory_store).settled_key(subscriber.sid))
    publish(memory_store, subscriber, token=TOKEN + 50, store_time=TOKEN + 60.0, worker="two")
    assert {key: memory_store.peek(key) for key in (RESULT, ERROR)} == before
    assert (manifest(memory_store).token, manifest(memory_store).worker) == (TOKEN + 50, "two")
    assert memory_store.peek(layout_of(memory_store).settled_key(subscriber.sid)) == settled


@pytest.mark.parametrize("publish", [complete, fail])
def test_any_crash_is_made_good(virtual_clock: VirtualClock, publish: Any) -> None:
    """A publisher that dies around any of its requests leaves no marker before its outputs, and the next one ends the
    same way.
    """

    class Crash(BaseException):
        pass

    ends = set()
    for fatal in range(1, 20):
        store, events = MemoryStore(virtual_clock), itertools.count(1)
        subscriber = dropped(store)

        def die(call: Call, phase: Phase) -> None:
            if next(events) == fatal:  # noqa: B023
                raise Crash

        client = store.client(die)
        try:
            publish(client, subscriber)
        except Crash:
            settled = layout_of(store).settled_key(subscriber.sid)
            assert store.peek(settled) is None or len(outputs(store)) == 2
        publish(store, subscriber, token=TOKEN + 50)
        assert marker(store, subscriber).outcome == ("completed" if publish is complete else "failed")
        ends.add((store.peek(RESULT), store.peek(ERROR), tuple(outputs(store))))
    assert len(ends) == 1
    assert next(events) < fatal  # every request had its turn


# ── trouble ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("publish", [complete, fail])
@pytest.mark.parametrize(("kind", "length"), [("folder", 238), ("memory", 1018)])
@pytest.mark.parametrize("written", [False, True])
def test_names_too_long(
    request: pytest.FixtureRequest, virtual_clock: VirtualClock, publish: Any, kind: str, length: int, written: bool
) -> None:
    """An input whose outputs have names that the store cannot hold is settled all the same, and the marker says why."""
    store: Store = request.getfixturevalue(f"{kind}_store")
    subscriber = dropped(store, "x" * length)
    record = done(subscriber) if publish is complete else dead(subscriber)
    layout = layout_of(store)
    writer = ManifestWriter(store, layout, virtual_clock, least_seconds=2.0, is_current=lambda: True)
    if publish is complete:
        publisher(store).completed(ending(subscriber), record, RESULTS, writer if written else None)
    else:
        publisher(store).failed(ending(subscriber), trouble(), dead=record, writer=writer if written else None)
    assert outputs(store) == []
    assert marker(store, subscriber).outcome == "failed"
    assert "bytes" in marker(store, subscriber).reason
    assert scan(store, layout).candidates == ()


@pytest.mark.parametrize("written", [False, True])
def test_only_the_manifests_name_is_too_long(
    memory_store: MemoryStore, virtual_clock: VirtualClock, written: bool
) -> None:
    """A result that can be written is, and counts, though the manifest's name is just too long."""
    subscriber = dropped(memory_store, "x" * 1011)
    layout = layout_of(memory_store)
    writer = ManifestWriter(memory_store, layout, virtual_clock, least_seconds=2.0, is_current=lambda: True)
    publisher(memory_store).completed(ending(subscriber), done(subscriber), RESULTS, writer if written else None)
    assert outputs(memory_store) == [f"results/{'x' * 1011}.json"]
    assert marker(memory_store, subscriber).outcome == "completed"


def test_a_name_that_clashes(folder_store: FolderStore) -> None:
    """A folder cannot hold a result beside a folder of its name: said in the marker, not tried for ever."""
    subscriber = dropped(folder_store)
    folder_store.put(f"{RESULT}/other.json", b"{}")
    complete(folder_store, subscriber)
    assert marker(folder_store, subscriber).outcome == "failed"
    assert "Use another key" in marker(folder_store, subscriber).reason


def test_somebody_else_writes_there(memory_store: MemoryStore) -> None:
    """A result that another program rewrites all the time is an error after so many tries, and stays unsettled."""
    subscriber = dropped(memory_store)

    def meddle(call: Call, phase: Phase) -> None:
        if (call.method, call.key, phase) == ("put", RESULT, "before"):
            memory_store.drop(RESULT, b"theirs %d" % len(client.calls))

    client = memory_store.client(meddle)
    with pytest.raises(StoreError, match="changed 10 times"):
        complete(client, subscriber)
    assert WRITE_TRIES == 10
    assert len(scan(memory_store, layout_of(memory_store)).candidates) == 1


def test_lost_answers(memory_store: MemoryStore) -> None:
    """Each write whose answer is lost is read back: one result, one marker, and no error."""
    subscriber = dropped(memory_store)
    for key in ("results/", "progress/", "settled/"):
        client = memory_store.client(Fault("put", key=key))
        assert complete(client, subscriber, token=TOKEN + 1) == "written"
    assert marker(memory_store, subscriber).outcome == "completed"
    assert outputs(memory_store) == [PROGRESS, RESULT]


def test_settled_once(memory_store: MemoryStore) -> None:
    """The first marker stands: an input that was completed is not called failed by a worker that comes late."""
    subscriber = dropped(memory_store)
    complete(memory_store, subscriber)
    fail(memory_store, subscriber, token=TOKEN)
    assert marker(memory_store, subscriber).outcome == "completed"
