"""The real engine and a worker that fetches ahead: the next recording is here, and decoded, when its turn comes; the
results are those of a worker that does not.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from handler.child import ChildEngine
from handler.store.memory import MemoryStore
from handler.worker import Tally, Worker
from handler.worker.beside import T, side_by_side
from pipeline.errors import ErrorDetail
from pipeline.types import Event, ExportRequest, JobRequest, Media, PrepareRequest
from tests.end_to_end import recordings
from tests.end_to_end.bucket_rig import Rig, SkippingClock, transcript_of

MakeRig = Callable[..., Rig]
KEYS = ("a.flac", "b.flac", "c.flac")
PATIENCE_SECONDS = 60.0  # for a decode of a few seconds of sound; over that something hangs


class Unhurried:
    """The real engine, whose jobs seem to take two seconds longer, and in fact as long as what is done ahead."""

    def __init__(self, engine: ChildEngine, clock: SkippingClock) -> None:
        self._engine = engine
        self._clock = clock
        self.futures: list[Future[object]] = []
        self.prepared: list[PrepareRequest] = []
        self.used: list[str | None] = []
        self.lay_there: list[list[str]] = []  # in the folder, when its job came

    def beside(self, ask: Callable[[], T]) -> Future[T]:
        future = side_by_side(ask)
        self.futures.append(future)  # type: ignore[arg-type]
        return future

    def run(
        self, request: JobRequest, *, time_limit: Callable[[float | None], float], poll: float
    ) -> Iterator[Event | None]:
        self.used.append(request.prepared)
        self.lay_there.append(sorted(os.listdir(request.prepared)) if request.prepared else [])
        events = self._engine.run(request, time_limit=time_limit, poll=poll)
        opened = False
        with contextlib.closing(events):  # type: ignore[type-var]
            for event in events:
                yield event
                if isinstance(event, Media) and not opened:
                    opened = True
                    self._clock.skip(2.0)
                    yield None
                    self._let_it_be_done()

    def _let_it_be_done(self) -> None:
        for future in self.futures:
            future.result(PATIENCE_SECONDS)
        until = time.monotonic() + PATIENCE_SECONDS
        for asked in self.prepared:
            while os.path.isdir(asked.folder) and not os.listdir(asked.folder) and time.monotonic() < until:
                time.sleep(0.02)

    def prepare(self, request: PrepareRequest) -> None:
        self.prepared.append(request)
        self._engine.prepare(request)

    def export(self, request: ExportRequest, *, seconds: float) -> ErrorDetail | None:
        return self._engine.export(request, seconds=seconds)

    def close(self) -> None:
        pass  # the module's engine stays warm


@pytest.fixture
def dropped(make_rig: MakeRig, tmp_path: Path) -> Rig:
    """Three recordings that differ, on a folder and on S3."""
    rig = make_rig()
    for number, key in enumerate(KEYS):
        folder = tmp_path / f"recording-{number}"
        folder.mkdir()
        rig.drop(key, recordings.flac(folder, 3.0 + number))
    return rig


def results(rig: Rig) -> list[bytes]:
    """The part that is the engine's, byte by byte, but for the ids that are the job's."""
    return [(rig.read(f"results/{key}.json") or b"").partition(b'"results":')[2] for key in KEYS]


def test_a_bucket_fetched_ahead(dropped: Rig, engine: ChildEngine) -> None:
    """The second and the third recording are fetched and decoded while the one before is under way; nothing else
    changes.
    """
    unhurried = Unhurried(engine, dropped.clock)
    worker = Worker(dropped.store, dropped.settings, dropped.clock, unhurried, name="ahead", ahead=unhurried.beside)
    assert worker.run(drain=True) == Tally(completed=3, ahead=2)
    assert unhurried.used == [None, *(asked.folder for asked in unhurried.prepared)]
    assert len(unhurried.prepared) == 2
    assert all(unhurried.lay_there[1:])
    assert [transcript_of(dropped.result(key)) for key in KEYS]
    first = results(dropped)

    for prefix in ("results/", "progress/", ".dropscribe/"):
        for key in dropped.keys(prefix):
            dropped.store.delete(prefix + key)
    plain = Worker(dropped.store, dropped.settings, dropped.clock, Unhurried(engine, dropped.clock), name="plain")
    assert plain.run(drain=True) == Tally(completed=3)
    assert results(dropped) == first
    assert len(set(first)) == 3
    assert not [path for path in dropped.settings.work_dir.rglob("*") if path.is_file()]


def test_an_engine_that_dies_takes_no_recording_with_it(
    make_memory_rig: MakeRig, engine: ChildEngine, tmp_path: Path
) -> None:
    """What was prepared dies with the engine; the recording is used all the same, and the results are right."""
    rig = make_memory_rig()
    for number, key in enumerate(KEYS[:2]):
        folder = tmp_path / f"recording-{number}"
        folder.mkdir()
        rig.drop(key, recordings.flac(folder, 3.0 + number))
    killed: list[int] = []

    class Dying(Unhurried):
        def _let_it_be_done(self) -> None:
            super()._let_it_be_done()
            if not killed and engine._process is not None:
                killed.append(engine._process.pid)
                engine._process.kill()
                engine._process.wait()  # dead before it could be given the next job

    dying = Dying(engine, rig.clock)
    worker = Worker(rig.store, rig.settings, rig.clock, dying, name="ahead", ahead=dying.beside)
    tally = worker.run(drain=True)
    assert (tally.completed, tally.failed) == (2, 0)
    assert tally.ahead >= 1
    assert killed
    store = rig.store
    assert isinstance(store, MemoryStore)
    assert [call.key for call in store.calls if call.method == "download"].count("input/b.flac") == 1
    for key in KEYS[:2]:
        assert rig.result(key)
