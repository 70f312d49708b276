"""A worker on a queue receives the next message in the last seconds of a job: it is this worker's next errand, or
anybody's at once; it is never lost, and nothing is done twice on its account.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from queue_rig import BUCKET, NEVER, Post, failing, only, told
from worker_rig import Crash, Rig, check_right

from handler.errors import LeaseLost
from handler.fakes import OwnedClock, ScriptedEngine
from handler.queue import SqsQueue
from handler.sqs import Sqs
from handler.store.memory import MemoryStore
from handler.store.opening import event_keys
from handler.worker import Tally
from handler.worker.beside import in_turn
from handler.worker.heart import inline_heart
from pipeline.plan import TRANSCRIBING
from pipeline.types import Event, Progress

NAMES = ("a.wav", "b.wav", "c.wav")
VISIBILITY = 90


class Foretelling(ScriptedEngine):
    """A job says, one after the other, in how many seconds it is over (``left``); after each time two seconds pass,
    and the worker comes by. ``look``: called then, with the job's number and how often that was before.
    """

    def __init__(
        self,
        clock: OwnedClock,
        left: Sequence[float] = (20.0,),
        look: Callable[[int, int], object] = lambda job, place: None,
        **given: Any,
    ) -> None:
        super().__init__(**given)
        self._clock = clock
        self._left = left
        self._look = look

    def run(self, *args: Any, **given: Any) -> Iterator[Event | None]:
        for event in super().run(*args, **given):
            if not isinstance(event, Progress):
                yield event
                continue
            for place, left in enumerate(self._left):
                if left >= 0:  # below: nothing is said
                    yield Progress(stage=TRANSCRIBING, percent=10, job_eta=left + 2.0)
                self._clock.sleep(2.0)
                for _ in range(3):
                    yield None
                self._look(self.jobs, place)


@pytest.fixture
def bucket(clock: OwnedClock) -> MemoryStore:
    return MemoryStore(clock, BUCKET)


@pytest.fixture
def three(rig: Rig, post: Post) -> Rig:
    """Three recordings, and a message about each."""
    for name in NAMES:
        rig.drop(name, name.encode())
        post.send(told(f"input/{name}"))
    return rig


def check_all(rig: Rig, names: Sequence[str] = NAMES) -> None:
    for name in names:
        check_right(rig, name, name.encode())


def held(post: Post) -> int:
    """Messages that nobody else can receive."""
    return sum(seconds > 0 for seconds in post.sqs.hidden(post.url))


def shown(post: Post) -> int:
    """Requests by which messages were given back at once."""
    calls = [given for method, given in post.sqs.calls if method == "change_message_visibility"]
    return sum(given["VisibilityTimeout"] == 0 for given in calls)


# ── used ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_next_message_is_there_when_a_job_ends(three: Rig, post: Post, clock: OwnedClock) -> None:
    """In a job's last seconds the next message is received and its recording fetched; it is done next, by this one
    receipt, and a drain does not end before.
    """
    then: list[int] = []
    engine = Foretelling(clock, look=lambda job, place: then.append(held(post)))
    store = three.store.client()  # type: ignore[attr-defined]
    tally = three.worker(engine, store=store, source=post.source(), ahead=in_turn).run(drain=True)
    assert tally == Tally(completed=3, ahead=2)
    assert then == [2, 2, 1]
    assert [call.key for call in store.calls if call.method == "download"] == [f"input/{name}" for name in NAMES]
    check_all(three)
    assert post.left == []
    # Each message once, none during the last job, and none for as long as a drain waits.
    assert post.sqs.counts()["receive_message"] == 3 + 1 + 1
    assert shown(post) == 0


def test_it_is_the_next_errand(three: Rig, post: Post, clock: OwnedClock) -> None:
    """Nothing is received between a job and the message that was received ahead; the settled one is deleted first."""
    asked: list[str] = []

    def note(job: int, place: int) -> None:
        asked.extend([f"job {job}", *(method for method, _ in post.sqs.calls)])
        post.sqs.calls.clear()

    three.worker(Foretelling(clock, look=note), source=post.source(), ahead=in_turn).run(drain=True)
    assert asked == [
        "job 1", "receive_message", "receive_message",
        "job 2", "delete_message_batch", "receive_message",
        "job 3", "delete_message_batch", "receive_message",
    ]  # fmt: skip


def test_it_takes_the_place_of_what_was_handed_back(three: Rig, post: Post, clock: OwnedClock) -> None:
    """A recording that was fetched because it may be next makes room for the one that is."""
    source = post.source()
    source._most = 3
    others: list[tuple[str, ...]] = []

    def look(job: int, place: int) -> None:
        if (job, place) == (1, 0):
            others.append(only(post.source(client=post.sqs.client())).keys)

    store = three.store.client()  # type: ignore[attr-defined]
    worker = three.worker(Foretelling(clock, (100.0, 20.0), look), store=store, source=source, ahead=in_turn)
    worker.hear(source.wait(20, NEVER) or ())
    assert others == [("input/b.wav",)]
    worker.hear(source.wait(20, NEVER) or ())
    assert worker.tally == Tally(completed=2, ahead=1)
    downloads = [call.key for call in store.calls if call.method == "download"]
    assert downloads == ["input/a.wav", "input/b.wav", "input/c.wav"]
    check_all(three, ("a.wav", "c.wav"))


# ── when not ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("left", [30.0, 600.0, -1.0])
def test_not_before_the_last_seconds(three: Rig, post: Post, clock: OwnedClock, left: float) -> None:
    """While a job has half a minute or more to go, or nobody knows, every other message is anybody's."""
    then: list[int] = []
    engine = Foretelling(clock, (left, left), look=lambda job, place: then.append(held(post)))
    tally = three.worker(engine, source=post.source(), ahead=in_turn).run(drain=True)
    assert tally == Tally(completed=3)
    assert set(then) == {1}


def test_not_where_nothing_is_fetched_ahead(three: Rig, post: Post, clock: OwnedClock) -> None:
    """DROPSCRIBE_FETCH_AHEAD=false is one message at a time."""
    then: list[int] = []
    engine = Foretelling(clock, look=lambda job, place: then.append(held(post)))
    assert three.worker(engine, source=post.source()).run(drain=True) == Tally(completed=3)
    assert then == [1, 1, 1]


@pytest.mark.parametrize("why", ["the same message names more", "a scan is due", "a batch is open", "it is a scan's"])
def test_not_where_something_else_is_next(three: Rig, post: Post, clock: OwnedClock, why: str) -> None:
    """What would have to wait is not received."""
    then: list[int] = []
    source, drops, until = post.source(), ("a.wav",), math.inf
    worker = three.worker(
        Foretelling(clock, look=lambda job, place: then.append(held(post))), source=source, ahead=in_turn
    )
    if why == "the same message names more":
        three.drop("d.wav", b"d.wav")
        post.sqs._server.queues["told"].messages[0].body = told("input/a.wav", "input/d.wav")
        drops = ("a.wav", "d.wav")
    elif why == "a scan is due":
        until = clock.monotonic() + 15
    elif why == "a batch is open":
        worker.batches.pending = True
    if why == "it is a scan's":
        worker.sweep()
        assert then == [0, 0, 0]
    else:
        worker.hear(source.wait(20, NEVER) or (), until=until)
        assert then[0] == 1
    check_all(three, drops)


def test_short_jobs_cost_no_more(fresh: Callable[[], Rig]) -> None:
    """Of jobs that are over in a second, or whose results are known, neither store nor queue is asked more."""
    costs = []
    for ahead in (in_turn, None):
        made = fresh()
        assert isinstance(made.clock, OwnedClock)
        rig, post = Rig(MemoryStore(made.clock, BUCKET), made.clock, made.settings), Post(made.clock)
        for name, body in (("a.wav", b"one"), ("b.wav", b"two"), ("c.wav", b"one")):
            rig.drop(name, body)
            post.send(told(f"input/{name}"))
        store = rig.store.client()  # type: ignore[attr-defined]
        rig.worker(store=store, source=post.source(), ahead=ahead).run(drain=True)
        costs.append((sorted((call.method, call.key) for call in store.calls), post.sqs.counts()))
    assert costs[0] == costs[1]


def test_an_empty_queue_is_asked_once(rig: Rig, post: Post, clock: OwnedClock) -> None:
    """A job costs one receive ahead at most, however long its last seconds are."""
    rig.drop("a.wav", b"a.wav")
    post.send(told("input/a.wav"))
    asked: list[int] = []
    engine = Foretelling(clock, [20.0] * 9, lambda job, place: asked.append(post.sqs.counts()["receive_message"]))
    rig.worker(engine, source=post.source(), ahead=in_turn).run(drain=True)
    assert set(asked) == {2}


# ── while it is held ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_stays_hidden_as_the_one_in_hand(three: Rig, post: Post, clock: OwnedClock) -> None:
    """The job's heart keeps both hidden: of a visibility of ten seconds neither runs out in fifty."""
    then: list[int] = []
    engine = Foretelling(clock, [20.0] * 25, lambda job, place: then.append(held(post)))
    tally = three.worker(
        engine, source=post.source(visibility=10), ahead=in_turn, heart=inline_heart, lease_seconds=10, beat_seconds=3
    ).run(drain=True)
    assert then == [2] * 50 + [1] * 25
    assert (tally.completed, tally.ahead, engine.jobs) == (3, 2, 3)
    assert post.left == []


@pytest.mark.parametrize("left", [[20.0, 61.0, 20.0, 20.0], [20.0] * 33])
def test_a_job_that_takes_longer_gives_it_back(three: Rig, post: Post, clock: OwnedClock, left: list[float]) -> None:
    """What was soon and is not, by what the job says or by the time that has passed, makes the message anybody's, once
    and for all; others have it at once, and it is not done twice.
    """
    then: list[int] = []
    other = three.worker(source=(elsewhere := post.source(client=post.sqs.client())))

    def look(job: int, place: int) -> None:
        if job == 1:
            then.append(held(post))
            if place == len(left) - 1:
                other.hear(elsewhere.wait(1, NEVER) or ())
                elsewhere.flush()

    engine = Foretelling(clock, left, look)
    tally = three.worker(engine, source=post.source(), ahead=in_turn).run(drain=True)
    assert then[0] == 2
    assert then[-2:] == [1, 1]
    assert sorted(set(then), reverse=True) == [2, 1]
    assert (tally.completed, other.tally.completed, engine.jobs) == (2, 1, 2)
    check_all(three)
    assert post.left == []


# ── ends of all kinds ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("grace", [0.0, 600.0])
def test_a_stop_gives_it_back(three: Rig, post: Post, clock: OwnedClock, grace: float) -> None:
    """Told to stop, a worker lets others have it at once: also one that first sees a stage to its end."""
    then: list[int] = []

    def look(job: int, place: int) -> None:
        then.append(held(post))
        worker.stop.set()

    engine = Foretelling(clock, (20.0, 5.0, 5.0), look)
    worker = three.worker(engine, source=post.source(), ahead=in_turn, stop_seconds=grace)
    worker.run(drain=True)
    assert then == ([2, 1, 1] if grace else [2])
    assert held(post) == 0
    assert len(post.left) == 3
    three.worker(source=post.source()).run(drain=True)
    check_all(three)
    assert post.left == []


def crash(job: int, place: int) -> None:
    raise Crash


def break_down(job: int, place: int) -> None:
    if job == 1:
        raise OSError("the disk broke")


def test_a_worker_that_dies_in_order_gives_it_back(three: Rig, post: Post, clock: OwnedClock) -> None:
    """Whatever ends the worker, others need not wait for its messages."""
    source = post.source()
    with pytest.raises(Crash):
        three.worker(Foretelling(clock, look=crash), source=source, ahead=in_turn).hear(source.wait(20, NEVER) or ())
    assert post.sqs.counts()["receive_message"] == 2
    assert held(post) == 0
    clock.advance(VISIBILITY + 5)
    three.worker(source=post.source()).run(drain=True)
    check_all(three)


def test_a_failed_job_gives_it_back(three: Rig, post: Post, clock: OwnedClock) -> None:
    """A worker whose job fails may be one where all fail: the next message is anybody's, and it fails nobody."""
    engine = Foretelling(clock, look=break_down)
    tally = three.worker(engine, source=post.source(), ahead=in_turn).run(drain=True)
    assert shown(post) == 1
    assert (tally.completed, tally.failed, engine.jobs) == (3, 0, 4)
    assert sorted(record.attempts for record in three.records()) == [0, 0, 1]
    assert post.left == []


def test_a_lost_job_gives_it_back(three: Rig, post: Post, clock: OwnedClock) -> None:
    """A worker that lost its job may have been away for long: the next message is anybody's."""
    before: list[int] = []

    def lose(job: int, place: int) -> None:
        if job == 1:
            before.append(shown(post))
            raise LeaseLost("somebody else has it")

    engine = Foretelling(clock, look=lose)
    worker = three.worker(engine, source=(source := post.source()), ahead=in_turn)
    worker.hear(source.wait(20, NEVER) or ())
    assert (before, shown(post), held(post)) == ([0], 1, 1)
    clock.advance(VISIBILITY + 5)
    three.worker(engine, source=source).run(drain=True)
    check_all(three)
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


def test_a_killed_workers_message_comes_back(three: Rig, post: Post, clock: OwnedClock) -> None:
    """Nobody gives it back, and it is there after its time all the same; each recording is transcribed once."""
    source = Killed(Sqs(post.sqs, post.url), event_keys(BUCKET), clock, visibility=VISIBILITY, inline=True)

    def kill(job: int, place: int) -> None:
        source.dead = True
        source.prefetch.take()
        raise Crash

    with pytest.raises(Crash):
        three.worker(Foretelling(clock, look=kill), source=source, ahead=in_turn).run(drain=True)
    assert held(post) == 2
    engine = ScriptedEngine()
    three.worker(engine, source=post.source(), drain_seconds=VISIBILITY + 5).run(drain=True)
    check_all(three)
    assert (engine.jobs, post.left) == (3, [])
    assert post.sqs.bodies(post.dead) == []


def test_a_scan_lets_others_have_it(three: Rig, post: Post, clock: OwnedClock) -> None:
    """A message does not wait behind what a listing shows."""
    then: list[int] = []
    worker = three.worker(
        Foretelling(clock, look=lambda job, place: then.append(held(post))),
        source=(source := post.source()),
        ahead=in_turn,
    )
    worker.hear(source.wait(20, NEVER) or ())
    assert held(post) == 2
    worker.sweep()
    assert then == [2, 1, 1]
    three.worker(source=source).run(drain=True)
    check_all(three)
    assert post.left == []


# ── trouble ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_receive_that_fails_is_nobodys_trouble(three: Rig, post: Post, clock: OwnedClock) -> None:
    """The job goes on, and the queue is asked again after it."""
    client = post.client(failing("receive_message", times=0))

    def look(job: int, place: int) -> None:
        if (job, place) == (1, 0):
            client.hook = failing("receive_message", times=1)

    engine = Foretelling(clock, (100.0, 20.0), look)
    tally = three.worker(engine, source=post.source(client=client), ahead=in_turn).run(drain=True)
    assert (tally, engine.jobs) == (Tally(completed=3, ahead=1), 3)
    assert post.left == []


@pytest.mark.parametrize("body", ["nonsense", told("results/a.wav.json"), told("input/x.wav", bucket="theirs")])
def test_a_message_without_work(rig: Rig, post: Post, clock: OwnedClock, body: str) -> None:
    """One that names nothing to do is dealt with in its turn as any: put away, deleted, or left for others."""
    rig.drop("a.wav", b"a.wav")
    rig.drop("b.wav", b"b.wav")
    post.send(told("input/a.wav"), body, told("input/b.wav"))
    tally = rig.worker(Foretelling(clock), source=post.source(), ahead=in_turn).run(drain=True)
    assert tally.completed == 2
    check_all(rig, ("a.wav", "b.wav"))
    assert post.left == ([body] if "theirs" in body else [])
    assert post.sqs.bodies(post.dead) == ([body] if body == "nonsense" else [])


def test_a_message_about_the_job_under_way(rig: Rig, post: Post, clock: OwnedClock) -> None:
    """The same news twice: the second message downloads nothing and runs nothing."""
    rig.drop("a.wav", b"a.wav")
    post.send(told("input/a.wav"), told("input/a.wav"))
    store = rig.store.client()  # type: ignore[attr-defined]
    engine = Foretelling(clock)
    tally = rig.worker(engine, store=store, source=post.source(), ahead=in_turn).run(drain=True)
    assert (tally, engine.jobs) == (Tally(completed=1), 1)
    assert [call.method for call in store.calls].count("download") == 1
    assert post.left == []
