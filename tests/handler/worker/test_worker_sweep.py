"""Sweeps and jobs at the same time: a rerun at most, never a job. And the workers' own sweep: when, and by whom."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterator

import pytest
from protocol_rig import Fault
from worker_rig import Rig, check_right

from handler.fakes import OwnedClock, ScriptedEngine
from handler.settings import Settings
from handler.store.memory import Call, MemoryStore, Phase
from handler.sweep import Limits, Sweep
from handler.worker import Worker
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING

DAY = 24 * 3600.0
SPEECH = b"somebody talks"
EVERYTHING = Limits(cache_ttl=DAY, cache_bytes=0, results_ttl=DAY)
MOST_REQUESTS = 200  # far more than any course here has
STAGES = ".dropscribe/v1/stages/"

Fresh = Callable[[], tuple[Rig, MemoryStore]]


@pytest.fixture
def fresh(worker_settings: Settings) -> Fresh:
    """Makes a bucket in memory, on a clock of its own, with a cache and outputs of three days ago."""

    def make() -> tuple[Rig, MemoryStore]:
        clock = OwnedClock()
        bucket = MemoryStore(clock)
        rig = Rig(bucket, clock, worker_settings.model_copy(update={"inline_bytes": 200}))
        rig.drop("a.wav", SPEECH)
        rig.worker().run(drain=True)
        assert len(bucket.keys(".dropscribe/v1/blobs/")) == 2
        clock.advance(3 * DAY)
        return rig, bucket

    return make


# ── a sweep at every point of a job ──────────────────────────────────────────────────────────────────────────────────


def first_seen(rig: Rig, bucket: MemoryStore) -> bytes:
    bucket.drop("input/b.wav", b"somebody else")
    return b"somebody else"


def known(rig: Rig, bucket: MemoryStore) -> bytes:
    bucket.drop("input/b.wav", SPEECH)
    return SPEECH


def known_in_part(rig: Rig, bucket: MemoryStore) -> bytes:
    bucket.drop("input/b.wav", SPEECH, {"dropscribe": "utt_split=2"})
    return SPEECH


def evicted(rig: Rig, bucket: MemoryStore) -> bytes:
    """A done job whose result has gone, but not its transcript: it is claimed again."""
    bucket.delete(rig.layout.stage_key(rig.record().stages[GENERATING_OUTPUT]))
    return known(rig, bucket)


def dropped_again(rig: Rig, bucket: MemoryStore) -> bytes:
    """Other bytes under a key that has outputs, which are due."""
    bucket.drop("input/a.wav", b"replaced")
    bucket.drop("input/b.wav", b"replaced")
    return b"replaced"


COURSES = (first_seen, known, known_in_part, evicted, dropped_again)


def points() -> Iterator[tuple[int, Phase]]:
    return itertools.product(range(1, MOST_REQUESTS), ("before", "after"))


def at_request(number: int, phase: Phase, act: Callable[[], object]) -> tuple[Callable[[Call, Phase], None], list[int]]:
    """A hook that acts once, around the ``number``-th request, and the list in which it then says so."""
    count, done = itertools.count(1), list[int]()
    now = [0]

    def hook(call: Call, at: Phase) -> None:
        if at == "before":
            now[0] = next(count)
        if (now[0], at) == (number, phase) and not done:
            done.append(number)
            act()

    return hook, done


@pytest.mark.parametrize("others", [False, True], ids=["alone", "with a second worker"])
@pytest.mark.parametrize("course", COURSES, ids=[course.__name__ for course in COURSES])
def test_a_sweep_at_every_request_of_a_job(fresh: Fresh, course: Callable[..., bytes], others: bool) -> None:
    """Whenever everything that is old goes, before or after any request of a worker: every input is settled with the
    right result, no attempt and no lease is charged, and what is dropped afterwards is right, too.
    """
    for number, phase in points():
        rig, bucket = fresh()
        body = course(rig, bucket)
        second = rig.worker(store=bucket.client())

        def meddle(rig: Rig = rig, bucket: MemoryStore = bucket, second: Worker = second) -> None:
            Sweep(bucket.client(), rig.layout, side_by_side=1).run(EVERYTHING)
            if others:
                second.sweep()

        hook, done = at_request(number, phase, meddle)
        rig.worker(store=bucket.client(hook)).run(drain=True)
        check_right(rig, "b.wav", body)
        if course is dropped_again:
            check_right(rig, "a.wav", body)
        assert rig.settled("a.wav") == "completed"
        assert {(record.attempts, record.takeovers) for record in rig.records()} == {(0, 0)}, (number, phase)
        bucket.drop("input/c.wav", body)
        rig.worker().run(drain=True)
        check_right(rig, "c.wav", body)
        if not done:
            break
    assert number > 10


def test_a_job_at_every_request_of_a_sweep(fresh: Fresh) -> None:
    """Whenever a recording is dropped again, and done, within a sweep that removes its old outputs: in the end the new
    result is there.
    """
    for number, phase in points():
        rig, bucket = fresh()

        def meddle(rig: Rig = rig, bucket: MemoryStore = bucket) -> None:
            bucket.drop("input/a.wav", b"replaced")
            rig.worker(store=bucket.client()).run(drain=True)

        hook, done = at_request(number, phase, meddle)
        Sweep(bucket.client(hook), rig.layout, side_by_side=1).run(EVERYTHING)
        if not done:
            break
        rig.worker(store=bucket.client()).run(drain=True)
        check_right(rig, "a.wav", b"replaced")
        assert {(record.attempts, record.takeovers) for record in rig.records()} == {(0, 0)}
    assert number > 15


def test_what_was_swept_is_made_again(fresh: Fresh) -> None:
    """After a sweep of everything the same bytes cost one run of each stage, and then none."""
    rig, bucket = fresh()
    Sweep(bucket, rig.layout).run(EVERYTHING)
    assert rig.keys(STAGES) == []
    for key, ran in (("b.wav", [TRANSCRIBING, GENERATING_OUTPUT]), ("c.wav", [])):
        rig.drop(key, SPEECH)
        rig.worker(engine := ScriptedEngine()).run(drain=True)
        assert engine.ran == ran
        check_right(rig, key, SPEECH)


# ── the workers' own sweep ───────────────────────────────────────────────────────────────────────────────────────────

SWEEPING = {"sweep_seconds": 3600.0, "cache_ttl_seconds": DAY}
RECORD = ".dropscribe/v1/sweep.json"


def sweeps(bucket: MemoryStore) -> bool:
    """Whether these requests are a sweep's, too."""
    return any(call.method == "list" and call.key == STAGES for call in bucket.calls)


def stoppable(rig: Rig, store: MemoryStore, stop: threading.Event) -> Worker:
    """A worker that sweeps, and scans once a minute, until it is told to stop."""
    settings = rig.settings.model_copy(update={**SWEEPING, "scan_seconds": 60.0})
    return Worker(store, settings, rig.clock, ScriptedEngine(), name="stoppable", stop=stop)


@pytest.mark.parametrize(
    "settings",
    [{}, {"sweep_seconds": 60.0}, {"cache_ttl_seconds": DAY}, {"cache_bytes": 0, "results_ttl_seconds": 1.0}],
)
def test_off_unless_asked_for(fresh: Fresh, settings: dict[str, float]) -> None:
    """Without a limit and a time between sweeps a worker removes nothing, and makes no request for it."""
    rig, bucket = fresh()
    client = bucket.client()
    rig.worker(store=client, **settings).run(drain=True)
    assert not sweeps(client)
    assert RECORD not in {call.key for call in client.calls}
    assert len(rig.keys(STAGES)) == 2


def test_a_worker_sweeps_when_it_has_nothing_to_do(fresh: Fresh) -> None:
    """What is past its time goes once all inputs are settled, never while there is work."""
    rig, bucket = fresh()
    rig.drop("b.wav", b"somebody else")
    client = bucket.client()
    rig.worker(store=client, **SWEEPING).run(drain=True)
    assert len(rig.keys(STAGES)) == 2  # those of b.wav
    settled = next(place for place, call in enumerate(client.calls) if call.verb == "PUT" and "settled" in call.key)
    claimed = next(place for place, call in enumerate(client.calls) if call.key == RECORD)
    assert settled < claimed
    check_right(rig, "b.wav", b"somebody else")


def test_one_worker_of_many_sweeps(fresh: Fresh) -> None:
    """Of several workers one sweeps, and the next sweep is due only after the time between two."""
    rig, bucket = fresh()
    clients = [bucket.client() for _ in range(3)]
    for client in clients:
        rig.worker(store=client, **SWEEPING).run(drain=True)
    assert [sweeps(client) for client in clients] == [True, False, False]
    rig.clock.sleep(3600)
    rig.worker(store=clients[1], **SWEEPING).run(drain=True)
    assert [sweeps(client) for client in clients] == [True, True, False]


def test_racing_for_a_sweep(fresh: Fresh) -> None:
    """Of two workers that find it due at the same moment one sweeps, the first time as well as later."""
    rig, bucket = fresh()
    for _ in range(2):
        fast = bucket.client()

        def hook(call: Call, phase: Phase) -> None:
            if (call.method, call.key, phase) == ("put", RECORD, "before"):
                rig.worker(store=fast, **SWEEPING).run(drain=True)  # noqa: B023

        slow = bucket.client(hook)
        rig.worker(store=slow, **SWEEPING).run(drain=True)
        assert (sweeps(fast), sweeps(slow)) == (True, False)
        rig.clock.sleep(4000)


def test_again_and_again(fresh: Fresh) -> None:
    """A worker that goes on sweeps once in the time between two, not with every scan, and asks nothing in between."""
    rig, bucket = fresh()
    stop, begun = threading.Event(), rig.clock.monotonic()

    def hook(call: Call, phase: Phase) -> None:
        if rig.clock.monotonic() - begun > 3.5 * 3600:
            stop.set()

    client = bucket.client(hook)
    worker = stoppable(rig, client, stop)
    worker.run(drain=False)
    assert sum(call.method == "list" and call.key == STAGES for call in client.calls) == 4
    assert sum(call.key == RECORD for call in client.calls) == 8  # a GET and a PUT each


def test_a_stop_is_not_put_off(fresh: Fresh) -> None:
    """A worker that is told to stop in the middle of its sweep stops there, and leaves what is left for the next."""
    rig, bucket = fresh()
    stop = threading.Event()

    def hook(call: Call, phase: Phase) -> None:
        if (call.method, call.key, phase) == ("list", STAGES, "after"):
            stop.set()

    client = bucket.client(hook)
    worker = stoppable(rig, client, stop)
    worker.run(drain=False)
    assert sum(call.verb == "DELETE" for call in client.calls) == 0
    assert len(rig.keys(STAGES)) == 2


def test_trouble_is_logged_and_tried_again(fresh: Fresh, caplog: pytest.LogCaptureFixture) -> None:
    """A sweep that fails costs a line in the log; the worker goes on, and so does a later sweep."""
    rig, bucket = fresh()
    with caplog.at_level(logging.ERROR):
        rig.worker(store=bucket.client(Fault("list", key=STAGES)), **SWEEPING).run(drain=True)
    assert "sweep: " in caplog.text
    assert len(rig.keys(STAGES)) == 2
    rig.clock.sleep(3600)
    rig.worker(**SWEEPING).run(drain=True)
    assert rig.keys(STAGES) == []
