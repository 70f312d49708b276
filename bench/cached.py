"""The same bytes again: from the scan that notices them to the result that lies there, without the engine.

    python -m bench.cached

A worker has transcribed a recording; then another worker, whose engine cannot be started at all, finds the same bytes
under new keys. Measured is a whole sweep (two listings, HEAD, download and hash, claim, publication) up to the moment
when the result has been written.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import rig
from bench.table import Row, show
from pipeline.errors import ErrorDetail
from pipeline.types import Event, ExportRequest, JobRequest, PrepareRequest

TIMES = 40
SHORT, HOUR = 30, 10_000  # words of the example, and of an hour of speech
LIMIT_SECONDS = 0.1

_Noting = rig.NotingFolder | rig.NotingS3


class NoEngine:
    """Counts the jobs that reach it, and does none."""

    jobs = 0

    def run(
        self, request: JobRequest, *, time_limit: Callable[[float | None], float], poll: float
    ) -> Iterator[Event | None]:
        self.jobs += 1
        raise RuntimeError("the engine was started for what is in the cache")

    def prepare(self, request: PrepareRequest) -> None:
        raise RuntimeError("nothing is to be decoded ahead of what is in the cache")

    def export(self, request: ExportRequest, *, seconds: float) -> ErrorDetail | None:
        raise RuntimeError("nobody asked for captions")

    def close(self) -> None:
        pass


def rows(long: bool) -> list[Row]:
    """The figures; with ``long``, ten times as many."""
    times = TIMES * (10 if long else 1)
    found: list[Row] = []
    started = 0
    with tempfile.TemporaryDirectory() as name, rig.moto_server() as endpoint:
        folder = Path(name)
        for words in (SHORT, HOUR):
            seconds, jobs = _measure(rig.folder_bucket(folder / f"bucket-{words}"), folder / "work", words, times)
            started += jobs
            reached = rig.quantile(seconds, 0.95) < LIMIT_SECONDS
            found.append(Row(f"folder, result of {words:,} words", rig.spread(seconds), "p95 < 100 ms", reached))
        with rig.s3_bucket(endpoint) as store:
            seconds, jobs = _measure(store, folder / "work", HOUR, times)
            started += jobs
            found.append(Row(f"S3 (moto), result of {HOUR:,} words", rig.spread(seconds)))
    found.append(Row("jobs that reached the engine", str(started), "0", started == 0))
    return found


def _measure(store: _Noting, work: Path, words: int, times: int) -> tuple[list[float], int]:
    """Seconds of each repetition, and how many jobs the engine saw."""
    store.upload("input/first.flac", rig.RECORDING)
    first = rig.worker(store, work, rig.child_engine(0.0, words, work))
    first.run(drain=True)
    if first.tally.completed != 1:
        raise RuntimeError(f"the first job did not complete: {first.tally}")
    engine = NoEngine()
    second = rig.worker(store, work, engine, name="bench-again")
    seconds = []
    for number in range(times):
        store.upload(f"input/again-{number}.flac", rig.RECORDING)
        started = time.perf_counter()
        second.sweep()
        seconds.append(store.result_at - started)
    second.close()
    if second.tally.cached != times:
        raise RuntimeError(f"not all came from the cache: {second.tally}")
    return seconds, engine.jobs


if __name__ == "__main__":
    sys.exit(show("cached", rows("--long" in sys.argv)))
