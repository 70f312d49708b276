"""A recording that was fetched ahead: whatever happens to it meanwhile, nothing is lost and nothing is done twice."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest
from ahead_rig import FIRST, SECOND, THIRD, Long, downloads, files, meanwhile
from queue_rig import Post, told
from worker_rig import Rig, check_right, text_of

from handler.errors import Unavailable
from handler.fakes import OwnedClock, ScriptedEngine
from handler.store.memory import Call
from handler.worker import Tally
from handler.worker.beside import T, in_turn


def test_nothing_is_claimed_ahead(three: Rig) -> None:
    """While a recording lies ready there is nothing in the bucket that says so: its job is anybody's."""

    def look() -> None:
        assert [record.subscribers[0].key for record in three.records()] == ["a.wav"]
        assert len(three.keys(".dropscribe/v1/sources/")) == 1
        assert three.manifest("b.wav") is None

    meanwhile(three, look)[0].run(drain=True)
    check_right(three, "b.wav", SECOND)


def test_replaced_meanwhile(three: Rig) -> None:
    """A newer version is what is transcribed; the file of the older one goes."""
    worker, engine, _ = meanwhile(three, lambda: three.drop("b.wav", b"a newer second"))
    tally = worker.run(drain=True)
    check_right(three, "b.wav", b"a newer second")
    assert (tally.completed, engine.jobs) == (3, 3)
    assert text_of(SECOND) not in str(three.result("b.wav"))
    assert files(three) == []


def test_replaced_by_one_of_the_same_size_in_the_same_second(three: Rig, clock: OwnedClock) -> None:
    """Versions are told apart by more than size and time."""
    other = SECOND[:-1] + b"!"
    now = three.store.head("input/b.wav").modified
    assert clock.time() > now
    worker, _, _ = meanwhile(three, lambda: three.drop("b.wav", other))
    worker.run(drain=True)
    check_right(three, "b.wav", other)


def test_deleted_meanwhile(three: Rig) -> None:
    """Nothing is published for what is gone, and its file goes."""
    worker, engine, _ = meanwhile(three, lambda: three.store.delete("input/b.wav"))
    tally = worker.run(drain=True)
    assert three.result("b.wav") is None
    assert three.error("b.wav") is None
    assert (tally.completed, tally.failed, engine.jobs) == (2, 0, 2)
    assert files(three) == []


@pytest.mark.parametrize("heard", [True, False])
def test_its_file_goes_with_its_turn(clock: OwnedClock, post: Post, told_rig: Rig, heard: bool) -> None:
    """What could not be used does not lie there until something else is fetched."""
    told_rig.drop("a.wav", FIRST)
    clock.advance(5)
    told_rig.drop("b.wav", SECOND)
    post.send(told("input/a.wav", "input/b.wav"))
    worker, engine, _ = meanwhile(told_rig, lambda: told_rig.store.delete("input/b.wav"))
    if heard:
        worker.hear(post.source().wait(20, threading.Event()) or ())
    else:
        worker.sweep()
    assert engine.jobs == 1
    assert len(engine.prepared) == 1
    assert files(told_rig) == []


def test_a_newer_version_that_a_message_names(post: Post, told_rig: Rig) -> None:
    """A message names a key, whatever lies under it by then: the present version is what is transcribed, once."""
    told_rig.drop("a.wav", FIRST)
    told_rig.drop("b.wav", SECOND)
    post.send(told("input/a.wav", "input/b.wav"))
    worker, engine, store = meanwhile(told_rig, lambda: told_rig.drop("b.wav", SECOND[:-1] + b"!"))
    worker.hear(post.source().wait(20, threading.Event()) or ())
    check_right(told_rig, "b.wav", SECOND[:-1] + b"!")
    assert (engine.jobs, downloads(store)) == (2, ["a.wav", "b.wav", "b.wav"])
    assert files(told_rig) == []


def test_done_by_another_worker_meanwhile(three: Rig) -> None:
    """Another worker may take it at any time, and then it is not done twice."""
    other = three.worker(ScriptedEngine())
    worker, engine, _ = meanwhile(three, lambda: other.inputs.see(three.candidate("b.wav"), frozenset()))
    tally = worker.run(drain=True)
    assert other.tally.completed == 1
    assert (tally.completed, engine.jobs) == (2, 2)
    check_right(three, "b.wav", SECOND)
    assert len(three.records()) == 3
    assert files(three) == []


def test_taken_by_another_worker_meanwhile(three: Rig, clock: OwnedClock) -> None:
    """A worker that has a job keeps it, whoever has its recording on the disk."""
    jobs: list[int] = []

    def other_takes() -> None:
        candidate = three.candidate("b.wav")
        second = Long(clock, lambda job: jobs.append(len(three.records())))
        other = three.worker(second)
        other.inputs.see(candidate, frozenset())

    worker, engine, _ = meanwhile(three, other_takes)
    worker.run(drain=True)
    assert jobs == [2]
    assert engine.jobs == 2
    for name, body in (("a.wav", FIRST), ("b.wav", SECOND), ("c.wav", THIRD)):
        check_right(three, name, body)


def test_stopped_meanwhile(three: Rig) -> None:
    """A worker that is told to stop leaves neither a file nor a trace of what it fetched; the next one does it all."""
    worker, _, _ = meanwhile(three, lambda: worker.stop.set())
    worker.run(drain=False)
    assert files(three) == []
    assert len(three.records()) == 1
    three.worker().run(drain=True)
    for name, body in (("a.wav", FIRST), ("b.wav", SECOND), ("c.wav", THIRD)):
        check_right(three, name, body)


def test_its_troubles_are_nobodys(three: Rig, clock: OwnedClock, caplog: pytest.LogCaptureFixture) -> None:
    """A store that gives no answer ahead of a turn costs the download: no attempt, no wait, no line in the log."""
    left = [1]

    def hook(call: Call, phase: str) -> None:
        if call.key == "input/b.wav" and call.method == "head" and left:
            left.pop()
            raise Unavailable("no answer")

    caplog.set_level(logging.INFO)
    store = three.store.client(hook)  # type: ignore[attr-defined]
    tally = three.worker(Long(clock), store=store, ahead=in_turn).run(drain=True)
    assert left == []
    assert tally == Tally(completed=3, ahead=1)  # b in its turn; c, which was looked at instead
    assert not [line for line in caplog.messages if "no answer" in line]


def test_a_mistake_of_ours_ends_no_job(three: Rig, clock: OwnedClock) -> None:
    """An engine that cannot be asked, a thread that cannot be started: the jobs go on."""

    class Poor(Long):
        def prepare(self, request: object) -> None:
            raise ValueError("nobody foresaw this")

    def no_threads(ask: Callable[[], T]) -> Future[T]:
        raise RuntimeError("can't start new thread")

    assert three.worker(poor := Poor(clock), ahead=in_turn).run(drain=True).completed == 3
    assert poor.jobs == 3
    three.drop("a.wav", b"again")
    three.drop("b.wav", b"and again")
    assert three.worker(Long(clock), ahead=no_threads).run(drain=True).completed == 2
    assert files(three) == []
