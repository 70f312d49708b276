"""What a worker tells its observer: each fact once, from where it is known first; and that nothing depends on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from metrics_rig import Noted
from queue_rig import Post, told
from worker_rig import Later, Rig, at, drain

from handler import metrics
from handler.errors import LeaseLost
from handler.fakes import OwnedClock, ScriptedEngine
from handler.observer import Doing, Observer
from handler.worker.heart import inline_heart
from pipeline.errors import ErrorDetail


@pytest.fixture
def noted() -> Noted:
    return Noted()


@pytest.fixture
def observer(clock: OwnedClock, noted: Noted) -> Observer:
    return Observer(clock, noted)


def broken(retryable: bool) -> ErrorDetail:
    return ErrorDetail(code="X", error_class="EngineFailure", message="it broke", hint="", retryable=retryable)


def test_a_job_from_its_claim_to_its_end(rig: Rig, observer: Observer, noted: Noted, clock: OwnedClock) -> None:
    """A recording that is done is one completed job, its stages' seconds once each, and its speed."""
    rig.drop("a.wav", b"a")
    engine = at("transcribing", lambda: clock.advance(20))
    rig.worker(engine, observer=observer).run(drain=True)
    assert noted.of(metrics.JOBS) == {("completed",): 1}
    assert noted.observed(metrics.STAGE_SECONDS) == [("downloading",), ("transcribing",), ("generating_output",)]
    assert [value for name, value, _ in noted.seen if name == metrics.REAL_TIME_FACTOR.name] == [60 / 20]
    assert noted.of(metrics.CACHE_HITS) == {}


def test_what_the_log_names(rig: Rig, observer: Observer) -> None:
    """While a job is under way the observer knows its id as the result has it, its key, attempt and stage; before and
    after, nothing.
    """
    seen: list[Doing | None] = []
    rig.drop("a.wav", b"a")
    engine = at("transcribing", lambda: seen.append(observer.doing))
    rig.worker(engine, observer=observer).run(drain=True)
    [doing] = seen
    assert doing is not None
    assert doing.job_id == rig.result("a.wav")["metadata"]["request_id"]
    assert (doing.key, doing.attempt, doing.stage) == ("a.wav", 1, "transcribing")
    assert observer.doing is None


def test_the_same_bytes_again(rig: Rig, observer: Observer, noted: Noted) -> None:
    """A known recording counts as cached, not as completed, with the stages and the seconds that it saved."""
    rig.drop("a.wav", b"a")
    drain(rig)
    rig.drop("b.wav", b"a")
    rig.worker(observer=observer).run(drain=True)
    assert noted.of(metrics.JOBS) == {("cached",): 1}
    assert noted.of(metrics.CACHE_HITS) == {("transcribing",): 1, ("generating_output",): 1}
    assert noted.of(metrics.CACHE_SAVED)[()] == pytest.approx(1.1)
    assert noted.observed(metrics.REAL_TIME_FACTOR) == []


def test_a_failure_and_a_second_attempt(rig: Rig, observer: Observer, noted: Noted) -> None:
    """An attempt that another follows is no end; the last one is a failed job."""
    rig.drop("a.wav", b"a")
    rig.worker(ScriptedEngine(failures=[broken(True), broken(False)]), observer=observer).run(drain=True)
    assert noted.of(metrics.JOBS) == {("failed",): 1}
    assert noted.values[(metrics.IN_PROGRESS.name,)] == 0


def test_a_recording_that_never_became_a_job(rig: Rig, observer: Observer, noted: Noted) -> None:
    """An empty recording is a failed one, too."""
    rig.drop("a.wav", b"")
    rig.worker(observer=observer).run(drain=True)
    assert noted.of(metrics.JOBS) == {("failed",): 1}


def test_a_lost_lease(rig: Rig, observer: Observer, noted: Noted, clock: OwnedClock) -> None:
    """A job that another worker took over in the middle of a stage is one lost lease, and no end of a job."""

    def taken_over() -> None:
        clock.advance(rig.settings.lease_seconds + 1)
        rig.worker(store=Later(rig.store, 0)).run(drain=True)

    rig.drop("a.wav", b"a")
    worker = rig.worker(at("transcribing", taken_over), observer=observer, heart=inline_heart)
    candidate = rig.candidate("a.wav")
    with pytest.raises(LeaseLost):
        worker.inputs.handle(candidate)
    assert noted.of(metrics.LEASE_LOSSES) == {(): 1}
    assert noted.of(metrics.JOBS) == {}
    assert observer.doing is None


def test_what_waits(rig: Rig, observer: Observer, noted: Noted, clock: OwnedClock) -> None:
    """In the middle of the first of three jobs all three wait, the oldest since it was dropped; at the end none
    does.
    """
    depths: list[tuple[float, float]] = []

    def read() -> None:
        observer.before_reading()
        depths.append((noted.values[(metrics.QUEUE_DEPTH.name,)], noted.values[(metrics.QUEUE_AGE.name,)]))

    for name in "abc":
        rig.drop(f"{name}.wav", name.encode())
        clock.advance(10)
    rig.worker(at("transcribing", read), observer=observer).run(drain=True)
    read()
    assert depths[0] == (3, 30)
    assert depths[1] == (0, 0)


def test_a_message_ends_the_wait(told_rig: Rig, post: Post, clock: OwnedClock, noted: Noted) -> None:
    """What a scan found and a message brings to its end waits no longer, before the next scan."""
    observer = Observer(clock, noted)
    told_rig.drop("a.wav", b"a")
    observer.found({told_rig.candidate("a.wav").sid: clock.time()})
    post.send(told("input/a.wav"))
    told_rig.worker(source=post.source(), observer=observer).run(drain=True)
    observer.before_reading()
    assert noted.values[(metrics.QUEUE_DEPTH.name,)] == 0
    assert noted.of(metrics.JOBS) == {("completed",): 1}


def test_the_start(rig: Rig, observer: Observer, noted: Noted) -> None:
    """The first listing and the first claim are phases of the start; a worker is ready from its first scan to its
    end.
    """
    ready: list[bool] = []
    rig.drop("a.wav", b"a")
    worker = rig.worker(at("transcribing", lambda: ready.append(observer.ready)), observer=observer)
    assert not observer.ready
    worker.run(drain=True)
    assert ready == [True]
    assert not observer.ready
    phases = {key[1] for key in noted.values if key[0] == metrics.COLD_START.name}
    assert phases == {"listing", "claim"}


def test_nothing_depends_on_it(rig: Rig, clock: OwnedClock, tmp_path: Path) -> None:
    """With an observer and without one a worker makes the same requests."""

    def requests(observer: Observer | None, name: str) -> list[str]:
        rig.drop(name, name.encode())
        client = rig.store.client()  # type: ignore[attr-defined]
        rig.worker(store=client, observer=observer).run(drain=True)
        return [call.verb for call in client.calls]

    assert requests(None, "a.wav") == requests(Observer(clock, Noted()), "b.wav")
