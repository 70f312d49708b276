"""Dead letters, and how long a job waits between its attempts."""

from __future__ import annotations

from pathlib import Path

import pytest
from protocol_rig import JOB, claimed, record_of, trouble, worker

from handler.clock import VirtualClock
from handler.dead import dead_letters, retry_dead
from handler.fakes import ScriptedEngine
from handler.job import Jobs
from handler.layout import Layout
from handler.retry import Retry
from handler.settings import Settings, load_settings
from handler.store.memory import MemoryStore
from handler.worker import Worker
from pipeline.errors import EngineFailure, ErrorDetail, NoAudio


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(work_dir=tmp_path / "work", model="sphinx", backoff_seconds=1)


def drain(store: MemoryStore, settings: Settings, *failures: ErrorDetail) -> ScriptedEngine:
    engine = ScriptedEngine(failures=failures)
    name = f"worker-{store.clock.new_id()[:8]}"
    Worker(store, settings, store.clock, engine, name=name).run(drain=True)
    return engine


def retrying(store: MemoryStore, settings: Settings) -> Retry:
    return Retry(Jobs(store, Layout.of(store.url, settings), store.clock, settings, "retry"))


def test_what_a_letter_says(memory_store: MemoryStore, virtual_clock: VirtualClock, settings: Settings) -> None:
    """Keys, class, message, attempts and the time of the last failure; the newest letter first."""
    layout = Layout.of(memory_store.url, settings)
    memory_store.drop("input/a.wav", b"somebody talks")
    memory_store.drop("input/b.wav", b"somebody talks")
    drain(memory_store, settings, *[EngineFailure("it broke").to_detail()] * 3)
    virtual_clock.advance(100)
    memory_store.drop("input/silent.wav", b"nothing")
    drain(memory_store, settings, NoAudio("there is no sound in it").to_detail())
    silent, talk = dead_letters(memory_store, layout)
    assert (silent.keys, silent.error_class, silent.attempts, silent.retryable) == (
        ("silent.wav",),
        "NoAudio",
        1,
        False,
    )
    assert "a.wav" in talk.keys
    assert (talk.error_class, talk.message, talk.attempts, talk.retryable) == ("EngineFailure", "it broke", 3, True)
    assert talk.at is not None
    assert silent.at is not None
    assert talk.at < silent.at


def test_only_what_is_still_there(memory_store: MemoryStore, virtual_clock: VirtualClock, settings: Settings) -> None:
    """Retrying all letters touches no recording that is gone, was replaced, or is named by nobody."""
    layout = Layout.of(memory_store.url, settings)
    for key, body in {"gone.wav": b"1", "new.wav": b"2", "here.wav": b"3", "other.wav": b"4"}.items():
        memory_store.drop(f"input/{key}", body)
    drain(memory_store, settings, *[NoAudio("no sound").to_detail()] * 4)
    memory_store.delete("input/gone.wav")
    memory_store.drop("input/new.wav", b"another")
    virtual_clock.advance(10)
    drain(memory_store, settings)
    letters = dead_letters(memory_store, layout)
    assert len(letters) == 4
    retry = retrying(memory_store, settings)
    assert [one.key for one in retry_dead(letters, retry, {"here.wav"})] == ["here.wav"]
    assert [one.key for one in retry_dead(letters, retry)] == ["other.wav"]
    assert drain(memory_store, settings).jobs == 2
    assert set(memory_store.keys("results/")) == {f"results/{key}.wav.json" for key in ("new", "here", "other")}
    assert {key for letter in dead_letters(memory_store, layout) for key in letter.keys} == {"gone.wav", "new.wav"}


def test_a_letter_that_cannot_be_read(memory_store: MemoryStore, settings: Settings) -> None:
    """Rubbish among the letters hides none of the others."""
    memory_store.drop("input/a.wav", b"somebody talks")
    drain(memory_store, settings, NoAudio("no sound").to_detail())
    memory_store.drop(".dropscribe/v1/dead/rubbish.json", b"{")
    [letter] = dead_letters(memory_store, Layout.of(memory_store.url, settings))
    assert letter.keys == ("a.wav",)


def test_a_job_that_came_back_to_life(memory_store: MemoryStore, settings: Settings) -> None:
    """Dropped again, a dead job is run again: its letter goes when it completes, and is not shown before that."""
    layout = Layout.of(memory_store.url, settings)
    memory_store.drop("input/a.wav", b"somebody talks")
    drain(memory_store, settings, *[EngineFailure("it broke").to_detail()] * 3)
    assert len(dead_letters(memory_store, layout)) == 1
    memory_store.clock.sleep(10)
    memory_store.drop("input/a.wav", b"somebody talks")
    shown: list[int] = []
    engine = ScriptedEngine(between=lambda stage: shown.append(len(dead_letters(memory_store, layout))))
    Worker(memory_store, settings, memory_store.clock, engine, name="again").run(drain=True)
    assert shown == [0, 0]
    assert memory_store.keys("results/") != ()
    assert memory_store.keys(f"{layout.state}dead/") == ()


def test_the_wait_doubles_and_is_spread(settings: Settings) -> None:
    """The n-th wait lies between half and one and a half times base × 2^(n−1), and uses all of that range: jobs that
    failed together do not come back together."""
    base = settings.backoff_seconds
    factors: dict[int, list[float]] = {1: [], 2: []}
    for seed in range(200):
        store = MemoryStore(VirtualClock(seed=seed))
        jobs = worker(store, "one", settings=settings)
        for attempt, seen in factors.items():
            claimed(jobs).fail(trouble())
            not_before = record_of(store, JOB).not_before
            assert not_before is not None
            seen.append((not_before - store.clock.time()) / (base * 2 ** (attempt - 1)))
            store.clock.sleep(10 * base)
    for seen in factors.values():
        assert 0.5 <= min(seen) < 0.6
        assert 1.4 < max(seen) <= 1.5
        assert 0.9 < sum(seen) / len(seen) < 1.1
        assert len({round(factor, 2) for factor in seen}) > 50
