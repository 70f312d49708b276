"""A recording that is deleted, at any point of its job's course: the job ends with it, unless others wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cancel_rig import single_threaded
from worker_rig import Crash, Rig, at, check_right, drain, give_up

from handler.clock import VirtualClock
from handler.errors import AccessDenied
from handler.fakes import OwnedClock, ScriptedEngine
from handler.store.memory import MemoryStore
from pipeline.errors import EngineFailure, NoAudio
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING
from pipeline.types import Done, Failed

SPEECH = b"somebody talks"
OTHER = b"somebody else"


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
