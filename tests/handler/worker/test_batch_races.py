"""Batches and many workers: whoever dies, races or sleeps, a batch ends once, with every member in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from batch_rig import NAME, batch_state, bodies, check_members, drop_all, ended, lines, settle, watcher
from worker_rig import MOST_POINTS, Rig, at, dies, drain, points

from handler.batches.watcher import AGAIN_SECONDS
from handler.errors import AccessDenied, BadKey, Unavailable
from handler.fakes import ScriptedEngine
from handler.store.memory import Call, MemoryStore, Phase

GERMAN = {"language": "de"}
BATCH = lines("calls/00.wav", {"key": "calls/01.wav", "options": GERMAN})


# ── deaths ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_dying_at_every_request_of_a_batch(fresh: Callable[[], Rig]) -> None:
    """Whoever dies at any request, from the plan to the marker: the next one ends the batch, redoes no stage that was
    kept, and charges no attempt.
    """
    recordings = bodies(2)
    for at_request, after in points():
        rig = fresh()
        drop_all(rig, recordings)
        rig.drop(NAME, BATCH)
        died = dies(rig, at_request, after, ScriptedEngine())
        kept = len(rig.kept_stages())
        rig.worker(heir := ScriptedEngine()).run(drain=True)
        assert kept + len(heir.ran) == 6, (at_request, after)
        check_members(rig, recordings)
        assert {record.attempts for record in rig.records()} == {0}
        assert len(rig.keys(f"results/{NAME}/")) == 1
        if not died:
            break
    assert at_request > 25


def test_dying_with_a_wrong_batch(fresh: Callable[[], Rig]) -> None:
    """Whoever dies while a batch fails: in the end there is its error, and nothing was begun."""
    for at_request, after in points():
        rig = fresh()
        rig.drop(NAME, lines("missing.wav"))
        died = dies(rig, at_request, after, ScriptedEngine())
        drain(rig)
        assert rig.settled(NAME) == "failed"
        assert rig.manifest(NAME)["status"] == "failed"
        assert rig.error(NAME) is not None
        if not died:
            break
    assert at_request > 4


def test_dying_while_a_batch_is_cancelled(fresh: Callable[[], Rig]) -> None:
    """Whoever dies while a batch whose file was deleted is ended: the next one ends it."""
    for at_request, after in points():
        rig = fresh()
        rig.drop("a.wav", b"talk")
        drain(rig)
        rig.drop(NAME, lines({"key": "a.wav", "options": GERMAN}))
        sid = rig.candidate(NAME).source.sid
        rig.worker(ScriptedEngine(failures=[None]), backoff_seconds=1000).sweep()
        rig.store.delete(f"input/{NAME}")
        died = dies(rig, at_request, after, ScriptedEngine())
        drain(rig)
        assert batch_state(rig, sid) == "cancelled", (at_request, after)
        assert rig.manifest(NAME)["status"] == "cancelled"
        assert rig.manifest(f"{NAME}/a.wav")["status"] == "cancelled"
        if not died:
            break
    assert at_request > 3


def test_a_lost_answer_anywhere(fresh: Callable[[], Rig]) -> None:
    """Any one conditional write whose answer is lost: the batch ends all the same."""
    recordings = bodies(2)
    for number in range(1, MOST_POINTS):
        seen = Counter[str]()

        def lose(call: Call, phase: Phase, seen: Counter[str] = seen, number: int = number) -> None:
            if call.verb == "PUT" and phase == "after":
                seen["put"] += 1
                if seen["put"] == number:
                    raise Unavailable("the answer is lost")

        rig = fresh()
        assert isinstance(rig.store, MemoryStore)
        drop_all(rig, recordings)
        rig.drop(NAME, BATCH)
        rig.worker(store=rig.store.client(lose)).run(drain=True)
        check_members(rig, recordings)
        if seen["put"] < number:
            break
    assert number > 15


# ── races ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", [f"results/{NAME}.json", f"progress/{NAME}.json", "settled/"])
def test_two_workers_finish(rig: Rig, bucket: MemoryStore, key: str) -> None:
    """Two workers that end a batch at the same moment: the result is one, and stays as it was first written."""
    recordings = bodies(3)
    drop_all(rig, recordings)
    drain(rig)
    rig.drop(NAME, lines({"glob": "*.wav"}))
    seen: list[bytes | None] = []

    def meanwhile(call: Call, phase: Phase) -> None:
        if phase == "before" and call.method == "put" and key in call.key and not seen:
            seen.append(None)
            drain(rig)
            seen[0] = rig.body(f"results/{NAME}.json")

    rig.worker(store=bucket.client(meanwhile)).run(drain=True)
    assert len(seen) == 1
    assert seen[0] is not None
    assert rig.body(f"results/{NAME}.json") == seen[0]
    check_members(rig, recordings)


def test_a_finisher_that_slept(rig: Rig, bucket: MemoryStore) -> None:
    """A worker that ends a batch with an older view of its members does not replace the result that others gave it."""
    recordings = bodies(2)
    drop_all(rig, recordings)
    drain(rig)
    rig.drop(NAME, lines({"glob": "*.wav"}))
    seen: list[bytes | None] = []

    def meanwhile(call: Call, phase: Phase) -> None:
        if phase == "before" and call.method == "put" and call.key == f"results/{NAME}.json" and not seen:
            seen.append(None)
            rig.clock.sleep(100)
            rig.drop("calls/00.wav", b"replaced")
            rig.store.delete("input/calls/01.wav")
            drain(rig)
            seen[0] = rig.body(f"results/{NAME}.json")

    rig.worker(store=bucket.client(meanwhile)).run(drain=True)
    assert rig.body(f"results/{NAME}.json") == seen[0]
    assert [member["status"] for member in ended(rig)["members"]] == ["completed", "cancelled"]


def test_two_workers_plan(rig: Rig, bucket: MemoryStore) -> None:
    """Two workers that plan at the same moment, with a recording more for the second: both go by the first's plan."""
    recordings = bodies(2)
    drop_all(rig, recordings)
    rig.drop(NAME, lines({"glob": "*.wav", "options": GERMAN}))
    seen: list[str] = []

    def meanwhile(call: Call, phase: Phase) -> None:
        if phase == "before" and call.method == "put" and call.key.endswith("/plan.json") and not seen:
            seen.append(call.key)
            rig.worker().batches.scan()
            rig.drop("calls/77.wav", b"too late")

    rig.drop("calls/zz.wav", b"in time")
    rig.worker(store=bucket.client(meanwhile)).run(drain=True)
    check_members(rig, {**recordings, "calls/zz.wav": b"in time"})


def test_two_workers_share_a_batch(rig: Rig) -> None:
    """Another worker that comes by in the middle of every stage: no content is run twice, and the batch ends once."""
    recordings = bodies(4)
    drop_all(rig, recordings)
    rig.drop(NAME, lines({"glob": "*.wav", "options": GERMAN}))
    other = rig.worker(inner := ScriptedEngine())
    engine = ScriptedEngine(between=lambda stage: other.sweep() and None)
    drain(rig, engine)
    check_members(rig, recordings)
    assert engine.jobs + inner.jobs == 8
    assert {(record.state, record.takeovers) for record in rig.records()} == {("done", 0)}


def test_a_worker_that_sleeps_through_the_deletion(rig: Rig) -> None:
    """A member under way when its batch is deleted publishes nothing for it, whoever ended the batch meanwhile."""
    rig.drop("a.wav", b"talk")
    drain(rig)
    rig.drop(NAME, lines({"key": "a.wav", "options": GERMAN}))
    sid = rig.candidate(NAME).source.sid

    def delete() -> None:
        rig.store.delete(f"input/{NAME}")
        drain(rig)

    drain(rig, at("generating_output", delete))
    assert batch_state(rig, sid) == "cancelled"
    assert rig.keys(f"results/{NAME}") == []
    assert rig.manifest(f"{NAME}/a.wav")["status"] == "cancelled"
    assert rig.manifest(NAME)["status"] == "cancelled"


def test_a_retried_member_reopens_nothing(rig: Rig) -> None:
    """A member that is unsettled while the batch is being ended keeps it open until it is settled again."""
    drop_all(rig, bodies(2))
    drain(rig)
    rig.drop(NAME, lines({"glob": "*.wav"}))
    sid = rig.candidate("calls/01.wav").source.sid
    marker = rig.body(rig.layout.settled_key(sid))
    worker = rig.worker()
    assert isinstance(rig.store, MemoryStore)

    def unsettle(call: Call, phase: Phase) -> None:
        if call.key == rig.layout.settled_key(sid) and call.method == "get" and phase == "before":
            client.hook = None
            rig.store.delete(call.key)

    client = rig.store.client(unsettle)
    watcher(rig, client).scan()
    assert rig.result(NAME) is None
    assert marker is not None
    worker.run(drain=True)
    check_members(rig, bodies(2))


# ── trouble at the end ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cancelled_by", ["deleting its file", "a person"])
def test_a_manifest_that_cannot_be_ended(rig: Rig, bucket: MemoryStore, cancelled_by: str) -> None:
    """A batch is cancelled, and its manifest cannot be written: that is tried again, after a pause, until it says so;
    then it is let go.
    """
    drop_all(rig, bodies(2))
    rig.drop(NAME, lines({"glob": "*.wav"}))
    tries: list[str] = []

    def broken(call: Call, phase: Phase) -> None:
        if phase == "before" and call.method == "put" and call.key == f"progress/{NAME}.json":
            tries.append(call.key)
            raise AccessDenied("s3:PutObject is not allowed")

    batches = watcher(rig, client := bucket.client())
    batches.scan()
    if cancelled_by == "a person":
        settle(rig, bucket, NAME, "cancelled")
    else:
        rig.store.delete(f"input/{NAME}")
    client.hook = broken
    for _ in range(3):
        batches.scan()
    assert len(tries) == 1
    rig.clock.sleep(AGAIN_SECONDS)
    batches.scan()
    assert len(tries) == 2
    assert (batches.pending, rig.manifest(NAME)["status"]) == (True, "processing")
    client.hook = None
    rig.clock.sleep(AGAIN_SECONDS)
    batches.scan()
    assert (batches.pending, rig.manifest(NAME)["status"]) == (False, "cancelled")


def test_a_manifest_that_cannot_be(rig: Rig, bucket: MemoryStore) -> None:
    """A cancelled batch under a name that the store can hold no manifest for is let go: a drain ends."""

    def refused(call: Call, phase: Phase) -> None:
        if phase == "before" and call.key == f"progress/{NAME}.json":
            raise BadKey("the name is too long")

    drop_all(rig, bodies(2))
    rig.drop(NAME, lines({"glob": "*.wav"}))
    batches = watcher(rig, bucket.client(refused))
    batches.scan()
    settle(rig, bucket, NAME, "cancelled")
    rig.clock.sleep(AGAIN_SECONDS)
    batches.scan()
    assert not batches.pending
