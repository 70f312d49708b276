"""A worker on a queue receives the next message in the last seconds of a job: it is this worker's next errand. When it
does not, and how long it keeps it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from ahead_rig import NAMES, Foretelling, check_all, client, held, shown
from queue_rig import BUCKET, NEVER, Post, only, told
from worker_rig import Rig

from handler.fakes import OwnedClock
from handler.store.memory import MemoryStore
from handler.worker import Tally
from handler.worker.beside import in_turn
from handler.worker.heart import inline_heart

# ── used ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_next_message_is_there_when_a_job_ends(three_told: Rig, post: Post, clock: OwnedClock) -> None:
    """In a job's last seconds the next message is received and its recording fetched; it is done next, by this one
    receipt, and a drain does not end before.
    """
    then: list[int] = []
    engine = Foretelling(clock, look=lambda job, place: then.append(held(post)))
    store = client(three_told)
    tally = three_told.worker(engine, store=store, source=post.source(), ahead=in_turn).run(drain=True)
    assert tally == Tally(completed=3, ahead=2)
    assert then == [2, 2, 1]
    assert [call.key for call in store.calls if call.method == "download"] == [f"input/{name}" for name in NAMES]
    check_all(three_told)
    assert post.left == []
    # Each message once, none during the last job, and none for as long as a drain waits.
    assert post.sqs.counts()["receive_message"] == 3 + 1 + 1
    assert shown(post) == 0


def test_it_is_the_next_errand(three_told: Rig, post: Post, clock: OwnedClock) -> None:
    """Nothing is received between a job and the message that was received ahead; the settled one is deleted first."""
    asked: list[str] = []

    def note(job: int, place: int) -> None:
        asked.extend([f"job {job}", *(method for method, _ in post.sqs.calls)])
        post.sqs.calls.clear()

    three_told.worker(Foretelling(clock, look=note), source=post.source(), ahead=in_turn).run(drain=True)
    assert asked == [
        "job 1", "receive_message", "receive_message",
        "job 2", "delete_message_batch", "receive_message",
        "job 3", "delete_message_batch", "receive_message",
    ]  # fmt: skip


def test_it_takes_the_place_of_what_was_handed_back(three_told: Rig, post: Post, clock: OwnedClock) -> None:
    """A recording that was fetched because it may be next makes room for the one that is."""
    source = post.source()
    source._most = 3
    others: list[tuple[str, ...]] = []

    def look(job: int, place: int) -> None:
        if (job, place) == (1, 0):
            others.append(only(post.source(client=post.sqs.client())).keys)

    store = client(three_told)
    worker = three_told.worker(Foretelling(clock, (100.0, 20.0), look), store=store, source=source, ahead=in_turn)
    worker.hear(source.wait(20, NEVER) or ())
    assert others == [("input/b.wav",)]
    worker.hear(source.wait(20, NEVER) or ())
    assert worker.tally == Tally(completed=2, ahead=1)
    downloads = [call.key for call in store.calls if call.method == "download"]
    assert downloads == ["input/a.wav", "input/b.wav", "input/c.wav"]
    check_all(three_told, ("a.wav", "c.wav"))


# ── when not ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("left", [30.0, 600.0, -1.0])
def test_not_before_the_last_seconds(three_told: Rig, post: Post, clock: OwnedClock, left: float) -> None:
    """While a job has half a minute or more to go, or nobody knows, every other message is anybody's."""
    then: list[int] = []
    engine = Foretelling(clock, (left, left), look=lambda job, place: then.append(held(post)))
    tally = three_told.worker(engine, source=post.source(), ahead=in_turn).run(drain=True)
    assert tally == Tally(completed=3)
    assert set(then) == {1}


def test_not_where_nothing_is_fetched_ahead(three_told: Rig, post: Post, clock: OwnedClock) -> None:
    """DROPSCRIBE_FETCH_AHEAD=false is one message at a time."""
    then: list[int] = []
    engine = Foretelling(clock, look=lambda job, place: then.append(held(post)))
    assert three_told.worker(engine, source=post.source()).run(drain=True) == Tally(completed=3)
    assert then == [1, 1, 1]


@pytest.mark.parametrize("why", ["the same message names more", "a scan is due", "a batch is open", "it is a scan's"])
def test_not_where_something_else_is_next(three_told: Rig, post: Post, clock: OwnedClock, why: str) -> None:
    """What would have to wait is not received."""
    then: list[int] = []
    source, drops, until = post.source(), ("a.wav",), math.inf
    worker = three_told.worker(
        Foretelling(clock, look=lambda job, place: then.append(held(post))), source=source, ahead=in_turn
    )
    if why == "the same message names more":
        three_told.drop("d.wav", b"d.wav")
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
    check_all(three_told, drops)


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
        store = client(rig)
        rig.worker(store=store, source=post.source(), ahead=ahead).run(drain=True)
        costs.append((sorted((call.method, call.key) for call in store.calls), post.sqs.counts()))
    assert costs[0] == costs[1]


def test_an_empty_queue_is_asked_once(told_rig: Rig, post: Post, clock: OwnedClock) -> None:
    """A job costs one receive ahead at most, however long its last seconds are."""
    told_rig.drop("a.wav", b"a.wav")
    post.send(told("input/a.wav"))
    asked: list[int] = []
    engine = Foretelling(clock, [20.0] * 9, lambda job, place: asked.append(post.sqs.counts()["receive_message"]))
    told_rig.worker(engine, source=post.source(), ahead=in_turn).run(drain=True)
    assert set(asked) == {2}


# ── while it is held ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_stays_hidden_as_the_one_in_hand(three_told: Rig, post: Post, clock: OwnedClock) -> None:
    """The job's heart keeps both hidden: of a visibility of ten seconds neither runs out in fifty."""
    then: list[int] = []
    engine = Foretelling(clock, [20.0] * 25, lambda job, place: then.append(held(post)))
    tally = three_told.worker(
        engine, source=post.source(visibility=10), ahead=in_turn, heart=inline_heart, lease_seconds=10, beat_seconds=3
    ).run(drain=True)
    assert then == [2] * 50 + [1] * 25
    assert (tally.completed, tally.ahead, engine.jobs) == (3, 2, 3)
    assert post.left == []


@pytest.mark.parametrize("left", [[20.0, 61.0, 20.0, 20.0], [20.0] * 33])
def test_a_job_that_takes_longer_gives_it_back(
    three_told: Rig, post: Post, clock: OwnedClock, left: list[float]
) -> None:
    """What was soon and is not, by what the job says or by the time that has passed, makes the message anybody's, once
    and for all; others have it at once, and it is not done twice.
    """
    then: list[int] = []
    other = three_told.worker(source=(elsewhere := post.source(client=post.sqs.client())))

    def look(job: int, place: int) -> None:
        if job == 1:
            then.append(held(post))
            if place == len(left) - 1:
                other.hear(elsewhere.wait(1, NEVER) or ())
                elsewhere.flush()

    engine = Foretelling(clock, left, look)
    tally = three_told.worker(engine, source=post.source(), ahead=in_turn).run(drain=True)
    assert then[0] == 2
    assert then[-2:] == [1, 1]
    assert sorted(set(then), reverse=True) == [2, 1]
    assert (tally.completed, other.tally.completed, engine.jobs) == (2, 1, 2)
    check_all(three_told)
    assert post.left == []
