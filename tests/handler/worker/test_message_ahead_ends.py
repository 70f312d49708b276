"""A message that was received ahead: however the job under way ends, it is this worker's next errand, or anybody's at
once; it is never lost, and nothing is done twice on its account.
"""

from __future__ import annotations

from typing import Any

import pytest
from ahead_rig import Foretelling, check_all, client, held, shown
from queue_rig import BUCKET, NEVER, VISIBILITY, Post, failing, told
from worker_rig import Crash, Rig

from handler.errors import LeaseLost
from handler.fakes import OwnedClock, ScriptedEngine
from handler.queue import SqsQueue
from handler.sqs import Sqs
from handler.store.opening import event_keys
from handler.worker import Tally
from handler.worker.beside import in_turn

# ── ends of all kinds ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("grace", [0.0, 600.0])
def test_a_stop_gives_it_back(three_told: Rig, post: Post, clock: OwnedClock, grace: float) -> None:
    """Told to stop, a worker lets others have it at once: also one that first sees a stage to its end."""
    then: list[int] = []

    def look(job: int, place: int) -> None:
        then.append(held(post))
        worker.stop.set()

    engine = Foretelling(clock, (20.0, 5.0, 5.0), look)
    worker = three_told.worker(engine, source=post.source(), ahead=in_turn, stop_seconds=grace)
    worker.run(drain=True)
    assert then == ([2, 1, 1] if grace else [2])
    assert held(post) == 0
    assert len(post.left) == 3
    three_told.worker(source=post.source()).run(drain=True)
    check_all(three_told)
    assert post.left == []


def crash(job: int, place: int) -> None:
    raise Crash


def break_down(job: int, place: int) -> None:
    if job == 1:
        raise OSError("the disk broke")


def test_a_worker_that_dies_in_order_gives_it_back(three_told: Rig, post: Post, clock: OwnedClock) -> None:
    """Whatever ends the worker, others need not wait for its messages."""
    source = post.source()
    with pytest.raises(Crash):
        three_told.worker(Foretelling(clock, look=crash), source=source, ahead=in_turn).hear(
            source.wait(20, NEVER) or ()
        )
    assert post.sqs.counts()["receive_message"] == 2
    assert held(post) == 0
    clock.advance(VISIBILITY + 5)
    three_told.worker(source=post.source()).run(drain=True)
    check_all(three_told)


def test_a_failed_job_gives_it_back(three_told: Rig, post: Post, clock: OwnedClock) -> None:
    """A worker whose job fails may be one where all fail: the next message is anybody's, and it fails nobody."""
    engine = Foretelling(clock, look=break_down)
    tally = three_told.worker(engine, source=post.source(), ahead=in_turn).run(drain=True)
    assert shown(post) == 1
    assert (tally.completed, tally.failed, engine.jobs) == (3, 0, 4)
    assert sorted(record.attempts for record in three_told.records()) == [0, 0, 1]
    assert post.left == []


def test_a_lost_job_gives_it_back(three_told: Rig, post: Post, clock: OwnedClock) -> None:
    """A worker that lost its job may have been away for long: the next message is anybody's."""
    before: list[int] = []

    def lose(job: int, place: int) -> None:
        if job == 1:
            before.append(shown(post))
            raise LeaseLost("somebody else has it")

    engine = Foretelling(clock, look=lose)
    worker = three_told.worker(engine, source=(source := post.source()), ahead=in_turn)
    worker.hear(source.wait(20, NEVER) or ())
    assert (before, shown(post), held(post)) == ([0], 1, 1)
    clock.advance(VISIBILITY + 5)
    three_told.worker(engine, source=source).run(drain=True)
    check_all(three_told)
    assert (engine.jobs, post.left) == (4, [])


class Killed(SqsQueue):
    """Nothing that the worker says once ``dead`` is set reaches anybody."""

    dead = False

    def close(self) -> None:
        if not self.dead:
            super().close()

    def hand_back(self, notices: Any) -> None:
        if not self.dead:
            super().hand_back(notices)


def test_a_killed_workers_message_comes_back(three_told: Rig, post: Post, clock: OwnedClock) -> None:
    """Nobody gives it back, and it is there after its time all the same; each recording is transcribed once."""
    source = Killed(Sqs(post.sqs, post.url), event_keys(BUCKET), clock, visibility=VISIBILITY, inline=True)

    def kill(job: int, place: int) -> None:
        source.dead = True
        source.prefetch.take()
        raise Crash

    with pytest.raises(Crash):
        three_told.worker(Foretelling(clock, look=kill), source=source, ahead=in_turn).run(drain=True)
    assert held(post) == 2
    engine = ScriptedEngine()
    three_told.worker(engine, source=post.source(), drain_seconds=VISIBILITY + 5).run(drain=True)
    check_all(three_told)
    assert (engine.jobs, post.left) == (3, [])
    assert post.sqs.bodies(post.dead) == []


def test_a_scan_lets_others_have_it(three_told: Rig, post: Post, clock: OwnedClock) -> None:
    """A message does not wait behind what a listing shows."""
    then: list[int] = []
    worker = three_told.worker(
        Foretelling(clock, look=lambda job, place: then.append(held(post))),
        source=(source := post.source()),
        ahead=in_turn,
    )
    worker.hear(source.wait(20, NEVER) or ())
    assert held(post) == 2
    worker.sweep()
    assert then == [2, 1, 1]
    three_told.worker(source=source).run(drain=True)
    check_all(three_told)
    assert post.left == []


# ── trouble ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_receive_that_fails_is_nobodys_trouble(three_told: Rig, post: Post, clock: OwnedClock) -> None:
    """The job goes on, and the queue is asked again after it."""
    client = post.client(failing("receive_message", times=0))

    def look(job: int, place: int) -> None:
        if (job, place) == (1, 0):
            client.hook = failing("receive_message", times=1)

    engine = Foretelling(clock, (100.0, 20.0), look)
    tally = three_told.worker(engine, source=post.source(client=client), ahead=in_turn).run(drain=True)
    assert (tally, engine.jobs) == (Tally(completed=3, ahead=1), 3)
    assert post.left == []


@pytest.mark.parametrize("body", ["nonsense", told("results/a.wav.json"), told("input/x.wav", bucket="theirs")])
def test_a_message_without_work(told_rig: Rig, post: Post, clock: OwnedClock, body: str) -> None:
    """One that names nothing to do is dealt with in its turn as any: put away, deleted, or left for others."""
    told_rig.drop("a.wav", b"a.wav")
    told_rig.drop("b.wav", b"b.wav")
    post.send(told("input/a.wav"), body, told("input/b.wav"))
    tally = told_rig.worker(Foretelling(clock), source=post.source(), ahead=in_turn).run(drain=True)
    assert tally.completed == 2
    check_all(told_rig, ("a.wav", "b.wav"))
    assert post.left == ([body] if "theirs" in body else [])
    assert post.sqs.bodies(post.dead) == ([body] if body == "nonsense" else [])


def test_a_message_about_the_job_under_way(told_rig: Rig, post: Post, clock: OwnedClock) -> None:
    """The same news twice: the second message downloads nothing and runs nothing."""
    told_rig.drop("a.wav", b"a.wav")
    post.send(told("input/a.wav"), told("input/a.wav"))
    store = client(told_rig)
    engine = Foretelling(clock)
    tally = told_rig.worker(engine, store=store, source=post.source(), ahead=in_turn).run(drain=True)
    assert (tally, engine.jobs) == (Tally(completed=1), 1)
    assert [call.method for call in store.calls].count("download") == 1
    assert post.left == []
