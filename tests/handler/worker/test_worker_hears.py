"""What a worker that hears of inputs must not miss: what the scan found, while it sweeps, and whatever lies about."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from queue_rig import BUCKET, Post
from worker_rig import Rig, at, check_right, drain

from handler.clock import SystemClock
from handler.fakes import OwnedClock, ScriptedEngine
from handler.settings import Settings
from handler.store.memory import Call, MemoryStore
from handler.types import Manifest, canonical_json
from handler.worker.beside import T, side_by_side
from handler.worker.endings import Tally
from pipeline.errors import EngineFailure
from pipeline.formats.times import iso_time
from pipeline.plan import TRANSCRIBING

DAY = 24 * 3600.0
SPEECH = b"somebody talks"
STAGES = ".dropscribe/v1/stages/"
TRANSIENT = EngineFailure("it broke").to_detail()
INPUTS = ("list", "input/", "before")


class Sweeps:
    """In threads of their own, as a worker's are."""

    def __init__(self) -> None:
        self.begun: list[Future[Any]] = []

    def __call__(self, ask: Callable[[], T]) -> Future[T]:
        future = side_by_side(ask)
        self.begun.append(future)
        return future


def speak_later(rig: Rig, key: str) -> None:
    """Somebody claims this version of an input later than anybody else will."""
    now = iso_time(rig.clock.time())
    later = Manifest(
        job_id="x", jid=None, source_id=rig.candidate(key).sid, key=key, status="queued", stage="queued", percent=0.0,
        message="", attempt=1, token=2**40, queued_at=now, updated_at=now, worker="another",
    )  # fmt: skip
    rig.store.put(f"progress/{key}.json", canonical_json(later.model_dump(mode="json")))


@pytest.fixture
def bucket(clock: OwnedClock) -> MemoryStore:
    return MemoryStore(clock, BUCKET)


# ── what the scan found ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_next_attempt_does_not_wait_for_the_next_rare_scan(rig: Rig, post: Post, clock: OwnedClock) -> None:
    """Nothing tells a worker on a queue of what its scan found: an attempt that failed is followed by the next when
    that is due, and not after DROPSCRIBE_RECONCILE_SECONDS.
    """
    started: list[float] = []

    class Timed(ScriptedEngine):
        def run(self, *args: Any, **kwargs: Any) -> Any:
            started.append(clock.monotonic())
            return super().run(*args, **kwargs)

    def settled(call: Call, phase: str) -> None:
        if "/settled/" in call.key and call.verb == "PUT":
            worker.stop.set()

    rig.drop("a.wav", SPEECH)
    engine = Timed(failures=[TRANSIENT, TRANSIENT])
    worker = rig.worker(engine, store=rig.store.client(settled), source=post.source())  # type: ignore[attr-defined]
    worker.run(drain=False)
    check_right(rig, "a.wav", SPEECH)
    assert started[1] - started[0] < 3 * rig.settings.backoff_seconds
    assert started[2] - started[1] < 6 * rig.settings.backoff_seconds


def test_what_others_have_is_scanned_for_rarely(rig: Rig, post: Post, clock: OwnedClock) -> None:
    """An input that another worker has is that worker's to look at: a fleet on a queue does not list for it."""
    lists: list[float] = []

    def seen(call: Call, phase: str) -> None:
        if (call.method, call.key, phase) == INPUTS:
            lists.append(clock.monotonic())
        if clock.monotonic() - began > 60:
            other.stop.set()

    def act() -> None:
        other.run(drain=False)

    rig.drop("a.wav", SPEECH)
    client = post.sqs.client(lambda method, given, phase: seen(Call("receive", "", 0), "before"))
    other = rig.worker(store=rig.store.client(seen), source=post.source(client=client))  # type: ignore[attr-defined]
    began = clock.monotonic()
    rig.worker(at(TRANSCRIBING, act)).sweep()
    assert set(lists) == {began}
    check_right(rig, "a.wav", SPEECH)


def test_an_outage_is_not_hurried(rig: Rig, clock: OwnedClock) -> None:
    """While no scan succeeds the worker pauses as it always does, though an input would be due."""
    began, scans = clock.monotonic(), []

    def silent(call: Call, phase: str) -> None:
        if (call.method, call.key, phase) == INPUTS:
            scans.append(clock.monotonic())
            if clock.monotonic() - began > 120:
                worker.stop.set()
            if len(scans) > 1:
                raise OSError("no answer")

    rig.drop("a.wav", SPEECH)
    engine = ScriptedEngine(failures=[TRANSIENT])
    worker = rig.worker(engine, store=rig.store.client(silent))  # type: ignore[attr-defined]
    worker.run(drain=False)
    assert 5 < len(scans) < 70


# ── an end that was left to a later claim ────────────────────────────────────────────────────────────────────────────


def test_a_refusal_that_was_left_to_a_later_claim_is_not_settled(rig: Rig) -> None:
    """Where somebody else speaks for the same version by now, the input is looked at again: its message stays."""
    rig.drop("empty.wav", b"")
    speak_later(rig, "empty.wav")
    worker = rig.worker()
    assert not worker.inputs.see(rig.candidate("empty.wav"), set())
    assert worker.inputs.wait_for(rig.candidate("empty.wav").sid) > 0
    assert (rig.settled("empty.wav"), rig.error("empty.wav")) == (None, None)
    assert worker.tally == Tally()
    rig.store.delete("progress/empty.wav.json")
    drain(rig)
    assert rig.settled("empty.wav") == "failed"


def test_a_known_job_is_counted_with_its_end(rig: Rig) -> None:
    """However often the end of known content is left to a later claim, the statistics count it once: at its end."""
    rig.drop("a.wav", SPEECH)
    drain(rig)
    rig.drop("b.wav", SPEECH)
    speak_later(rig, "b.wav")
    worker = rig.worker()
    for _ in range(3):
        assert not worker.inputs.see(rig.candidate("b.wav"), set())
    rig.store.delete("progress/b.wav.json")
    assert worker.inputs.see(rig.candidate("b.wav"), set())
    assert worker.tally == Tally(completed=1, cached=1)
    worker.close()
    assert rig.json(f".dropscribe/v1/stats/{worker.name}.json")["jobs"] == 1


# ── while it sweeps ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_hears_while_it_sweeps(worker_settings: Settings) -> None:
    """A sweep that takes long keeps nobody waiting, and ends when the worker is told to stop."""
    clock = SystemClock()
    rig = Rig(MemoryStore(clock), clock, worker_settings.model_copy(update={"scan_seconds": 0.05}))
    sweeping, go, settled = threading.Event(), threading.Event(), threading.Event()

    def hook(call: Call, phase: str) -> None:
        if (call.method, call.key, phase) == ("list", STAGES, "before"):
            sweeping.set()
            go.wait(20)
        if "/settled/" in call.key and (call.verb, phase) == ("PUT", "after"):
            settled.set()

    store = rig.store.client(hook)  # type: ignore[attr-defined]
    worker = rig.worker(store=store, aside=(sweeps := Sweeps()), sweep_seconds=3600.0, cache_ttl_seconds=DAY)
    working = threading.Thread(target=lambda: worker.run(drain=False), daemon=True)
    working.start()
    try:
        assert sweeping.wait(20)
        rig.drop("a.wav", SPEECH)
        assert settled.wait(20)
        assert not go.is_set()
    finally:
        worker.stop.set()
        go.set()
        working.join(20)
    check_right(rig, "a.wav", SPEECH)
    assert not working.is_alive()
    assert [sweep.done() for sweep in sweeps.begun] == [True]


def test_a_worker_that_ends_takes_its_sweep_along(worker_settings: Settings) -> None:
    """Nothing goes on removing after the worker has ended, for whatever reason."""
    clock = SystemClock()
    rig = Rig(MemoryStore(clock), clock, worker_settings.model_copy(update={"inline_bytes": 0}))  # blobs are read
    rig.drop("a.wav", SPEECH)
    drain(rig)
    sweeping, go = threading.Event(), threading.Event()

    def hook(call: Call, phase: str) -> None:
        if (call.method, call.key, phase) == ("list", STAGES, "before"):
            sweeping.set()
            go.wait(20)

    client = rig.store.client(hook)  # type: ignore[attr-defined]
    worker = rig.worker(store=client, aside=(sweeps := Sweeps()), sweep_seconds=3600.0, cache_ttl_seconds=DAY)
    worker._retention.if_due()
    assert sweeping.wait(20)
    threading.Timer(0.1, go.set).start()
    worker.close()
    assert not worker.stop.is_set()
    assert [sweep.done() for sweep in sweeps.begun] == [True]
    assert not any(call.verb == "GET" and call.key.startswith(STAGES) for call in client.calls)


def test_a_drain_ends_its_sweep_first(rig: Rig, bucket: MemoryStore, clock: OwnedClock) -> None:
    """A drain from cron that finds a sweep due does it whole."""
    rig.drop("a.wav", SPEECH)
    drain(rig)
    clock.advance(3 * DAY)
    worker = rig.worker(store=bucket.client(), aside=side_by_side, sweep_seconds=3600.0, cache_ttl_seconds=DAY)
    worker.run(drain=True)
    assert rig.keys(STAGES) == []


# ── whatever lies about ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["z" * 64, "A" * 64, "é" * 64])
def test_junk_among_the_batches(rig: Rig, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """An object that is none of ours, under a name as long as ours, is passed over."""
    rig.store.put(f".dropscribe/v1/batches/{name}/x", b"junk")
    rig.drop("a.wav", SPEECH)
    drain(rig)
    check_right(rig, "a.wav", SPEECH)
    assert "error of ours" not in caplog.text


def test_a_scan_that_fails_as_nobody_foresaw(rig: Rig, bucket: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    """It costs a line in the log and a pause, and not the worker."""
    left = [3]

    def broken(call: Call, phase: str) -> None:
        if (call.method, call.key, phase) == INPUTS and left[0]:
            left[0] -= 1
            raise ValueError("nobody thought of that")

    rig.drop("a.wav", SPEECH)
    with caplog.at_level(logging.ERROR):
        rig.worker(store=bucket.client(broken)).run(drain=True)
    assert caplog.text.count("scan: an error of ours") == 3
    check_right(rig, "a.wav", SPEECH)
