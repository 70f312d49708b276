"""Races that a random run meets too rarely, or has found in the handler: each as the one course that shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
from proof_ledger import USER, takes
from proof_queue import Exchange
from proof_world import FaultKind, World
from protocol_rig import JOB, claimed, dropped, record_of, worker
from sim_scheduler import SimClock

from handler.answers import Busy
from handler.clock import VirtualClock
from handler.job import Jobs
from handler.remove import Remove
from handler.store.memory import MemoryStore
from handler.types import Subscriber
from handler.worker.heart import Pulse
from handler.worker.report import Report
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING

SPEECH, OTHER = b"somebody talks", b"somebody else does"


class Meddler:
    """One fault at a worker's first call that begins so, for each rule."""

    def __init__(self, *rules: tuple[str, str, FaultKind]) -> None:
        self._rules = list(rules)

    def __call__(self, worker: str, call: str) -> FaultKind | None:
        for rule in self._rules:
            if worker == rule[0] and call.startswith(rule[1]):
                self._rules.remove(rule)
                return rule[2]
        return None


@pytest.mark.parametrize("joins", [True, False])
def test_who_joins_during_a_cancel(memory_store: MemoryStore, virtual_clock: VirtualClock, joins: bool) -> None:
    """A beat that finds nobody waiting does not cancel the job of an input that joins at that moment."""
    first, second = dropped(memory_store, "a.wav"), dropped(memory_store, "b.wav")
    lease = claimed(worker(memory_store, "one"), first)
    other = worker(memory_store, "two")

    def wanted() -> bool:
        if joins:
            assert isinstance(other.claim(JOB, second, virtual_clock.time()), Busy)
        return False

    def no_writer(subscriber: Subscriber) -> None:
        raise AssertionError

    report = Report(lease, virtual_clock, "one", no_writer)  # type: ignore[arg-type]
    alive = Pulse(lease, report, 30.0, wanted, lambda: None).beat()
    record = record_of(memory_store)
    if joins:
        assert alive
        assert not lease.lost
        assert (record.state, [one.key for one in record.subscribers]) == ("running", ["a.wav", "b.wav"])
    else:
        assert not alive
        assert (record.state, lease.cancelled) == ("cancelled", True)


def test_settled_while_being_claimed(tmp_path: Path) -> None:
    """Who claims an input that was settled meanwhile, and whose result was evicted, lets go of it: were it killed, the
    manifest would say for ever that it is being worked on, and no scan would show it.
    """
    world = World(
        0,
        tmp_path,
        meddle=Meddler(
            ("late", "put .dropscribe/v1/jobs/", "long pause"), ("late", "put .dropscribe/v1/stages/", "crash before")
        ),
    )
    world.drop("a.wav", SPEECH)
    world.hire(0.0, name="late", drain=True)
    world.hire(1.0, name="first", drain=True)

    def evict() -> None:
        world.scheduler.pause(32.0)
        assert world.all_settled()
        for key in world.references():
            world.evict(key)

    world.scheduler.spawn("user", evict)
    world.run()
    assert world.faults["long pause"] == 1
    assert world.ledger.violations == []
    assert world.ledger.ideal == len(world.ledger.runs) == 2


def test_replaced_while_being_told(tmp_path: Path) -> None:
    """Whoever publishes a known result and stands still between the result and the manifest does not replace the
    manifest of the version that came meanwhile.
    """
    world = World(0, tmp_path)
    world.steps = 1
    world.drop("before.wav", SPEECH)
    world.hire(name="before", drain=True)
    world.let_all_end()
    world._meddle = Meddler(("slow", "put progress/a.wav.json", "long pause"))
    world.drop("a.wav", SPEECH)

    def replace() -> None:
        world.scheduler.pause(5.0)
        world.drop("a.wav", OTHER)

    world.scheduler.spawn("user", replace)
    world.hire(0.0, name="slow", drain=True)
    world.hire(6.0, name="other", drain=True)
    world.run()
    assert world.faults["long pause"] == 1
    assert world.ledger.violations == []


def test_an_event_is_not_believed(tmp_path: Path) -> None:
    """A message says that something lies there; what, the bucket is asked each time."""
    world = World(0, tmp_path)
    exchange = Exchange(world)
    done: list[float] = []

    def user() -> None:
        for body in (SPEECH, OTHER):
            world.drop("a.wav", body)
            exchange.send("a.wav")
            world.scheduler.pause(40.0)
            done.append(world.all_settled())
        world.stop.set()

    world.settings = world.settings.model_copy(update={"reconcile_seconds": 10_000.0})
    world.hire(0.0, name="told", source=exchange.source)
    world.scheduler.spawn("user", user, 1.0)
    world.run()
    assert world.ledger.violations == []
    assert done == [True, True]


def test_a_late_artifact_is_adopted(tmp_path: Path) -> None:
    """A worker whose lease was lost stores its transcript while the next one is at the same stage: that one goes on
    with what is stored, though it heard something else itself.
    """
    world = World(0, tmp_path, meddle=Meddler(("slow", "put .dropscribe/v1/stages/", "long pause")))
    world.steps = 12  # longer than any pause
    world.drop("a.wav", SPEECH)
    world.hire(0.0, name="slow", drain=True)
    world.hire(1.0, name="next", drain=True)
    world.run()
    ran = [(run.worker, run.stage, run.stored) for run in world.ledger.runs]
    assert ran[0] == ("slow", TRANSCRIBING, True)
    assert ran[-2:] == [("next", TRANSCRIBING, False), ("next", GENERATING_OUTPUT, True)]
    assert takes(world.store.peek("results/a.wav.json") or b"") == {b"take1"}
    assert world.ledger.violations == []


def test_a_takeover_names_what_the_result_was_made_of(tmp_path: Path) -> None:
    """A worker dies between keeping the result and committing it. Whoever commits it names the transcript in the
    record, too, though it never looked at it: or a purge would leave behind what somebody said.
    """
    world = World(0, tmp_path)
    world.steps = 1  # over before a heartbeat is due
    world.on_stage = lambda worker, place: commit_fails() if place == f"end of {GENERATING_OUTPUT}" else None

    def commit_fails() -> None:
        world._meddle = Meddler(("dies", "put .dropscribe/v1/jobs/", "crash before"))

    world.drop("a.wav", SPEECH)
    world.hire(0.0, name="dies", drain=True)
    world.hire(1.0, name="heir", drain=True)
    world.run()
    assert world.faults["crash before"] == 1
    assert world.ledger.violations == []
    assert [run.worker for run in world.ledger.runs] == ["dies", "dies"]
    assert len(world.references()) == 2
    Remove(Jobs(world.store, world.layout, SimClock(world.scheduler), world.settings, USER)).key("a.wav", purge=True)
    assert world.references() == ()


def test_claimed_anew_in_the_second_in_which_it_was_noticed(tmp_path: Path) -> None:
    """Whoever publishes what an old record says does not replace the result of somebody who found its artifact gone,
    claimed the job anew in the same second, and is done with it.
    """
    world = World(0, tmp_path)
    world.steps = 1
    world.drop("before.wav", SPEECH)
    world.hire(name="before", drain=True)
    world.let_all_end()
    world.age(100.0 - world.scheduler.now % 1.0)  # a second begins
    world._meddle = Meddler(("slow", "get .dropscribe/v1/stages/", "long pause"))
    world.drop("a.wav", SPEECH)

    def evict() -> None:
        for key in world.references():
            world.evict(key)

    world.hire(0.0, name="slow", drain=True)
    world.scheduler.spawn("user", evict, 0.3)
    world.hire(0.4, name="other", drain=True)
    world.run()
    assert world.faults["long pause"] == 1
    assert [run.worker for run in world.ledger.runs] == ["before", "before", "other", "other"]
    assert world.ledger.violations == []
