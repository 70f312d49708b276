"""A worker that is told of its inputs by a queue in memory, or by a webhook; and the scan beside."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import Any

import pytest
from queue_rig import BUCKET, Post, told
from worker_rig import Rig, check_right, drain

from handler.clock import SystemClock
from handler.errors import Unavailable
from handler.fake_sqs import SqsError
from handler.fakes import OwnedClock, ScriptedEngine
from handler.listen import Webhook
from handler.settings import Settings
from handler.store.memory import Call, MemoryStore
from handler.store.opening import event_keys

BODY = b"a recording"


@pytest.fixture
def bucket(clock: OwnedClock) -> MemoryStore:
    return MemoryStore(clock, BUCKET)


# ── what an event leads to ───────────────────────────────────────────────────────────────────────────────────────────


def test_an_event_becomes_a_result(rig: Rig, post: Post) -> None:
    """A recording that a message names is transcribed without a listing, and the message is gone."""
    rig.drop("a.wav", BODY)
    post.send(told("input/a.wav"))
    seen = rig.store.client()  # type: ignore[attr-defined]
    rig.worker(store=seen, source=post.source()).run(drain=True)
    check_right(rig, "a.wav", BODY)
    assert not post.left
    assert seen.counts()["LIST"] == 0


def test_a_message_is_deleted_last(rig: Rig, post: Post) -> None:
    """When a message is deleted its recording is settled and its result lies there."""
    deleted = []

    def look(method: str, given: dict[str, Any], phase: str) -> None:
        if method.startswith("delete") and phase == "before":
            check_right(rig, "a.wav", BODY)
            deleted.append(method)

    rig.drop("a.wav", BODY)
    post.send(told("input/a.wav"))
    rig.worker(source=post.source(client=post.client(look))).run(drain=True)
    assert deleted == ["delete_message_batch"]


def test_an_event_is_not_believed(rig: Rig, post: Post) -> None:
    """Events of recordings that are not there, of folders, of our own outputs and of options are acknowledged, and
    nothing is written for them.
    """
    keys = ["input/gone.wav", "input/folder/", "input/.part", "results/a.wav.json", "input/options.json", "elsewhere"]
    post.send(told(*keys), *[told(key) for key in keys])
    before = rig.keys("")
    engine = drain(rig, source=post.source())
    assert not post.left
    assert engine.jobs == 0
    assert [key for key in rig.keys("") if not key.startswith(".dropscribe/v1/stats/")] == before


def test_one_message_of_many_records(rig: Rig, post: Post) -> None:
    """A message is deleted when everything that it names is settled."""
    for name in ("a.wav", "b.wav", "c.wav"):
        rig.drop(name, name.encode())
    post.send(told("input/a.wav", "input/b.wav", "input/c.wav"))
    drain(rig, source=post.source())
    for name in ("a.wav", "b.wav", "c.wav"):
        check_right(rig, name, name.encode())
    assert not post.left


def test_a_storm_of_duplicates(rig: Rig, post: Post) -> None:
    """Ten thousand messages about one recording: it is transcribed once, and each receive of ten costs two requests to
    the store and two to the queue.
    """
    rig.drop("a.wav", BODY)
    post.send(*[told("input/a.wav")] * 10_000)
    store = rig.store.client()  # type: ignore[attr-defined]
    engine = ScriptedEngine()
    client = post.sqs.client()
    rig.worker(engine, store=store, source=post.source(client=client)).run(drain=True)
    assert engine.jobs == 1
    assert not post.left
    check_right(rig, "a.wav", BODY)
    counts = store.counts()
    assert counts["GET"] + counts["HEAD"] < 2 * 1_010
    assert counts["PUT"] < 15
    asked = client.counts()
    assert asked["receive_message"] < 1_010
    assert asked["delete_message_batch"] < 1_010
    assert sum(asked.values()) < 2_020


# ── the scan beside, the end of a drain ──────────────────────────────────────────────────────────────────────────────


def test_the_scan_finds_what_no_event_told(rig: Rig, post: Post, clock: OwnedClock) -> None:
    """A recording whose event was lost is found by the scan, which goes on beside the queue, rarely."""
    started = clock.monotonic()
    lists: list[float] = []

    def seen(call: Call, phase: str) -> None:
        if call.verb == "LIST" and call.key == "input/" and phase == "before":
            lists.append(clock.monotonic() - started)
            if len(lists) == 2:
                rig.drop("late.wav", BODY)
            if len(lists) == 5:
                worker.stop.set()

    worker = rig.worker(store=rig.store.client(seen), source=post.source())  # type: ignore[attr-defined]
    worker.run(drain=False)
    check_right(rig, "late.wav", BODY)
    assert lists[0] == 0
    gaps = [later - earlier for earlier, later in pairwise(lists)]
    assert all(300 <= gap <= 330 for gap in gaps)


def test_an_idle_worker_on_a_queue(rig: Rig, post: Post, clock: OwnedClock) -> None:
    """An hour without work is at most six requests a minute, the scan's included."""
    store, client = rig.store.client(), post.sqs.client()  # type: ignore[attr-defined]
    worker = rig.worker(store=store, source=post.source(client=client))
    until = clock.monotonic() + 3600

    def stop(method: str, given: dict[str, Any], phase: str) -> None:
        if clock.monotonic() >= until:
            worker.stop.set()

    client.hook = stop
    worker.run(drain=False)
    assert sum(client.counts().values()) <= 3.1 * 60
    assert sum(client.counts().values()) + len(store.calls) <= 6 * 60


def test_a_drain_ends_though_others_share_the_queue(rig: Rig, post: Post, clock: OwnedClock) -> None:
    """Messages about another bucket, of which one comes back every 15 s, do not keep a drain going; nor do they end it
    before what is ours, behind them, was heard.
    """
    shown = []

    def seen(method: str, given: dict[str, Any], phase: str) -> None:
        if method == "receive_message" and phase == "after":
            shown.append(clock.monotonic())
        if len(shown) > 200:
            worker.stop.set()

    rig.drop("a.wav", BODY)
    post.send(told("input/x.wav", bucket="theirs"))
    worker = rig.worker(source=post.source(client=post.client(seen)))
    assert not worker.run(drain=True).completed  # nothing of ours yet
    post.send(told("input/y.wav", bucket="theirs"), told("input/a.wav"))
    worker = rig.worker(source=post.source(client=post.client(seen)))
    assert worker.run(drain=True).completed == 1
    assert len(shown) < 20
    assert post.left == [told("input/x.wav", bucket="theirs"), told("input/y.wav", bucket="theirs")]


def test_a_drain_is_as_patient_as_it_is_told(rig: Rig, post: Post, clock: OwnedClock) -> None:
    """DROPSCRIBE_DRAIN_SECONDS may be longer than the longest poll of SQS."""
    started = clock.monotonic()

    def late(method: str, given: dict[str, Any], phase: str) -> None:
        due = method == "receive_message" and phase == "before" and clock.monotonic() - started >= 40
        if due and rig.body("input/a.wav") is None:
            rig.drop("a.wav", BODY)
            post.send(told("input/a.wav"))

    rig.worker(source=post.source(client=post.client(late)), drain_seconds=60).run(drain=True)
    check_right(rig, "a.wav", BODY)


def test_a_drain_of_a_silent_queue_fails(rig: Rig, post: Post) -> None:
    """A queue that gives no answer is not an empty one: the drain ends with an error that may pass."""

    def silent(method: str, given: dict[str, Any], phase: str) -> None:
        raise SqsError("InternalError", "no answer")

    with pytest.raises(Unavailable):
        rig.worker(source=post.source(client=post.client(silent))).run(drain=True)


def test_a_drain_outlives_some_trouble(rig: Rig, post: Post) -> None:
    """A few receives that fail do not end a drain."""
    rig.drop("a.wav", BODY)
    post.send(told("input/a.wav"))
    left = [4]

    def shaky(method: str, given: dict[str, Any], phase: str) -> None:
        if method == "receive_message" and phase == "before" and left[0]:
            left[0] -= 1
            raise SqsError("ThrottlingException")

    rig.worker(source=post.source(client=post.client(shaky))).run(drain=True)
    check_right(rig, "a.wav", BODY)


# ── in real time ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_workers_on_one_queue(worker_settings: Settings) -> None:
    """Two workers share the messages of a queue: every recording is transcribed once, by one of them."""
    clock = SystemClock()
    rig, post = Rig(MemoryStore(clock, BUCKET), clock, worker_settings), Post(clock)
    names = [f"{number}.wav" for number in range(40)]
    for name in names:
        rig.drop(name, name.encode())
        post.send(told(f"input/{name}"), told(f"input/{name}"))
    engines = [ScriptedEngine(), ScriptedEngine()]
    workers = [rig.worker(engine, source=post.source(inline=False), drain_seconds=1) for engine in engines]
    threads = [threading.Thread(target=worker.run, kwargs={"drain": True}) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    drainer = rig.worker(source=post.source(inline=False), drain_seconds=1)  # of messages that were busy at the end
    while post.left:
        drainer.run(drain=True)
    for name in names:
        check_right(rig, name, name.encode())
    assert sum(engine.jobs for engine in engines) == len(names)
    assert all(record.attempts == record.takeovers == 0 for record in rig.records())


def test_a_webhook_wakes_the_worker(worker_settings: Settings) -> None:
    """A post leads to a result while the next scan is minutes away."""
    from http.client import HTTPConnection

    clock = SystemClock()
    done = threading.Event()

    def look(call: Call, phase: str) -> None:
        if call.verb == "PUT" and "/settled/" in call.key and phase == "after":
            done.set()

    store = MemoryStore(clock, BUCKET)
    rig = Rig(store, clock, worker_settings)
    webhook = Webhook("127.0.0.1", 0, event_keys(BUCKET), clock, token=None)
    worker = rig.worker(store=store.client(look), source=webhook, reconcile_seconds=600)
    thread = threading.Thread(target=worker.run, kwargs={"drain": False})
    thread.start()
    try:
        rig.drop("a.wav", BODY)
        connection = HTTPConnection(*webhook.address, timeout=10)
        connection.request("POST", "/", body=told("input/a.wav"))
        assert connection.getresponse().status == 200
        connection.close()
        assert done.wait(30)
    finally:
        worker.stop.set()
        thread.join(30)
    check_right(rig, "a.wav", BODY)
