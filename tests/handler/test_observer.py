"""What is told to the observer, and what becomes of it: figures, the log's fields, readiness."""

from __future__ import annotations

import logging

import pytest
from metrics_rig import Noted

from handler import metrics
from handler.clock import VirtualClock
from handler.metrics import CATALOGUE
from handler.observer import Observer


@pytest.fixture
def noted() -> Noted:
    return Noted()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def observer(clock: VirtualClock, noted: Noted) -> Observer:
    return Observer(clock, noted)


def test_names_are_prometheus() -> None:
    """Every metric is named once, counters end in _total, and units are seconds or bytes."""
    names = [metric.name for metric in CATALOGUE]
    assert len(set(names)) == len(names)
    for metric in CATALOGUE:
        assert metric.name.startswith("dropscribe_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert bool(metric.buckets) == (metric.kind == "histogram")
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert metric.help.endswith(".")


def test_the_oldest_waits_longest(observer: Observer, noted: Noted, clock: VirtualClock) -> None:
    """Depth and age are of what still waits at the moment of reading: what was settled since the scan counts no more,
    and the age grows between two scans.
    """
    observer.found({"old": clock.time() - 100, "young": clock.time() - 10})
    clock.advance(5)
    observer.before_reading()
    assert noted.values[(metrics.QUEUE_DEPTH.name,)] == 2
    assert noted.values[(metrics.QUEUE_AGE.name,)] == 105
    observer.settled("old")
    observer.before_reading()
    assert noted.values[(metrics.QUEUE_DEPTH.name,)] == 1
    assert noted.values[(metrics.QUEUE_AGE.name,)] == 15
    observer.settled("young")
    observer.before_reading()
    assert noted.values[(metrics.QUEUE_AGE.name,)] == 0


def test_the_first_start_counts(observer: Observer, noted: Noted, caplog: pytest.LogCaptureFixture) -> None:
    """A phase is told once, and the first claim says in the log what the start was made of."""
    caplog.set_level(logging.INFO, "handler")
    observer.phase("bucket", 0.25)
    observer.phase("bucket", 9.0)
    observer.job_begins("id", "a.wav", 1)
    observer.job_over()
    observer.job_begins("id", "b.wav", 1)
    assert noted.values[(metrics.COLD_START.name, "bucket")] == 0.25
    assert [record.getMessage() for record in caplog.records] == [
        "first claim after 0.25 s of work: bucket 0.25 s, claim 0.00 s"
    ]


def test_restarts_are_counted_once(observer: Observer, noted: Noted) -> None:
    """The engine tells its sums again and again: only what is new is added."""
    for killed in (1, 1, 3):
        observer.engine({"killed": killed}, 0.5)
    assert noted.counts[(metrics.ENGINE_RESTARTS.name, "killed")] == 3
    assert noted.values[(metrics.COLD_START.name, "engine")] == 0.5


def test_one_broken_reading(observer: Observer, noted: Noted, caplog: pytest.LogCaptureFixture) -> None:
    """A driver that fails costs its own figure: the others are read all the same, and the log says so."""

    def broken() -> None:
        raise OSError("no such device")

    observer.at_reading(broken)
    observer.at_reading(lambda: observer.gpu("0", 3, 8))
    observer.before_reading()
    assert noted.values[(metrics.GPU_MEMORY.name, "0", "used")] == 3
    assert noted.values[(metrics.GPU_MEMORY.name, "0", "total")] == 8
    assert "no such device" in caplog.text


def test_the_job_under_way(observer: Observer, noted: Noted) -> None:
    """What the log's lines name is the job under way and its present stage, and nothing once it is over."""
    observer.stage("transcribing")
    assert observer.doing is None
    observer.job_begins("id", "a.wav", 2)
    observer.stage("transcribing")
    assert observer.doing is not None
    assert (observer.doing.job_id, observer.doing.key, observer.doing.attempt) == ("id", "a.wav", 2)
    assert observer.doing.stage == "transcribing"
    assert noted.values[(metrics.IN_PROGRESS.name,)] == 1
    observer.job_over()
    assert observer.doing is None
    assert noted.values[(metrics.IN_PROGRESS.name,)] == 0
