"""A cancel and a job that race: every interleaving of their requests, deaths and lost answers."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from cancel_rig import Turns, cancelling, check_agreed, single_threaded, slow
from worker_rig import Crash, Rig, at, check_right, drain, give_up

from handler.cancel import Cancelled
from handler.clock import VirtualClock
from handler.errors import Unavailable
from handler.fakes import OwnedClock, ScriptedEngine
from handler.job import Jobs
from handler.settings import Settings
from handler.store.memory import MemoryStore
from pipeline.plan import TRANSCRIBING

SPEECH = b"somebody talks"
OTHER = b"somebody else"


def fresh(settings: Settings) -> tuple[Rig, MemoryStore]:
    clock = VirtualClock()
    store = MemoryStore(clock)
    rig = Rig(store, clock, settings)
    rig.drop("a.wav", SPEECH)
    return rig, store


def raced(settings: Settings, schedule: list[tuple[str, int]]) -> tuple[Rig, Turns, Any]:
    """A worker's whole course and a cancel, request by request as ``schedule`` says; then whoever comes later."""
    rig, store = fresh(settings)
    turns = Turns(schedule)
    worker = single_threaded(rig, store.client(turns.hook("worker")), slow(rig), "one")
    sides = {"worker": worker.sweep, "cancel": cancelling(rig, store.client(turns.hook("cancel"))).key}
    results = turns.run({"worker": sides["worker"], "cancel": lambda: sides["cancel"]("a.wav")})  # type: ignore[call-arg]
    for result in results.values():
        assert not isinstance(result, BaseException), (schedule, result)
    rig.clock.sleep(1000)
    drain(rig)
    return rig, turns, results["cancel"]


def test_every_interleaving_of_a_cancel_and_a_job(worker_settings: Settings) -> None:
    """Wherever a cancel begins in a job's course, and wherever the job goes on in the cancel's: marker, manifest and
    result agree, and what the cancel said is what came of it.
    """
    _, turns, _ = raced(worker_settings, [("worker", 1000)])
    most_worker, runs, outcomes = turns.made["worker"], 0, set()
    for begins in range(most_worker + 1):
        done, within = False, 0
        while not done:
            rig, turns, told = raced(
                worker_settings, [("worker", begins), ("cancel", within), ("worker", 1000), ("cancel", 1000)]
            )
            outcome = check_agreed(rig, "a.wav", SPEECH)
            said = "cancelled" if told.outcome == "cancelled" else told.was
            assert outcome == said, (begins, within, told)
            outcomes.add((told.outcome, outcome))
            runs, done, within = runs + 1, within >= turns.made["cancel"], within + 1
    assert outcomes == {("cancelled", "cancelled"), ("too_late", "completed"), ("settled", "completed")}
    assert runs > 100
    print(f"{runs} interleavings of {most_worker} requests of a worker with those of a cancel")


@pytest.mark.parametrize("begins", ["queued", "running"])
def test_a_cancel_that_is_killed(worker_settings: Settings, begins: str) -> None:
    """Killed before or after any of its requests, a cancel leaves one consistent state, and can be given again."""
    at_request, done = 0, False
    while not done:
        at_request += 1
        for dies in ("before", "after"):
            rig, store = fresh(worker_settings)
            made: list[str] = []

            def die(call: Any, phase: str) -> None:
                if phase == "before":
                    made.append(call.key)  # noqa: B023
                if len(made) == at_request and phase == dies:  # noqa: B023
                    raise Crash

            def act() -> None:
                with contextlib.suppress(Crash):
                    cancelling(rig, store.client(die)).key("a.wav")  # noqa: B023
                rig.clock.sleep(rig.settings.beat_seconds)  # noqa: B023

            if begins == "queued":
                act()
            else:
                single_threaded(rig, store, at(TRANSCRIBING, act), "one").sweep()
            again = cancelling(rig).key("a.wav")
            rig.clock.sleep(1000)
            drain(rig)
            outcome = check_agreed(rig, "a.wav", SPEECH)
            assert outcome == ("cancelled" if again.outcome == "cancelled" else again.was), (at_request, dies)
            done = len(made) < at_request


def test_a_lost_answer_is_no_lie(worker_settings: Settings) -> None:
    """Whichever answer to a cancel is lost, it ends as it would have, or says that the store gave no answer."""
    for lost in range(1, 12):
        rig, store = fresh(worker_settings)
        made: list[str] = []

        def lose(call: Any, phase: str) -> None:
            if phase == "after":
                made.append(call.key)  # noqa: B023
                if len(made) == lost:  # noqa: B023
                    raise Unavailable("no answer")

        try:
            said = cancelling(rig, store.client(lose)).key("a.wav").outcome
        except Unavailable:
            said = cancelling(rig).key("a.wav").outcome
        assert said in ("cancelled", "settled")
        assert drain(rig).jobs == 0
        assert check_agreed(rig, "a.wav", SPEECH) == "cancelled"


def test_withdrawing_does_not_renew(rig: Rig, clock: VirtualClock) -> None:
    """Taking one of several inputs out of a dead worker's job does not renew its lease."""
    rig.drop("a.wav", SPEECH)
    rig.drop("b.wav", SPEECH)

    def act() -> None:
        rig.worker().inputs.handle(rig.candidate("b.wav"))
        give_up()

    with pytest.raises(Crash):
        rig.worker(at(TRANSCRIBING, act)).inputs.handle(rig.candidate("a.wav"))
    clock.advance(rig.settings.lease_seconds - 10)
    jobs: Jobs = rig.jobs()
    record = jobs.withdraw(rig.record().jid, rig.candidate("a.wav").source.sid)
    assert record is not None
    assert [waiting.key for waiting in record.subscribers] == ["b.wav"]
    clock.advance(20)
    assert rig.worker().inputs.handle(rig.candidate("b.wav")) is True
    check_right(rig, "b.wav", SPEECH)


def test_every_interleaving_with_a_job_that_is_over_at_once(worker_settings: Settings) -> None:
    """A job too short for anybody to look up may end in spite of a cancel; but then the marker says so, too."""
    outcomes: set[str] = set()
    for begins in range(25):
        for within in range(12):
            rig, store = fresh(worker_settings)
            turns = Turns([("worker", begins), ("cancel", within), ("worker", 1000), ("cancel", 1000)])
            worker = single_threaded(rig, store.client(turns.hook("worker")), ScriptedEngine(), "one")
            cancel = cancelling(rig, store.client(turns.hook("cancel")))
            results = turns.run({"worker": worker.sweep, "cancel": lambda: cancel.key("a.wav")})  # noqa: B023
            assert not [result for result in results.values() if isinstance(result, BaseException)]
            rig.clock.sleep(1000)
            drain(rig)
            outcomes.add(check_agreed(rig, "a.wav", SPEECH))
    assert outcomes == {"completed", "cancelled"}


def test_a_cancel_that_is_killed_after_its_marker(rig: Rig, bucket: MemoryStore, clock: OwnedClock) -> None:
    """The marker alone is enough for the worker: the next beat finds that nobody waits."""

    def act() -> None:
        def die(call: Any, phase: str) -> None:
            if call.verb == "PUT" and phase == "after":
                raise Crash

        with pytest.raises(Crash):
            cancelling(rig, bucket.client(die)).key("a.wav")
        assert rig.record().state == "running"
        clock.sleep(rig.settings.beat_seconds)

    rig.drop("a.wav", SPEECH)
    done: list[str] = []

    def between(stage: str) -> None:
        if stage == TRANSCRIBING:
            clock.sleep(2)  # the one early look at the marker comes after this stage
        elif not done:
            done.append(stage)
            act()

    engine = ScriptedEngine(between=between)
    single_threaded(rig, bucket, engine, "one").sweep()
    assert check_agreed(rig, "a.wav", SPEECH) == "cancelled"
    assert rig.record().state == "cancelled"


def test_a_failure_without_a_job_that_is_just_told(rig: Rig, bucket: MemoryStore) -> None:
    """Between the error and the marker of an input that never became a job it is too late to cancel it, too."""
    rig.drop("empty.wav", b"")
    told: list[Cancelled] = []

    def hook(call: Any, phase: str) -> None:
        if "/settled/" in call.key and call.verb == "PUT" and phase == "before" and not told:
            told.append(cancelling(rig).key("empty.wav"))

    rig.worker(store=bucket.client(hook)).sweep()
    assert told == [Cancelled(key="empty.wav", outcome="too_late", was="failed")]
    assert rig.settled("empty.wav") == "failed"
    assert rig.manifest("empty.wav")["status"] == "failed"
    assert rig.error("empty.wav") is not None
