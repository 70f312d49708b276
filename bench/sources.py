"""How soon a worker hears of a recording, how many it gets through, and what several cost one another.

    python -m bench.sources

Latency is from the moment when the drop has returned to the moment when the result lies there, of a recording whose
bytes were transcribed before, with a warm worker that has nothing else to do: through S3 and SQS (moto, in a process of
its own), and through a folder, where the wait until a file counts as complete is left out. Moto takes milliseconds for
a request, so the same requests are made by bare boto3 as well, one after another, in turns with the drops: the ratio
says what is ours. Throughput is a drain of small recordings whose contents are all known, on a folder without fsync.
`bench.fleet` has the rest.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import fleet, requests_per_job, rig
from bench.cached import NoEngine
from bench.requests_per_job import TOLD_AGAIN, WARM, Count
from bench.table import Row, show
from handler.child import Engine
from handler.clock import SystemClock
from handler.fakes import ScriptedEngine
from handler.queue import open_queue
from handler.source import Source
from handler.store.base import Store
from handler.store.folder import FolderStore
from handler.store.opening import event_keys
from handler.worker import Worker
from handler.worker.beside import in_turn, side_by_side

TIMES = 40
LATENCY_SECONDS = 0.05
PAUSE_SECONDS = 0.137  # between drops: until the worker waits again, and so that drops do not keep step with scans
SETTLE_SECONDS = 1.0
SMALL_JOBS = 1000
JOBS_A_SECOND = 100.0


def rows(long: bool) -> list[Row]:
    """The figures; with ``long``, latency ten times as often."""
    times = TIMES * (10 if long else 1)
    costs = {count.case: count for count in requests_per_job.counts()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        told, bare = _through_sqs(folder / "sqs", times, _until_the_result(costs[TOLD_AGAIN]))
        watched = _through_folder(folder / "folder", times // 4)
        ratio = rig.quantile(told, 0.5) / rig.quantile(bare, 0.5)
        return [
            _latency(f"S3→SQS (moto), drop → result; {_cost(costs[TOLD_AGAIN])}", told),
            Row("the requests of it by bare boto3, in a row", rig.spread(bare)),
            Row("drop → result ÷ bare boto3", f"{ratio:.2f}"),
            _latency(f"folder, readiness → result; {_cost(costs[WARM])}", watched),
            _throughput(folder / "drain"),
            *fleet.shared(folder / "shared"),
            fleet.idle(folder / "idle"),
        ]


def _latency(name: str, seconds: Sequence[float]) -> Row:
    return Row(name, rig.spread(seconds), "median ≤ 50 ms", rig.quantile(seconds, 0.5) <= LATENCY_SECONDS)


def _cost(count: Count) -> str:
    """What a case costs in requests, its last manifest included."""
    queue = sum(request.endswith(" queue") for request in count.requests)
    told = f", {queue} to the queue" if queue else ""
    return f"{count.reads} GET/HEAD, {count.writes + 1} PUT{told}"


def _until_the_result(count: Count) -> list[str]:
    """The requests to the store of a case, up to the one that writes the result."""
    return list(count.requests[: count.requests.index("PUT results") + 1])


def _worker(store: Store, work: Path, engine: Engine, name: str, source: Source | None = None) -> Worker:
    beside = side_by_side if store.url.startswith("s3://") else in_turn  # as `dropscribe work` has it
    return Worker(store, rig.settings(work), SystemClock(), engine, name=name, source=source, beside=beside)


def _while_running(worker: Worker, measure: Callable[[], list[float]]) -> list[float]:
    """What ``measure`` gives while the worker runs in a thread."""
    thread = threading.Thread(target=worker.run, kwargs={"drain": False})
    thread.start()
    try:
        return measure()
    finally:
        worker.stop.set()
        thread.join()


# ── latency ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _through_sqs(work: Path, times: int, path: Sequence[str]) -> tuple[list[float], list[float]]:
    """Seconds of each drop, and of the requests ``path`` by bare boto3 after it."""
    with rig.moto_server() as endpoint, rig.s3_bucket(endpoint) as store:
        import boto3

        session = boto3.session.Session()
        s3, sqs = session.client("s3"), session.client("sqs")
        bucket = store.url.removeprefix("s3://")
        queue = _told_queue(s3, sqs, bucket)
        _transcribe_once(store, work)
        body, bare = rig.RECORDING.read_bytes(), []

        def measure() -> list[float]:
            found = []
            for number in range(times + 1):
                s3.put_object(Bucket=bucket, Key=f"input/again-{number}.flac", Body=body)
                found.append(_until_result(store, time.perf_counter()))
                time.sleep(PAUSE_SECONDS)
                bare.append(_bare(s3, bucket, path, number))
            return found[1:]  # before the first one the worker was not warm

        source = open_queue(queue, event_keys(store.url), SystemClock(), visibility=90)
        found = _while_running(_worker(store, work, NoEngine(), "bench-told", source), measure)
        s3.close()
        sqs.close()
        return found, bare[1:]


def _told_queue(s3: Any, sqs: Any, bucket: str) -> str:
    """The URL of a new queue that is told what is dropped under ``input/``."""
    url = sqs.create_queue(QueueName=bucket)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    only_inputs = {"Key": {"FilterRules": [{"Name": "prefix", "Value": "input/"}]}}
    target = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*"], "Filter": only_inputs}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [target]})
    return str(url)


def _bare(s3: Any, bucket: str, path: Sequence[str], number: int) -> float:
    """Seconds for requests like these, on objects of the like sizes, by boto3 alone."""
    from botocore.exceptions import ClientError

    small = b"x" * 1000
    s3.put_object(Bucket=bucket, Key="bare/there", Body=small)
    started = time.perf_counter()
    for place, request in enumerate(path):
        verb, name = request.split()
        with contextlib.suppress(ClientError):  # a HEAD of what is not there
            if verb == "PUT":
                s3.put_object(Bucket=bucket, Key=f"bare/{number}-{place}", Body=small, IfNoneMatch="*")
            elif verb == "GET":
                key = f"input/again-{number}.flac" if name == "input" else "bare/there"
                s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            else:
                s3.head_object(Bucket=bucket, Key=f"input/again-{number}.flac" if name == "input" else "bare/missing")
    return time.perf_counter() - started


def _through_folder(path: Path, times: int) -> list[float]:
    store = rig.folder_bucket(path / "bucket")
    _transcribe_once(store, path / "work")
    watched = rig.NotingFolder(path / "bucket", SystemClock(), settle_seconds=SETTLE_SECONDS)
    body = rig.RECORDING.read_bytes()

    def measure() -> list[float]:
        found = []
        for number in range(times + 1):
            target = path / "bucket" / "input" / f"again-{number}.flac"
            target.write_bytes(body)
            ready = target.stat().st_mtime + SETTLE_SECONDS
            found.append(_until_result(watched, time.perf_counter() + ready - time.time()))
            time.sleep(PAUSE_SECONDS)
        return found[1:]

    return _while_running(_worker(watched, path / "work", NoEngine(), "bench-watching"), measure)


def _transcribe_once(store: rig.NotingFolder | rig.NotingS3, work: Path) -> None:
    store.upload("input/first.flac", rig.RECORDING)
    first = _worker(store, work, ScriptedEngine(), "bench-first")
    first.sweep()
    first.close()
    if first.tally.completed != 1:
        raise RuntimeError(f"the first job did not complete: {first.tally}")


def _until_result(store: rig.NotingFolder | rig.NotingS3, since: float) -> float:
    """Seconds from ``since`` to the next result, which the store notes itself."""
    deadline = time.monotonic() + 30
    while store.result_at < since:
        if time.monotonic() > deadline:
            raise RuntimeError("no result in 30 s")
        time.sleep(0.005)
    return store.result_at - since


# ── throughput ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _throughput(path: Path) -> Row:
    store = FolderStore(path / "bucket", SystemClock(), settle_seconds=0.0)
    for number in range(SMALL_JOBS):
        store.put(f"input/first/{number}.wav", b"%d" % number * 1000)
    first = _worker(store, path / "work", ScriptedEngine(), "bench-first")
    first.run(drain=True)
    for number in range(SMALL_JOBS):
        store.put(f"input/again/{number}.wav", b"%d" % number * 1000)
    second = _worker(store, path / "work", NoEngine(), "bench-again")
    started = time.perf_counter()
    second.run(drain=True)
    rate = SMALL_JOBS / (time.perf_counter() - started)
    if (first.tally.completed, second.tally.cached) != (SMALL_JOBS, SMALL_JOBS):
        raise RuntimeError(f"not all were done: {first.tally}, {second.tally}")
    name = f"folder, drain of {SMALL_JOBS:,} small cached jobs"
    return Row(name, f"{rate:.0f} jobs/s", f"≥ {JOBS_A_SECOND:.0f} jobs/s", rate >= JOBS_A_SECOND)


if __name__ == "__main__":
    sys.exit(show("sources", rows("--long" in sys.argv)))
