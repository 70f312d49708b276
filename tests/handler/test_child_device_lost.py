"""An engine that lost its GPU: the job hears of it, and the next one gets a fresh engine without paying for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from handler.child import ChildEngine
from handler.clock import SystemClock
from pipeline.errors import DeviceLost
from pipeline.types import Done, Event, Failed, JobRequest

# Says that its GPU is lost, and takes its time to end, with its stdin open: the next line would be lost with it. The
# second process works.
CHILD = """
import json, os, sys, time
from pathlib import Path
events = os.fdopen(int(sys.argv[sys.argv.index("--events-fd") + 1]), "wb", buffering=0)

def emit(event):
    events.write(json.dumps(event).encode() + b"\\n")

emit({"type": "ready", "pid": os.getpid()})
work = Path(json.loads(sys.stdin.readline())["work"])
if not (work / "lost").exists():
    (work / "lost").touch()
    emit({"type": "failed", "error": %s})
    time.sleep(2)
    sys.exit(75)
emit({"type": "done"})
"""


@pytest.fixture
def engine() -> Iterator[ChildEngine]:
    error = DeviceLost("the GPU was lost in the middle of the work").to_detail().model_dump_json()
    code = CHILD % error.replace("true", "True")
    made = ChildEngine(SystemClock(), command=[sys.executable, "-c", code])
    yield made
    made.close()


def job(engine: ChildEngine, work: object) -> list[Event | None]:
    request = JobRequest(work=str(work), source="source", options={}, model={}, seed="0" * 64)
    return list(engine.run(request, time_limit=lambda duration: 60.0, poll=30.0))


def test_the_next_job_gets_a_fresh_engine(engine: ChildEngine, tmp_path: object) -> None:
    """The failure is the job's own; the job after it is not sent into a process that is about to end."""
    [failed] = job(engine, tmp_path)
    assert isinstance(failed, Failed)
    assert failed.error.error_class == "DeviceLost"
    assert engine.pid is None
    assert engine.restarts == {"device_lost": 1}
    assert job(engine, tmp_path) == [Done()]


def test_whoever_stops_listening(engine: ChildEngine, tmp_path: object) -> None:
    """The same for a caller that reads no further than the failure."""
    request = JobRequest(work=str(tmp_path), source="source", options={}, model={}, seed="0" * 64)
    events = engine.run(request, time_limit=lambda duration: 60.0, poll=30.0)
    assert isinstance(next(events), Failed)
    assert job(engine, tmp_path) == [Done()]
