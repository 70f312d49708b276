"""What tests of the protocol share: inputs, jobs, workers on one bucket, and faults. Knows no promise itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from handler.answers import Identity
from handler.clock import Clock
from handler.errors import Unavailable
from handler.job import Jobs
from handler.layout import Layout, digest_of
from handler.lease import Lease
from handler.settings import Settings, load_settings
from handler.store.base import Found, Store
from handler.store.memory import Call, MemoryStore, Phase
from handler.types import Content, JobRecord, Subscriber
from pipeline.errors import ErrorDetail
from pipeline.types import Facts, ModelInfo

SETTINGS = load_settings()
LEASE = SETTINGS.lease_seconds
QUEUED_AT = "2023-11-14T22:13:20.000Z"

FACTS = Facts(
    duration=60.0, channels=1, models=(ModelInfo(name="sphinx", version="5.1", arch="sphinx", revision="r1"),)
)


def layout_of(store: Store) -> Layout:
    return Layout.of(store.url, SETTINGS)


def identity(name: str = "talk") -> Identity:
    """A job; equal names are equal jobs."""
    content = Content(sha256=digest_of("content", name), size=4)
    return Identity(jid=digest_of("job", name), content=content, options={"punctuate": True}, model={"name": "sphinx"})


JOB = identity()
JOB_KEY = f".dropscribe/v1/jobs/{JOB.jid}.json"


def subscriber(key: str = "a.wav", **fields: Any) -> Subscriber:
    """An input that nobody dropped: its sid is made up from its key."""
    return Subscriber(sid=digest_of("sid", key), key=key, queued_at=QUEUED_AT, **fields)


def dropped(store: Store, key: str = "a.wav", body: bytes = b"talk", **fields: Any) -> Subscriber:
    """An input that lies in the bucket, in its present version."""
    layout = layout_of(store)
    store.put(layout.input_key(key), body)
    source = layout.source(store.head(layout.input_key(key)))
    return Subscriber(sid=source.sid, key=source.key, queued_at=QUEUED_AT, **fields)


def worker(store: Store, name: str, clock: Clock | None = None, settings: Settings = SETTINGS) -> Jobs:
    """A worker's claims. Its clock is the store's own unless it is given one."""
    if clock is None:
        assert isinstance(store, MemoryStore)
        clock = store.clock
    return Jobs(store, layout_of(store), clock, settings, name)


def claimed(jobs: Jobs, waiting: Subscriber | None = None, job: Identity = JOB, at: float | None = None) -> Lease:
    """A claim that must succeed. ``at``: the store's time as the worker last saw it."""
    lease = jobs.claim(job, waiting or subscriber(), jobs.clock.time() if at is None else at)
    assert isinstance(lease, Lease)
    return lease


def record_of(store: Store, job: Identity = JOB) -> JobRecord:
    """The job's record as it lies in the bucket."""
    return JobRecord.model_validate_json(store.get(layout_of(store).job_key(job.jid)).body)


def change(store: MemoryStore, **fields: object) -> None:
    """Another hand changes `JOB`'s record, as ``cancel`` would."""
    store.drop(JOB_KEY, json.dumps({**json.loads(store.peek(JOB_KEY) or b""), **fields}).encode())


def trouble(*, retryable: bool = True) -> ErrorDetail:
    return ErrorDetail(
        error_class="EngineFailure", code="INTERNAL_SERVER_ERROR", message="it broke", hint="Mend it.",
        retryable=retryable,
    )  # fmt: skip


def commit(lease: Lease, result: str = "d" * 64) -> JobRecord:
    return lease.commit(result, FACTS, {"generating_output": result}, {}, {"transcribing": 1.0})


ENDS: dict[str, Callable[[Lease], JobRecord]] = {
    "beat": lambda lease: lease.beat(),
    "commit": commit,
    "fail": lambda lease: lease.fail(trouble()),
    "release": lambda lease: lease.release(),
}
every_write = pytest.mark.parametrize("write", ENDS.values(), ids=ENDS.keys())


class Fault:
    """A hook that raises `Unavailable` at the first ``times`` matching requests: before they are applied (lost
    requests) or after (lost answers). ``meanwhile`` is called first, in place of other workers.
    """

    def __init__(
        self,
        method: str = "",
        phase: Phase = "after",
        *,
        key: str = "",
        times: int = 1,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        self._method, self._phase, self._key = method, phase, key
        self._meanwhile = meanwhile
        self.times = times

    def __call__(self, call: Call, phase: Phase) -> None:
        if phase != self._phase or self._method not in ("", call.method) or self._key not in call.key:
            return
        if self.times > 0:
            self.times -= 1
            self._meanwhile()
            raise Unavailable(f"the answer to {call.method} {call.key} is lost")


class WholeSeconds(MemoryStore):
    """As S3 does, it tells its times in whole seconds, so that an age is wrong by up to one."""

    def client(self, hook: Any = None) -> WholeSeconds:
        other = WholeSeconds(self.clock, self.url, hook=hook)
        other._bucket = self._bucket
        return other

    def get(self, key: str) -> Found:
        found = super().get(key)
        written = found.store_time - found.age
        now = int(found.store_time)
        return Found(found.body, found.etag, float(max(0, now - int(written))), float(now))


def race(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What ``count`` threads return that start ``work`` at the same moment."""
    gate = Barrier(count)

    def run(number: int) -> Any:
        gate.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))
