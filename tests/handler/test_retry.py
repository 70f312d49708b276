"""`handler.retry`: what was settled is done again, and a crash in between loses nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from handler.clock import VirtualClock
from handler.errors import NotFound
from handler.fakes import ScriptedEngine
from handler.job import Jobs
from handler.layout import Layout
from handler.overview import overview
from handler.retry import Retried, Retry
from handler.settings import Settings, load_settings
from handler.store.memory import Call, MemoryStore
from handler.types import JobRecord
from handler.worker import Tally, Worker
from pipeline.errors import EngineFailure, ErrorDetail, NoAudio

Drain = Callable[..., Tally]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(work_dir=tmp_path / "work", model="sphinx", backoff_seconds=1)


@pytest.fixture
def drain(memory_store: MemoryStore, virtual_clock: VirtualClock, settings: Settings) -> Drain:
    """A new worker each time, whose engine answers with ``failures`` first; it works until everything is settled."""

    def run(failures: Sequence[ErrorDetail | None] = ()) -> Tally:
        virtual_clock.advance(10)
        engine = ScriptedEngine(failures=failures)
        stop = threading.Event()
        name = f"worker-{virtual_clock.new_id()[:8]}"
        return Worker(memory_store.client(), settings, virtual_clock, engine, name=name, stop=stop).run(drain=True)

    return run


@pytest.fixture
def retry(memory_store: MemoryStore, virtual_clock: VirtualClock, settings: Settings) -> Retry:
    return retrying(memory_store, virtual_clock, settings)


def retrying(store: MemoryStore, clock: VirtualClock, settings: Settings) -> Retry:
    return Retry(Jobs(store, Layout.of(store.url, settings), clock, settings, "retry"))


def statuses(store: MemoryStore, settings: Settings) -> dict[str, str]:
    return {row.key: row.status for row in overview(store, Layout.of(store.url, settings))}


def record(store: MemoryStore) -> JobRecord:
    [key] = store.keys(".dropscribe/v1/jobs/")
    return JobRecord.model_validate_json(store.peek(key) or b"")


def test_a_dead_job_is_run_again(memory_store: MemoryStore, settings: Settings, drain: Drain, retry: Retry) -> None:
    """A recording that failed for good completes after a retry, and nothing of the failure is left to mislead."""
    memory_store.drop("input/a.wav", b"somebody talks")
    assert drain([NoAudio("there is no sound in it").to_detail()]).failed == 1
    assert memory_store.keys("errors/")
    assert memory_store.keys(".dropscribe/v1/dead/")
    assert retry.key("a.wav") == Retried(key="a.wav", outcome="retried", was="failed")
    assert statuses(memory_store, settings) == {"a.wav": "queued"}
    assert memory_store.keys(".dropscribe/v1/dead/") == ()
    assert drain().completed == 1
    assert statuses(memory_store, settings) == {"a.wav": "completed"}
    assert memory_store.keys("errors/") == ()


def test_a_retry_is_of_one_recording(memory_store: MemoryStore, settings: Settings, drain: Drain, retry: Retry) -> None:
    """Of two recordings with the same bytes that failed, the one that is retried completes; the other one's turn is its
    own, and its outputs agree with its marker."""
    memory_store.drop("input/a.wav", b"somebody talks")
    memory_store.drop("input/b.wav", b"somebody talks")
    assert drain([NoAudio("there is no sound in it").to_detail()]).failed == 2
    retry.key("a.wav")
    assert drain().completed == 1
    assert statuses(memory_store, settings) == {"a.wav": "completed", "b.wav": "failed"}
    assert memory_store.keys("results/") == ("results/a.wav.json",)
    assert retry.key("b.wav").was == "failed"
    assert drain().cached == 1
    assert memory_store.keys("errors/") == ()


def test_attempts_start_anew(memory_store: MemoryStore, drain: Drain, retry: Retry) -> None:
    """A retried job has all its attempts again: one more failure does not kill it at once."""
    memory_store.drop("input/a.wav", b"somebody talks")
    passing = EngineFailure("something passing").to_detail()
    assert drain([passing] * 3).failed == 1
    retry.key("a.wav")
    assert record(memory_store).attempts == 0
    assert drain([passing] * 2).completed == 1


def test_a_healthy_job_is_published_again(memory_store: MemoryStore, drain: Drain, retry: Retry) -> None:
    """A completed recording, retried, gets the very same result back, and nothing is computed for it."""
    memory_store.drop("input/a.wav", b"somebody talks")
    drain()
    before = memory_store.peek("results/a.wav.json")
    memory_store.delete("results/a.wav.json")
    assert retry.key("a.wav").was == "completed"
    assert drain().cached == 1
    assert memory_store.peek("results/a.wav.json") == before


def test_a_failure_without_a_job(memory_store: MemoryStore, drain: Drain, retry: Retry) -> None:
    """A recording that failed before there was a job (wrong options, mended since) is done again, too."""
    memory_store.drop("input/options.json", b'{"langage": "en"}')
    memory_store.drop("input/a.wav", b"somebody talks")
    assert drain().failed == 1
    memory_store.drop("input/options.json", b'{"language": "en"}')
    assert retry.key("a.wav").outcome == "retried"
    assert drain().completed == 1


def test_what_is_not_settled_is_left_alone(memory_store: MemoryStore, retry: Retry) -> None:
    """A queued recording is told to be so; nothing is written."""
    memory_store.drop("input/a.wav", b"somebody talks")
    before = memory_store.keys()
    assert retry.key("a.wav") == Retried(key="a.wav", outcome="not_settled")
    assert memory_store.keys() == before
    assert memory_store.counts()["PUT"] == memory_store.counts()["DELETE"] == 0


def test_what_is_not_there(retry: Retry) -> None:
    """A recording that is not there cannot be retried."""
    with pytest.raises(NotFound):
        retry.key("nobody.wav")


def test_all_and_failed_only(memory_store: MemoryStore, drain: Drain, retry: Retry) -> None:
    """--all takes every settled recording that is still there; --failed only those that failed."""
    memory_store.drop("input/bad.wav", b"nothing")
    drain([NoAudio("there is no sound in it").to_detail()])
    memory_store.drop("input/good.wav", b"somebody talks")
    memory_store.drop("input/gone.wav", b"somebody else")
    drain()
    memory_store.delete("input/gone.wav")
    memory_store.drop("input/new.wav", b"not begun")
    assert [one.key for one in retry.all(failed_only=True)] == ["bad.wav"]
    drain()
    assert [one.key for one in retry.all()] == ["bad.wav", "good.wav", "new.wav"]


@pytest.mark.parametrize("crash_at", range(6))
def test_a_crash_in_between_loses_nothing(
    memory_store: MemoryStore,
    virtual_clock: VirtualClock,
    settings: Settings,
    drain: Drain,
    crash_at: int,
) -> None:
    """Killed before any of its writes, a retry can be given again and then succeeds."""
    memory_store.drop("input/a.wav", b"somebody talks")
    drain([NoAudio("there is no sound in it").to_detail()])
    writes = 0

    def crash(call: Call, phase: str) -> None:
        nonlocal writes
        if phase == "before" and call.verb in ("PUT", "DELETE"):
            writes += 1
            if writes > crash_at:
                raise KeyboardInterrupt

    try:
        retrying(memory_store.client(crash), virtual_clock, settings).key("a.wav")
    except KeyboardInterrupt:
        assert retrying(memory_store, virtual_clock, settings).key("a.wav").outcome == "retried"
    else:
        assert crash_at >= 4
    assert drain().completed == 1


def test_the_marker_goes_last(memory_store: MemoryStore, drain: Drain, retry: Retry) -> None:
    """The record is claimable before the input is unsettled, or a quick worker would settle the old failure again."""
    memory_store.drop("input/a.wav", b"somebody talks")
    drain([NoAudio("there is no sound in it").to_detail()])
    memory_store.calls.clear()
    retry.key("a.wav")
    written = [
        call.key.removeprefix(".dropscribe/v1/").split("/")[0]
        for call in memory_store.calls
        if call.verb in ("PUT", "DELETE")
    ]
    assert written == ["jobs", "dead", "progress", "settled"]
