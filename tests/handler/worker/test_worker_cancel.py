"""Cancelling, by command or by deleting the recording, at any point of a job's course."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cancel_rig import cancelling, check_agreed, single_threaded
from worker_rig import Crash, Rig, at, check_right, drain, give_up

from handler.cancel import Cancelled
from handler.clock import VirtualClock
from handler.errors import AccessDenied
from handler.fakes import OwnedClock, ScriptedEngine
from handler.retry import Retry
from handler.store.memory import MemoryStore
from pipeline.errors import EngineFailure, NoAudio
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING
from pipeline.types import Done, Failed

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


# ── deleting the recording ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_recording_that_goes_while_it_is_worked_on(rig: Rig, clock: OwnedClock, how: str) -> None:
    """Deleting or overwriting is cancelling: the next beat notices, the engine is killed, the old version is settled as
    cancelled; a new one is transcribed."""
    rig.drop("a.wav", SPEECH)
    old = rig.candidate("a.wav")

    def act() -> None:
        if how == "deleted":
            rig.store.delete("input/a.wav")
        else:
            rig.drop("a.wav", OTHER)
        clock.sleep(rig.settings.beat_seconds)

    engine = at(TRANSCRIBING, act)
    worker = single_threaded(rig, rig.store, engine, "one")  # type: ignore[arg-type]
    assert worker.inputs.handle(old) is True
    assert GENERATING_OUTPUT not in engine.ran
    assert worker.tally.cancelled == 1
    assert rig.record().state == "cancelled"
    assert rig.json(rig.layout.settled_key(old.source.sid))["outcome"] == "cancelled"
    assert rig.manifest("a.wav")["status"] == "cancelled"
    assert rig.result("a.wav") is None
    if how == "replaced":
        drain(rig)
        check_right(rig, "a.wav", OTHER)


def test_a_recording_that_goes_while_another_waits(rig: Rig, clock: OwnedClock) -> None:
    """The job of a deleted recording goes on while another one with the same bytes is there."""
    rig.drop("a.wav", SPEECH)
    rig.drop("b.wav", SPEECH)
    old = rig.candidate("a.wav")

    def act() -> None:
        rig.worker().inputs.handle(rig.candidate("b.wav"))
        rig.store.delete("input/a.wav")
        clock.sleep(rig.settings.beat_seconds)

    engine = at(TRANSCRIBING, act)
    worker = single_threaded(rig, rig.store, engine, "one")  # type: ignore[arg-type]
    worker.inputs.handle(old)
    check_right(rig, "b.wav", SPEECH)
    assert rig.json(rig.layout.settled_key(old.source.sid))["outcome"] == "cancelled"
    assert rig.manifest("a.wav")["status"] == "cancelled"
    assert rig.result("a.wav") is None


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_recording_that_goes_before_its_download(rig: Rig, bucket: MemoryStore, how: str) -> None:
    """Between the claim of its job and the end of the download: it is cancelled, and the job with it, not given back
    to wait for ever for a recording that is not there.
    """

    def hook(call: Any, phase: str) -> None:
        if (call.method, phase) == ("download", "before"):
            bucket.delete("input/a.wav")
            if how == "replaced":
                bucket.drop("input/a.wav", b"")

    rig.drop("a.wav", SPEECH)
    old = rig.candidate("a.wav")
    with pytest.raises(Crash):
        rig.worker(at(TRANSCRIBING, give_up)).inputs.handle(old)
    rig.clock.sleep(rig.settings.lease_seconds + 10)
    worker = rig.worker(store=bucket.client(hook))
    assert worker.inputs.see(old, set())
    assert worker.tally.cancelled == 1
    assert rig.json(rig.layout.settled_key(old.source.sid))["outcome"] == "cancelled"
    assert rig.manifest("a.wav")["status"] == "cancelled"
    assert rig.record().state == "cancelled"


def test_one_that_goes_before_its_download_while_another_waits(rig: Rig, bucket: MemoryStore) -> None:
    """Only the input whose recording has gone is cancelled: the job goes on for the one with the same bytes."""

    def hook(call: Any, phase: str) -> None:
        if (call.method, phase) == ("download", "before") and call.key == "input/a.wav":
            bucket.delete("input/a.wav")

    rig.drop("a.wav", SPEECH)
    old = rig.candidate("a.wav")

    def join() -> None:
        rig.drop("b.wav", SPEECH)
        rig.worker().inputs.handle(rig.candidate("b.wav"))
        give_up()

    with pytest.raises(Crash):
        rig.worker(at(TRANSCRIBING, join)).inputs.handle(old)
    rig.clock.sleep(rig.settings.lease_seconds + 10)
    worker = rig.worker(store=bucket.client(hook))
    assert worker.inputs.see(old, set())
    assert [waiting.key for waiting in rig.record().subscribers] == ["b.wav"]
    assert rig.manifest("a.wav")["status"] == "cancelled"
    assert rig.settled("b.wav") is None
    worker.run(drain=True)
    check_right(rig, "b.wav", SPEECH)
    assert (worker.tally.cancelled, worker.tally.completed) == (1, 1)


def test_a_recording_that_goes_before_the_job_is_given_back(rig: Rig) -> None:
    """Deleted in the middle of a stage, before a beat had noticed, and the worker told to stop: no scan will show it,
    so it is cancelled on the way out.
    """

    def act() -> None:
        rig.store.delete("input/a.wav")
        worker.stop.set()

    rig.drop("a.wav", SPEECH)
    old = rig.candidate("a.wav")
    worker = rig.worker(at(TRANSCRIBING, act), stop_seconds=0)
    worker.run(drain=False)
    assert rig.manifest("a.wav")["status"] == "cancelled"
    assert rig.json(rig.layout.settled_key(old.source.sid))["outcome"] == "cancelled"
    assert rig.record().state == "cancelled"


def test_a_recording_that_goes_after_an_outage(rig: Rig, bucket: MemoryStore) -> None:
    """Given back because the store failed, and deleted before the next look at it: its manifest does not promise one
    for ever.
    """

    def refuse(call: Any, phase: str) -> None:
        if call.verb == "PUT" and "/stages/" in call.key:
            raise AccessDenied("no permission to write stages/")

    rig.drop("a.wav", SPEECH)
    worker = rig.worker(store=bucket.client(refuse))
    worker.sweep()
    assert rig.manifest("a.wav")["status"] == "queued"
    rig.store.delete("input/a.wav")
    assert worker.sweep() == (False, False)
    assert rig.manifest("a.wav")["status"] == "cancelled"
    assert rig.record().state == "cancelled"
    assert worker.tally.cancelled == 1


@pytest.mark.parametrize("ends", ["well", "badly", "known"])
def test_what_is_counted_of_one_that_goes_at_the_end(rig: Rig, bucket: MemoryStore, ends: str) -> None:
    """A recording that was deleted before its result or its error could be told is counted as cancelled, as its marker
    says, and not as completed or failed.
    """

    class Leaving(ScriptedEngine):
        def run(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
            for event in super().run(*args, **kwargs):
                if isinstance(event, Done | Failed):
                    rig.store.delete("input/a.wav")
                yield event

    def vanish(call: Any, phase: str) -> None:
        if call.key.startswith(".dropscribe/v1/stages/") and phase == "after":
            rig.store.delete("input/a.wav")

    if ends == "known":
        rig.drop("b.wav", SPEECH)
        drain(rig)
    rig.drop("a.wav", SPEECH)
    old = rig.candidate("a.wav")
    if ends == "known":
        worker = rig.worker(store=bucket.client(vanish))
    else:
        worker = rig.worker(Leaving(failures=[NoAudio("silence").to_detail()] if ends == "badly" else []))
    assert worker.inputs.see(old, set())
    assert rig.json(rig.layout.settled_key(old.source.sid))["outcome"] == "cancelled"
    tally = worker.tally
    assert (tally.completed, tally.cached, tally.failed, tally.cancelled) == (0, 0, 0, 1)


def test_a_recording_that_goes_between_two_attempts(rig: Rig, clock: VirtualClock) -> None:
    """Deleted while its job waits for the next attempt: the manifest does not promise that attempt for ever."""
    rig.drop("a.wav", SPEECH)
    old = rig.candidate("a.wav")
    worker = rig.worker(ScriptedEngine(failures=[EngineFailure("it broke").to_detail()]))
    worker.sweep()
    rig.store.delete("input/a.wav")
    clock.advance(1000)
    assert worker.sweep() == (False, False)
    assert rig.manifest("a.wav")["status"] == "cancelled"
    assert rig.record().state == "cancelled"
    assert rig.json(rig.layout.settled_key(old.source.sid))["outcome"] == "cancelled"
