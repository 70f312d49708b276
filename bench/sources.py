"""How soon a worker hears of a recording, how many it gets through, and what several cost one another.

    python -m bench.sources

Latency is from the moment when the drop has returned to the moment when the result lies there, of a recording whose
bytes were transcribed before, with a warm worker: through S3 and SQS (moto, in a process of its own), and through a
folder, where the wait until a file counts as complete is left out. Throughput is a drain of small recordings whose
contents are all known, on a folder without fsync. Lost claims are counted with eight workers on one bucket in memory,
first by scans alone, then by one queue. Idle requests are those of an hour of virtual time.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import rig
from bench.cached import NoEngine
from bench.table import Row, show
from handler.child import Engine
from handler.clock import SystemClock
from handler.fake_sqs import FakeSqs
from handler.fakes import OwnedClock, ScriptedEngine
from handler.queue import SqsQueue, open_queue
from handler.settings import Settings
from handler.source import Source
from handler.sqs import Sqs
from handler.store.base import Store
from handler.store.folder import FolderStore
from handler.store.memory import Call, MemoryStore
from handler.store.opening import event_keys
from handler.worker import Worker

TIMES = 40
LATENCY_SECONDS = 0.05
SETTLE_SECONDS = 1.0
SMALL_JOBS = 1000
JOBS_A_SECOND = 100.0
WORKERS = 8
SHARED_JOBS = 600
JOB_SECONDS = 0.05
WASTE_PERCENT = 5.0
IDLE_REQUESTS = 6.0  # a minute


def rows(long: bool) -> list[Row]:
    """The figures; with ``long``, latency ten times as often."""
    times = TIMES * (10 if long else 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return [
            _latency("S3→SQS (moto), drop → result", _through_sqs(folder / "sqs", times), "median ≤ 50 ms"),
            _latency("folder, readiness → result", _through_folder(folder / "folder", times // 4), "median ≤ 50 ms"),
            _throughput(folder / "drain"),
            *_shared(folder / "shared"),
            _idle(folder / "idle"),
        ]


def _latency(name: str, seconds: Sequence[float], target: str) -> Row:
    return Row(name, rig.spread(seconds), target, rig.quantile(seconds, 0.5) <= LATENCY_SECONDS)


def _worker(
    store: Store, work: Path, engine: Engine, name: str, source: Source | None = None, **changes: Any
) -> Worker:
    settings = rig.settings(work).model_copy(update=changes)
    return Worker(store, settings, SystemClock(), engine, name=name, source=source)


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


def _through_sqs(work: Path, times: int) -> list[float]:
    with rig.moto_server() as endpoint, rig.s3_bucket(endpoint) as store:
        import boto3

        session = boto3.session.Session()
        s3, sqs = session.client("s3"), session.client("sqs")
        bucket = store.url.removeprefix("s3://")
        queue = sqs.create_queue(QueueName=bucket)["QueueUrl"]
        names = ["QueueArn"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]["QueueArn"]
        only_inputs = {"Key": {"FilterRules": [{"Name": "prefix", "Value": "input/"}]}}
        target = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*"], "Filter": only_inputs}
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [target]}
        )
        _transcribe_once(store, work)
        body = rig.RECORDING.read_bytes()

        def measure() -> list[float]:
            found = []
            for number in range(times + 1):
                s3.put_object(Bucket=bucket, Key=f"input/again-{number}.flac", Body=body)
                found.append(_until_result(store, time.perf_counter()))
            return found[1:]  # before the first one the worker was not warm

        source = open_queue(queue, event_keys(store.url), SystemClock(), visibility=90)
        found = _while_running(_worker(store, work, NoEngine(), "bench-told", source), measure)
        s3.close()
        sqs.close()
        return found


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
            time.sleep(0.137)  # so that drops do not keep step with the scans
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
    """Seconds from ``since`` to the next result."""
    deadline = time.monotonic() + 30
    while store.result_at < since:
        if time.monotonic() > deadline:
            raise RuntimeError("no result in 30 s")
        time.sleep(0.0005)
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


# ── several workers ──────────────────────────────────────────────────────────────────────────────────────────────────


def _shared(path: Path) -> list[Row]:
    found = []
    for how in ("scans", "one queue"):
        bucket = MemoryStore(SystemClock(), "s3://b")
        sqs = FakeSqs(SystemClock())
        url = sqs.make("told")
        for number in range(SHARED_JOBS):
            bucket.drop(f"input/{number}.wav", b"%d" % number * 1000)
            sqs.send(url, _event(f"input/{number}.wav"))
        stores = [bucket.client() for _ in range(WORKERS)]
        workers = []
        for number, store in enumerate(stores):
            source = SqsQueue(Sqs(sqs.client(), url), event_keys("s3://b"), SystemClock(), visibility=90)
            engine = ScriptedEngine(between=lambda stage: time.sleep(JOB_SECONDS / 2))
            told = source if how == "one queue" else None
            changes = {"drain_seconds": 1.0}
            workers.append(_worker(store, path / how, engine, f"bench-{number}", told, **changes))
        _run_all(workers)
        done = sum(worker.tally.completed for worker in workers)
        if done < SHARED_JOBS:
            raise RuntimeError(f"only {done} jobs were done")
        lost, listed, total = (sum(part) for part in zip(*(_wasted(store.calls) for store in stores), strict=True))
        percent = 100 * lost / total
        measured = f"{percent:.1f} % ({lost} of {total:,}; {listed} more for listings)"
        name = f"{WORKERS} workers, {SHARED_JOBS} jobs, by {how}: requests on lost claims"
        found.append(Row(name, measured, f"≤ {WASTE_PERCENT:g} %", percent <= WASTE_PERCENT))
    return found


def _event(key: str) -> str:
    record = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": key}}}
    return json.dumps({"Records": [record]})


def _run_all(workers: Sequence[Worker]) -> None:
    threads = [threading.Thread(target=worker.run, kwargs={"drain": True}) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _wasted(calls: Sequence[Call]) -> tuple[int, int, int]:
    """Of one worker's requests: those for inputs that somebody else turned out to have or to have settled; listings;
    all.
    """
    looks: list[list[Call]] = []
    listed = 0
    for call in calls:
        if call.verb == "LIST":
            listed += 1
            looks.append([])
            continue
        # A scan's look at an input begins with its source record, a message's with the recording.
        begins = "/sources/" in call.key and call.verb == "GET"
        begins = begins or (call.verb == "HEAD" and call.key.startswith("input/") and not (looks and looks[-1]))
        if begins or not looks or _settles(looks[-1]):
            looks.append([])
        looks[-1].append(call)
    lost = sum(len(look) for look in looks if look and not _settles(look) and "/stats/" not in look[0].key)
    return lost, listed, len(calls)


def _settles(look: Sequence[Call]) -> bool:
    return any(call.verb == "PUT" and "/settled/" in call.key for call in look)


# ── nothing to do ────────────────────────────────────────────────────────────────────────────────────────────────────


def _idle(path: Path) -> Row:
    clock = OwnedClock()
    store, sqs = MemoryStore(clock, "s3://b"), FakeSqs(clock)
    source = SqsQueue(Sqs(sqs, sqs.make("told")), event_keys("s3://b"), clock, visibility=90, inline=True)
    settings = Settings(model="sphinx", work_dir=path)
    worker = Worker(store, settings, clock, ScriptedEngine(), name="bench-idle", source=source)
    until = clock.monotonic() + 3600

    def stop_in_time(method: str, given: dict[str, Any], phase: str) -> None:
        if clock.monotonic() >= until:
            worker.stop.set()

    sqs.hook = stop_in_time
    worker.run(drain=False)
    queue, bucket = sum(sqs.counts().values()) / 60, len(store.calls) / 60
    measured = f"{queue:.1f} to the queue, {bucket:.1f} to the bucket"
    name = "an idle worker on a queue: requests a minute"
    return Row(name, measured, f"≤ {IDLE_REQUESTS:g}", queue + bucket <= IDLE_REQUESTS)


if __name__ == "__main__":
    sys.exit(show("sources", rows("--long" in sys.argv)))
