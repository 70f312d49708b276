"""Cancelling by command, at any point of a job's course."""

from __future__ import annotations

from typing import Any

import pytest
from cancel_rig import cancelling, check_agreed, single_threaded
from worker_rig import Crash, Rig, at, check_right, drain, give_up

from handler.cancel import Cancelled
from handler.clock import VirtualClock
from handler.fakes import OwnedClock, ScriptedEngine
from handler.retry import Retry
from handler.store.memory import MemoryStore
from pipeline.errors import EngineFailure
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING

SPEECH = b"somebody talks"
OTHER = b"somebody else"


# ── the states in which an input may be ──────────────────────────────────────────────────────────────────────────────


def test_a_queued_input(rig: Rig) -> None:
    """An input that nobody has begun is settled as cancelled, its manifest says so, and no engine ever hears it."""
    rig.drop("a.wav", SPEECH)
    assert cancelling(rig).key("a.wav") == Cancelled(key="a.wav", outcome="cancelled", was="queued")
    assert drain(rig).jobs == 0
    assert check_agreed(rig, "a.wav", SPEECH) == "cancelled"
    assert "somebody asked" in rig.manifest("a.wav")["message"]


@pytest.mark.parametrize("stage", [TRANSCRIBING, GENERATING_OUTPUT])
def test_a_running_job_is_stopped_at_the_next_beat(rig: Rig, clock: OwnedClock, stage: str) -> None:
    """The record is swapped at once; the beat after that is refused, and the engine's stage is not finished."""

    def act() -> None:
        assert cancelling(rig).key("a.wav") == Cancelled(key="a.wav", outcome="cancelled", was="processing")
        assert rig.record().state == "cancelled"
        clock.sleep(rig.settings.beat_seconds)

    rig.drop("a.wav", SPEECH)
    engine = at(stage, act)
    worker = single_threaded(rig, rig.store, engine, "one")  # type: ignore[arg-type]
    assert worker.sweep() == (False, True)
    assert worker.tally.cancelled == 1
    assert engine.ran.count(GENERATING_OUTPUT) == (stage == GENERATING_OUTPUT)
    assert check_agreed(rig, "a.wav", SPEECH) == "cancelled"
    assert rig.record().attempts == 0


def test_between_two_attempts(rig: Rig, clock: VirtualClock) -> None:
    """A job that waits for its next attempt does not get it."""
    rig.drop("a.wav", SPEECH)
    worker = rig.worker(ScriptedEngine(failures=[EngineFailure("it broke").to_detail()]))
    worker.sweep()
    assert rig.record().state == "waiting"
    assert cancelling(rig).key("a.wav").outcome == "cancelled"
    clock.advance(1000)
    assert drain(rig).jobs == 0
    assert check_agreed(rig, "a.wav", SPEECH) == "cancelled"


def test_the_job_of_a_lost_worker(rig: Rig, clock: VirtualClock) -> None:
    """A job whose worker died is cancelled without anybody's help."""
    rig.drop("a.wav", SPEECH)
    with pytest.raises(Crash):
        rig.worker(at(TRANSCRIBING, give_up)).inputs.handle(rig.candidate("a.wav"))
    assert cancelling(rig).key("a.wav").outcome == "cancelled"
    clock.advance(1000)
    assert drain(rig).jobs == 0
    assert check_agreed(rig, "a.wav", SPEECH) == "cancelled"


@pytest.mark.parametrize("cancelled", ["a.wav", "b.wav"])
def test_one_of_two_who_wait(rig: Rig, clock: OwnedClock, cancelled: str) -> None:
    """A job goes on for the other input, whichever of the two is cancelled: the claimer's own or who joined."""
    rig.drop("a.wav", SPEECH)
    rig.drop("b.wav", SPEECH)

    def act() -> None:
        assert rig.worker().inputs.handle(rig.candidate("b.wav")) is False
        assert rig.manifest("b.wav")["status"] == "queued"
        done = cancelling(rig).key(cancelled)
        assert (done.outcome, done.others) == ("cancelled", 1)
        clock.sleep(rig.settings.beat_seconds)

    engine = at(TRANSCRIBING, act)
    worker = single_threaded(rig, rig.store, engine, "one")  # type: ignore[arg-type]
    worker.inputs.handle(rig.candidate("a.wav"))
    drain(rig)
    assert engine.jobs == 1
    assert check_agreed(rig, cancelled, SPEECH) == "cancelled"
    check_right(rig, {"a.wav": "b.wav", "b.wav": "a.wav"}[cancelled], SPEECH)


def test_what_has_ended_stays(rig: Rig) -> None:
    """A completed and a failed input are left as they are, and it is said how they ended."""
    rig.drop("a.wav", SPEECH)
    drain(rig)
    rig.drop("empty.wav", b"")
    drain(rig)
    before = {key: rig.body(key) for key in rig.keys("")}
    assert cancelling(rig).key("a.wav") == Cancelled(key="a.wav", outcome="settled", was="completed")
    assert cancelling(rig).key("empty.wav") == Cancelled(key="empty.wav", outcome="settled", was="failed")
    assert {key: rig.body(key) for key in rig.keys("")} == before


def test_twice_is_once(rig: Rig) -> None:
    """Who cancels again is told that it was cancelled before."""
    rig.drop("a.wav", SPEECH)
    cancelling(rig).key("a.wav")
    assert cancelling(rig).key("a.wav") == Cancelled(key="a.wav", outcome="settled", was="cancelled")


def test_after_the_commit_it_is_too_late(rig: Rig, bucket: MemoryStore) -> None:
    """Between the commit and the marker the result stands: no marker says otherwise, not even for a moment's crash."""
    rig.drop("a.wav", SPEECH)
    told: list[Cancelled] = []

    def hook(call: Any, phase: str) -> None:
        if call.key == "results/a.wav.json" and phase == "before" and call.verb == "PUT" and not told:
            told.append(cancelling(rig).key("a.wav"))
            raise Crash

    with pytest.raises(Crash):
        rig.worker(store=bucket.client(hook)).inputs.handle(rig.candidate("a.wav"))
    assert told == [Cancelled(key="a.wav", outcome="too_late", was="completed")]
    assert rig.settled("a.wav") is None
    assert drain(rig).jobs == 0
    check_right(rig, "a.wav", SPEECH)


@pytest.mark.parametrize("when", ["queued", "running"])
def test_a_cancelled_input_can_be_retried(rig: Rig, clock: OwnedClock, when: str) -> None:
    """`retry` takes a cancelling back, also when the job went on for somebody else all the while."""
    rig.drop("a.wav", SPEECH)
    rig.drop("b.wav", SPEECH)

    def act() -> None:
        cancelling(rig).key("a.wav")
        retried = Retry(rig.jobs("retry")).key("a.wav")
        assert (retried.outcome, retried.was) == ("retried", "cancelled")
        assert rig.manifest("a.wav")["status"] == "queued"
        rig.worker().inputs.handle(rig.candidate("a.wav"))

    if when == "queued":
        act()
    else:
        rig.worker(at(TRANSCRIBING, act)).inputs.handle(rig.candidate("b.wav"))
    clock.advance(1)
    drain(rig)
    check_right(rig, "a.wav", SPEECH)
    check_right(rig, "b.wav", SPEECH)


def test_a_retried_input_can_be_cancelled(rig: Rig, clock: VirtualClock) -> None:
    """What failed, was retried and is queued again is cancelled like any other, and once more retried."""
    rig.drop("a.wav", SPEECH)
    drain(rig, ScriptedEngine(failures=[EngineFailure("it broke").to_detail()] * 3))
    assert rig.settled("a.wav") == "failed"
    Retry(rig.jobs("retry")).key("a.wav")
    assert cancelling(rig).key("a.wav").outcome == "cancelled"
    assert rig.manifest("a.wav")["status"] == "cancelled"
    Retry(rig.jobs("retry")).key("a.wav")
    clock.advance(5)
    drain(rig)
    check_right(rig, "a.wav", SPEECH)


def test_a_stale_listing_starts_nothing(rig: Rig, clock: VirtualClock) -> None:
    """Whoever cancels what stands far back in a worker's listing spares it: the worker asks again."""
    rig.drop("a.wav", SPEECH)
    rig.drop("b.wav", OTHER)

    engine = at(TRANSCRIBING, lambda: (cancelling(rig).key("b.wav"), clock.advance(60)))
    rig.worker(engine).sweep()
    assert engine.jobs == 1
    assert check_agreed(rig, "b.wav", OTHER) == "cancelled"
    check_right(rig, "a.wav", SPEECH)
