"""Batches that are cancelled, by command or by their marker, at any moment."""

from __future__ import annotations

from typing import Any

import pytest
from batch_rig import NAME, OWN, bodies, check_members, drop_all, lines
from cancel_rig import Turns, cancelling, single_threaded, slow
from worker_rig import Died, Mortal, Rig, at, drain

from handler.cancel import Cancel, Cancelled
from handler.fakes import OwnedClock, ScriptedEngine
from handler.job import Jobs
from handler.retry import Retry
from handler.settings import Settings
from handler.store.memory import MemoryStore


def agreed(rig: Rig) -> str:
    """Marker, manifest and result of the batch tell one story, and so do those of each member with options."""
    outcome = rig.settled(NAME)
    assert outcome in ("completed", "cancelled")
    assert rig.manifest(NAME)["kind"] == "batch"
    assert rig.manifest(NAME)["status"] == outcome
    assert (rig.result(NAME) is not None) == (outcome == "completed")
    assert all(record.state not in ("running", "waiting") for record in rig.records())
    for key in rig.keys(f"progress/{NAME}/"):
        manifest = rig.json(key)
        assert manifest["status"] in ("completed", "cancelled")
        assert (rig.result(manifest["key"]) is not None) == (manifest["status"] == "completed")
        assert rig.json(rig.layout.settled_key(manifest["source_id"]))["outcome"] == manifest["status"]
    return outcome


def test_a_cancelled_batch(rig: Rig, clock: OwnedClock) -> None:
    """A batch that somebody cancels ends: what runs for it is stopped at the next beat, nothing more of its own members
    is begun, and its manifest says how far it was, and why it ended.
    """
    drop_all(rig, bodies(3))
    drain(rig)
    rig.drop(NAME, OWN)
    seen: list[str] = []

    def between(stage: str) -> None:
        seen.append(stage)
        clock.sleep(3)
        if len(seen) == 3:  # the second member's first stage
            assert Cancel(rig.jobs()).key(NAME) == Cancelled(key=NAME, outcome="cancelled", was="processing")
            clock.sleep(rig.settings.beat_seconds)

    engine = ScriptedEngine(between=between)
    single_threaded(rig, rig.store, engine, "one").run(drain=True)  # type: ignore[arg-type]
    assert engine.ran == ["transcribing", "generating_output", "transcribing"]
    assert agreed(rig) == "cancelled"
    manifest = rig.manifest(NAME)
    assert manifest["counts"] == {"total": 3, "completed": 1, "failed": 0, "cancelled": 0, "queued": 2}
    assert manifest["message"] == "Cancelled: somebody asked for it."
    assert rig.keys(f"results/{NAME}") == [f"results/{NAME}/calls/00.wav.json"]
    assert Cancel(rig.jobs()).key(NAME) == Cancelled(key=NAME, outcome="settled", was="cancelled")


def test_a_batchs_marker_alone_stops_its_members(rig: Rig, clock: OwnedClock) -> None:
    """A cancel that got no further than the batch's marker, or that came before a member's first manifest: what runs
    for the batch finds the marker at its next beat, and ends.
    """
    rig.drop("a.wav", b"talk")
    drain(rig)
    rig.drop(NAME, OWN)

    def cancel() -> None:
        with pytest.raises(Died):
            Cancel(Jobs(Mortal(rig.store, 1, after=True), rig.layout, clock, rig.settings, "cancel")).key(NAME)
        clock.sleep(rig.settings.beat_seconds)

    engine = at("transcribing", cancel)
    single_threaded(rig, rig.store, engine, "one").run(drain=True)  # type: ignore[arg-type]
    assert engine.ran == ["transcribing"]
    assert agreed(rig) == "cancelled"
    assert rig.manifest(f"{NAME}/a.wav")["status"] == "cancelled"


def test_a_cancelled_batch_that_nobody_works_on(rig: Rig) -> None:
    """What waits for its next attempt is cancelled with the batch though no worker is there to do it; a batch that
    nobody has seen yet is never begun, and has a manifest that says why.
    """
    rig.drop("a.wav", b"talk")
    drain(rig)
    rig.drop(NAME, OWN)
    rig.worker(ScriptedEngine(failures=[None]), backoff_seconds=1000).sweep()
    assert rig.manifest(f"{NAME}/a.wav")["status"] == "queued"
    assert Cancel(rig.jobs()).key(NAME).outcome == "cancelled"
    assert agreed(rig) == "cancelled"
    rig.drop(NAME, OWN + b"\n")
    assert Cancel(rig.jobs()).key(NAME) == Cancelled(key=NAME, outcome="cancelled", was="queued")
    assert drain(rig).jobs == 0
    assert agreed(rig) == "cancelled"


def test_a_batch_that_has_ended_stays(rig: Rig) -> None:
    """A batch that has completed or failed before cannot be cancelled, and is as it was."""
    rig.drop("a.wav", b"talk")
    rig.drop(NAME, lines("a.wav"))
    rig.drop("wrong.batch.jsonl", lines("b.wav"))
    drain(rig)
    before = {key: rig.body(key) for key in rig.keys("")}
    for key, was in ((NAME, "completed"), ("wrong.batch.jsonl", "failed")):
        assert Cancel(rig.jobs()).key(key) == Cancelled(key=key, outcome="settled", was=was)
    assert {key: rig.body(key) for key in rig.keys("")} == before


def test_a_cancelled_batch_again(rig: Rig) -> None:
    """A retry takes the cancelling back, and has done what was cancelled with the batch."""
    drop_all(rig, bodies(3))
    drain(rig)
    rig.drop(NAME, OWN)
    drain(rig, at("transcribing", lambda: Cancel(rig.jobs()).key(NAME)))
    assert rig.settled(NAME) == "cancelled"
    assert Retry(rig.jobs()).key(NAME).was == "cancelled"
    drain(rig)
    check_members(rig, bodies(3))
    assert agreed(rig) == "completed"


def raced(settings: Settings, schedule: list[tuple[str, int]]) -> tuple[Rig, Turns, Any]:
    """A worker that sees a batch to its end, and a cancel of that, request by request as ``schedule`` says."""
    clock = OwnedClock()
    store = MemoryStore(clock)
    rig = Rig(store, clock, settings)
    rig.drop("a.wav", b"talk")
    drain(rig)
    rig.drop(NAME, OWN)
    turns = Turns(schedule)
    worker = single_threaded(rig, store.client(turns.hook("worker")), slow(rig), "one")
    cancel = cancelling(rig, store.client(turns.hook("cancel")))

    def work() -> None:
        for _ in range(2):
            worker.sweep()

    results = turns.run({"worker": work, "cancel": lambda: cancel.key(NAME)})
    for result in results.values():
        assert not isinstance(result, BaseException), (schedule, result)
    rig.clock.sleep(1000)
    drain(rig)
    return rig, turns, results["cancel"]


def test_a_cancel_at_any_moment_of_a_batch(worker_settings: Settings) -> None:
    """Wherever a cancel begins in a batch's course, and wherever that goes on in the cancel's: marker, manifest and
    result agree, of the batch and of its member; and what the cancel said is what came of it.
    """
    _, turns, _ = raced(worker_settings, [("worker", 1000)])
    outcomes = set()
    most = turns.made["worker"]
    for begins in range(most + 1):
        for within in (0, 1, 2, 3, 5, 8, 1000):
            schedule = [("worker", begins), ("cancel", within), ("worker", 1000), ("cancel", 1000)]
            rig, _, told = raced(worker_settings, schedule)
            said = "cancelled" if told.outcome == "cancelled" else told.was
            assert agreed(rig) == said, (begins, within, told)
            outcomes.add((told.outcome, said))
    assert outcomes == {("cancelled", "cancelled"), ("too_late", "completed"), ("settled", "completed")}


def test_a_cancel_of_a_batch_that_is_killed(worker_settings: Settings) -> None:
    """A cancel that dies at any of its writes, given again, ends the batch and its members."""
    for number in range(1, 30):
        clock = OwnedClock()
        rig = Rig(MemoryStore(clock), clock, worker_settings)
        rig.drop("a.wav", b"talk")
        drain(rig)
        rig.drop(NAME, OWN)
        rig.worker(ScriptedEngine(failures=[None]), backoff_seconds=1000).sweep()
        mortal = Mortal(rig.store, number, after=True)
        try:
            Cancel(Jobs(mortal, rig.layout, clock, rig.settings, "cancel")).key(NAME)
        except Died:
            Cancel(rig.jobs()).key(NAME)
            assert agreed(rig) == "cancelled"
            assert drain(rig).jobs == 0
        else:
            break
    assert number > 4
