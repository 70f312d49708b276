"""Messages whose job another worker has, fails, dies or takes hours: what becomes of them, in virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from queue_rig import BUCKET, Post, told
from worker_rig import Crash, Died, Mortal, Rig, at, check_right, drain, give_up

from handler.fake_sqs import SqsError
from handler.fakes import OwnedClock, ScriptedEngine
from handler.store.memory import MemoryStore
from handler.worker.heart import inline_heart
from pipeline.errors import EngineFailure, ErrorDetail, ModelUnavailable

BODY = b"a recording"


@pytest.fixture
def bucket(clock: OwnedClock) -> MemoryStore:
    return MemoryStore(clock, BUCKET)


# ── jobs of others, failures, deaths ─────────────────────────────────────────────────────────────────────────────────


def test_a_busy_jobs_message_comes_back(rig: Rig, post: Post, clock: OwnedClock) -> None:
    """While another worker has the job its message comes again and again, charging nothing; it is deleted when the
    other one is done.
    """
    rig.drop("a.wav", BODY)
    post.send(told("input/a.wav"))

    def other_meets_the_message() -> None:
        # This worker is in the middle of the job: another one hears of it, five times, and leaves it.
        for _ in range(5):
            post.send(told("input/a.wav"))
            other = rig.worker(second, source=post.source(), drain_seconds=1)
            other.run(drain=True)
            assert other.tally.completed == 0
            assert post.left
            clock.advance(2)

    second = ScriptedEngine()
    first = at("transcribing", other_meets_the_message)
    rig.worker(first, source=post.source(), heart=inline_heart).run(drain=True)
    assert second.jobs == 0
    record = rig.record()
    assert (record.state, record.attempts, record.takeovers) == ("done", 0, 0)
    clock.advance(100)
    drain(rig, second, post.source())
    assert not post.left
    assert second.jobs == 0


def test_a_failed_attempts_message_stays(rig: Rig, post: Post, clock: OwnedClock) -> None:
    """After an attempt that failed the message comes again when the next one is due. Attempts are counted in the
    record, whatever the receives.
    """
    rig.drop("a.wav", BODY)
    post.send(told("input/a.wav"))
    failing: list[ErrorDetail | None] = [EngineFailure("it crashed").to_detail()] * 2
    engine = drain(rig, ScriptedEngine(failures=failing), post.source())
    assert engine.jobs == 3
    assert rig.record().attempts == 2
    check_right(rig, "a.wav", BODY)
    assert not post.left


def test_redelivery_after_a_death(rig: Rig, post: Post, clock: OwnedClock) -> None:
    """A worker that dies in the middle of a job leaves the message in the queue; it shows up again and another worker
    finishes the job.
    """
    rig.drop("a.wav", BODY)
    post.send(told("input/a.wav"))
    client = post.client(lambda method, given, phase: _dead(method))
    with pytest.raises(Crash):
        rig.worker(at("transcribing", give_up), source=post.source(client=client)).run(drain=True)
    assert post.left
    clock.advance(100)
    drain(rig, source=post.source())
    check_right(rig, "a.wav", BODY)
    assert rig.record().takeovers == 1
    assert not post.left


def _dead(method: str) -> None:
    """A dead worker says nothing more: only receives of before its death went out."""
    if method != "receive_message":
        raise SqsError("ConnectionError")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("request_number", range(1, 12))
def test_a_death_at_every_write(rig: Rig, post: Post, clock: OwnedClock, request_number: int, after: bool) -> None:
    """Wherever a worker dies, the message brings somebody who finishes; it is never gone before the result is there."""
    rig.drop("a.wav", BODY)
    post.send(told("input/a.wav"))
    mortal = Mortal(rig.store, at=request_number, after=after)

    def no_more(method: str, given: dict[str, Any], phase: str) -> None:
        if mortal.dead:
            raise SqsError("ConnectionError")

    try:
        rig.worker(store=mortal, source=post.source(client=post.client(no_more))).run(drain=True)
    except Died:
        assert post.left or rig.settled("a.wav")
    clock.advance(200)
    drain(rig, source=post.source())
    check_right(rig, "a.wav", BODY)
    assert not post.left


def test_a_stop_gives_messages_back(rig: Rig, post: Post) -> None:
    """A worker that is told to stop in the middle of a job gives back the job and its message, and those that waited
    behind it: others can have them at once.
    """
    for name in ("a.wav", "b.wav", "c.wav", "d.wav"):
        rig.drop(name, name.encode())
    post.send(*[told(f"input/{name}") for name in ("a.wav", "b.wav", "c.wav", "d.wav")])
    worker = rig.worker(at("transcribing", lambda: worker.stop.set()), source=post.source(), stop_seconds=0)
    worker.run(drain=True)
    assert len(post.left) == 4
    assert post.sqs.hidden(post.url) == [0, 0, 0, 0]
    assert {record.attempts for record in rig.records()} <= {0}


def test_a_model_that_does_not_load_gives_messages_back(rig: Rig, post: Post) -> None:
    """A worker whose own model does not load ends; its messages are there for workers that do better."""
    rig.drop("a.wav", BODY)
    post.send(told("input/a.wav"))
    engine = ScriptedEngine(failures=[ModelUnavailable("weights are torn").to_detail()])
    with pytest.raises(ModelUnavailable):
        rig.worker(engine, source=post.source()).run(drain=True)
    assert post.sqs.hidden(post.url) == [0]
    drain(rig, source=post.source())
    check_right(rig, "a.wav", BODY)


# ── long jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Long(ScriptedEngine):
    """Its jobs take ``seconds``, in steps of one; ``look`` is called at each."""

    def __init__(self, clock: OwnedClock, seconds: int, look: Any) -> None:
        super().__init__()
        self._clock, self._seconds, self._look = clock, seconds, look

    def run(self, request: Any, **given: Any) -> Iterator[Any]:
        for _ in range(self._seconds):
            self._clock.advance(1)
            self._look()
            yield None
        yield from super().run(request, **given)


def test_a_long_job_keeps_its_message_and_gives_others_back(rig: Rig, post: Post, clock: OwnedClock) -> None:
    """As long as the job runs its message stays hidden, by the job's own heartbeat; messages that came with it are
    visible to others from the job's beginning.
    """
    for name in ("a.wav", "b.wav", "c.wav"):
        rig.drop(name, name.encode())
    hidden: list[list[float]] = []
    look = lambda: hidden.append(post.sqs.hidden(post.url))  # noqa: E731
    post.send("{}", told("input/a.wav"), told("input/b.wav"), told("input/c.wav"))  # so that the second receive is two
    client = post.sqs.client()
    source = post.source(client=client, dead_letters="")
    rig.worker(Long(clock, 600, look), source=source, heart=inline_heart, time_limit_seconds=10_000).run(drain=True)
    first = hidden[:600]
    assert all(seconds[0] > 0 for seconds in first)
    assert {(seconds[1], seconds[2]) for seconds in first} == {(0, 0)}
    extended = client.counts()["change_message_visibility"]
    assert 3 * 15 <= extended <= 3 * 25
    for name in ("a.wav", "b.wav", "c.wav"):
        check_right(rig, name, name.encode())


def test_a_job_of_more_than_twelve_hours(
    rig: Rig, post: Post, clock: OwnedClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A job that outlives its message goes on under its lease; the message that shows up again finds it busy, and in
    the end done.
    """
    rig.drop("a.wav", BODY)
    post.send(told("input/a.wav"))
    met: list[int] = []

    def look() -> None:
        if post.sqs.hidden(post.url) == [0] and len(met) < 3:
            second = ScriptedEngine()
            rig.worker(second, source=post.source(), drain_seconds=1).run(drain=True)
            met.append(second.jobs)

    engine = Long(clock, 13 * 3600, look)
    rig.worker(engine, source=post.source(), heart=inline_heart, time_limit_seconds=1e6).run(drain=True)
    assert met == [0, 0, 0]
    assert "12 hours" in caplog.text
    check_right(rig, "a.wav", BODY)
    clock.advance(100)
    drain(rig, source=post.source())
    assert not post.left
    record = rig.record()
    assert (record.attempts, record.takeovers) == (0, 0)
