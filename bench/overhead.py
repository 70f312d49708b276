"""What the handler costs beside the engine, for a job of a minute.

    python -m bench.overhead

A real worker with a real child process, which sends progress for 60 s as the real engine does and then leaves the
artifacts of an hour of speech. Counted as the handler's own: the CPU time of its whole process (all threads: pipe,
heartbeat, manifests), and the wall time in which nothing but the handler could go on: everything outside the engine's
iterator, and the heartbeat's writes. The settings are the defaults: a beat every 30 s, a manifest every 2 s.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import rig
from bench.table import Row, show
from handler.child import Engine
from pipeline.errors import ErrorDetail
from pipeline.types import Event, ExportRequest, JobRequest, PrepareRequest

SECONDS = 60.0
WORDS = 10_000
LIMIT_PERCENT = 1.0


class TimedEngine:
    """Another engine, and how many seconds its caller spent waiting for its events."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.inside = 0.0

    def run(
        self, request: JobRequest, *, time_limit: Callable[[float | None], float], poll: float
    ) -> Iterator[Event | None]:
        events = self._engine.run(request, time_limit=time_limit, poll=poll)
        try:
            while True:
                started = time.perf_counter()
                event = next(events, _END)
                self.inside += time.perf_counter() - started
                if isinstance(event, _End):
                    return
                yield event
        finally:
            events.close()  # type: ignore[attr-defined]

    def prepare(self, request: PrepareRequest) -> None:
        self._engine.prepare(request)

    def export(self, request: ExportRequest, *, seconds: float) -> ErrorDetail | None:
        started = time.perf_counter()
        try:
            return self._engine.export(request, seconds=seconds)
        finally:
            self.inside += time.perf_counter() - started

    def close(self) -> None:
        self._engine.close()


class _End:
    pass


_END = _End()


def rows(long: bool) -> list[Row]:
    """The figures; with ``long`` for a job of ten minutes."""
    seconds = SECONDS * (10 if long else 1)
    with tempfile.TemporaryDirectory() as name, rig.moto_server() as endpoint:
        folder = Path(name)
        found = _measure("folder", rig.folder_bucket(folder / "bucket"), folder / "work", seconds)
        with rig.s3_bucket(endpoint) as store:
            found += _measure("S3 (moto)", store, folder / "work", seconds)
    return found


def _measure(where: str, store: rig.NotingFolder | rig.NotingS3, work: Path, seconds: float) -> list[Row]:
    engine = TimedEngine(rig.child_engine(seconds, WORDS, work))
    worker = rig.worker(store, work, engine)
    store.upload("input/minute.flac", rig.RECORDING)
    cpu, wall = time.process_time(), time.perf_counter()
    worker.sweep()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    worker.close()
    if worker.tally.completed != 1:
        raise RuntimeError(f"the job did not complete: {worker.tally}")
    own = wall - engine.inside + store.heart_seconds
    return [_row(f"{where}: wall time of its own", own, wall), _row(f"{where}: CPU time", cpu, wall)]


def _row(name: str, seconds: float, whole: float) -> Row:
    percent = 100 * seconds / whole
    measured = f"{percent:.2f} % of {whole:.1f} s ({seconds * 1000:.0f} ms)"
    return Row(name, measured, f"< {LIMIT_PERCENT:g} %", percent < LIMIT_PERCENT)


if __name__ == "__main__":
    sys.exit(show("overhead", rows("--long" in sys.argv)))
