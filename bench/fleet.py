"""What several workers cost one another, and what an idle one costs.

Requests on lost claims are counted with eight workers on one bucket in memory, first by scans alone, then by one queue.
Idle requests are those of an hour of virtual time. Gives rows to `bench.sources`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import rig
from bench.table import Row
from handler.clock import SystemClock
from handler.fake_sqs import FakeSqs
from handler.fakes import OwnedClock, ScriptedEngine
from handler.queue import SqsQueue
from handler.settings import Settings
from handler.sqs import Sqs
from handler.store.memory import Call, MemoryStore
from handler.store.opening import event_keys
from handler.worker import Worker

WORKERS = 8
SHARED_JOBS = 600
JOB_SECONDS = 0.05
WASTE_PERCENT = 5.0
IDLE_REQUESTS = 6.0  # a minute


def shared(path: Path) -> list[Row]:
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
            settings = rig.settings(path / how).model_copy(update={"drain_seconds": 1.0})
            workers.append(Worker(store, settings, SystemClock(), engine, name=f"bench-{number}", source=told))
        _run_all(workers)
        done = sum(worker.tally.completed for worker in workers)
        if done < SHARED_JOBS:
            raise RuntimeError(f"only {done} jobs were done")
        lost, listed, total = (sum(part) for part in zip(*(_wasted(store.calls) for store in stores), strict=True))
        percent = 100 * lost / total
        measured = f"{percent:.1f} % ({lost} of {total:,} requests; {listed} more for listings)"
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


def idle(path: Path) -> Row:
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
