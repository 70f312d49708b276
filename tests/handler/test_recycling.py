"""When the engine is started afresh because its memory has grown: the rule, and a real child that grows."""

from __future__ import annotations

import logging
import sys

import pytest

from handler.child import ChildEngine
from handler.clock import SystemClock
from handler.recycling import Drift, kind_of
from pipeline.types import Done, JobRequest, PrepareRequest

MB = 2**20

# A child that keeps what each job asks for, and says truly what it holds.
GROWING = """
import json, os, sys
events = os.fdopen(int(sys.argv[sys.argv.index("--events-fd") + 1]), "wb", buffering=0)
kept, prepared = [], []

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def emit(event):
    events.write(json.dumps(event).encode() + b"\\n")

emit({"type": "ready", "pid": os.getpid()})
for line in sys.stdin:
    request = json.loads(line)
    if request["type"] == "prepare":
        prepared.append(request["source"])
        continue
    kept.append(b"x" * request["options"].get("grow", 0))
    emit({"type": "progress", "stage": " ".join([str(os.getpid()), *prepared]), "percent": 0})
    emit({"type": "done", "resident": resident()})
"""


def after(drift: Drift, *jobs: tuple[str, int]) -> list[bool]:
    """Whether a fresh process is better, after each of the jobs: a kind, and megabytes at its end."""
    return [drift.after(kind, resident * MB) is not None for kind, resident in jobs]


def test_growth_is_found_when_it_stays() -> None:
    """One and a half times what it was and 512 MiB more, at the end of two jobs in a row."""
    assert after(Drift(), ("a", 1000), ("a", 1400), ("a", 1600), ("a", 1600)) == [False, False, False, True]


def test_a_peak_is_no_growth() -> None:
    """What the next job gives back was one long recording."""
    assert not any(after(Drift(), ("a", 2000), ("a", 4000), ("a", 2100), ("a", 4000), ("a", 2100)))


def test_a_small_engine_may_grow() -> None:
    """Three times next to nothing is next to nothing."""
    assert not any(after(Drift(), ("a", 100), ("a", 500), ("a", 600), ("a", 612)))
    assert after(Drift(), ("a", 100), ("a", 613), ("a", 613)) == [False, False, True]


def test_a_large_engine_grows_by_more() -> None:
    """A gigabyte more is no half of eight."""
    assert not any(after(Drift(), ("a", 8000), ("a", 9000), ("a", 9500), ("a", 11_900), ("a", 11_900)))


def test_another_model_is_no_growth() -> None:
    """The first job of a kind loads what it needs; from there on it is measured."""
    jobs = [("a", 1000), ("b", 3000), ("a", 3000), ("b", 3100), ("a", 4600), ("b", 4600)]
    assert after(Drift(), *jobs) == [False, False, False, False, False, True]


def test_the_limit_counts_at_once() -> None:
    """Over DROPSCRIBE_ENGINE_MEMORY_BYTES one job is enough."""
    assert after(Drift(1500 * MB), ("a", 1000), ("a", 1500), ("a", 1501)) == [False, False, True]


def test_a_limit_below_the_models_is_none() -> None:
    """An engine that needs more from the start is not started again and again; growth is still found."""
    drift = Drift(500 * MB)
    jobs = after(drift, ("a", 1000), ("a", 1100), ("a", 1100), ("a", 1600), ("a", 1600))
    assert jobs == [False, False, False, False, True]
    assert drift.too_small


def test_unknown_memory_is_no_reason() -> None:
    """Where the system does not say, or the job failed, nothing follows, and the count goes on."""
    assert after(Drift(), ("a", 0), ("a", 1000), ("a", 0), ("a", 1600), ("a", 0), ("a", 1600)) == [
        False, False, False, False, False, True,
    ]  # fmt: skip


def test_kinds() -> None:
    """Jobs that need the same models are of one kind, whatever else they ask for; another language is another aligner
    where there are some, and another diarizer another model.
    """

    def kind(model: str = "m", beside: dict[str, object] | None = None, **options: object) -> str:
        named = {"name": model}
        return kind_of(JobRequest(work="", source="", options=options, model=named, companions=beside or {}, seed=""))

    assert kind() == kind(language="en", batch_size=3)
    assert len({kind(), kind("other"), kind(diarize=True), kind(diarize=True, speakers=9), kind(stemming="true")}) == 5
    some: dict[str, object] = {"aligners": [{"name": "aligner-en"}]}
    assert len({kind(), kind(beside=some), kind(beside=some, language="en"), kind(beside={"few": {}})}) == 4


def grown(engine: ChildEngine, megabytes: int) -> tuple[str, int]:
    """A job that has the child grow. Gives what it says of itself, and the bytes it holds then."""
    request = JobRequest(work="/nowhere", source="", options={"grow": megabytes * MB}, model={}, seed="0")
    told, done = [event for event in engine.run(request, time_limit=lambda _: 60.0, poll=30.0) if event is not None]
    assert isinstance(done, Done)
    return told.stage, done.resident  # type: ignore[union-attr]


def test_a_child_that_grows_is_replaced_between_jobs(caplog: pytest.LogCaptureFixture) -> None:
    """A real process that keeps memory ends after a job, and the next job has a fresh one; said once, and counted."""
    caplog.set_level(logging.INFO, "handler.child")
    drift = Drift(growth=1.5, least_bytes=20 * MB)
    engine = ChildEngine(SystemClock(), command=[sys.executable, "-c", GROWING], drift=drift)
    try:
        told = [grown(engine, megabytes) for megabytes in (0, 5, 40, 0, 60, 0, 0)]
    finally:
        engine.close()
    pids = [pid for pid, _ in told]
    assert pids[:4] == [pids[0]] * 4
    assert pids[4:] == [pids[4]] * 3  # what its own first job needed is its own measure
    assert pids[0] != pids[4]
    assert engine.recycled == 1
    assert engine.restarts == {"grown": 1}
    assert len([line for line in caplog.messages if "afresh" in line]) == 1


def test_a_limit_that_has_no_effect_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """One warning, and the child stays."""
    engine = ChildEngine(SystemClock(), command=[sys.executable, "-c", GROWING], drift=Drift(limit=1))
    try:
        assert len({grown(engine, 0)[0] for _ in range(3)}) == 1
    finally:
        engine.close()
    assert [line for line in caplog.messages if "DROPSCRIBE_ENGINE_MEMORY_BYTES" in line] == [
        "DROPSCRIBE_ENGINE_MEMORY_BYTES is less than the engine needs for its models: it has no effect"
    ]


# ── asking it to prepare ─────────────────────────────────────────────────────────────────────────────────────────────


def asked(source: str) -> PrepareRequest:
    return PrepareRequest(folder="/nowhere/at", source=source, per_channel=False)


def test_prepare_reaches_the_child_and_is_not_answered() -> None:
    """A line on the pipe: the next job's answers are its own."""
    engine = ChildEngine(SystemClock(), command=[sys.executable, "-c", GROWING])
    try:
        engine.prepare(asked("too-early"))  # there is no child yet
        pid = grown(engine, 0)[0]
        engine.prepare(asked("one"))
        assert grown(engine, 0)[0] == f"{pid} one"
    finally:
        engine.close()


def test_prepare_never_raises() -> None:
    """A child that died, or was ended, is not asked, and none is started for it."""
    engine = ChildEngine(SystemClock(), command=[sys.executable, "-c", GROWING])
    try:
        grown(engine, 0)
        assert engine._process is not None
        process = engine._process
        process.kill()
        for _ in range(20):
            engine.prepare(asked("x" * 10_000))
        process.wait()
        engine.prepare(asked("x"))
        engine.close()
        engine.prepare(asked("x"))
        assert engine.pid is None
    finally:
        engine.close()
