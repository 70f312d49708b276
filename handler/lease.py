"""Job records in the bucket, and the right to work on one: beat, commit, failure, release.

Takes a record that was just claimed (`handler.job`); everything it writes is a compare-and-swap from that claim on, so
whoever has lost the job is refused. Does not know what a job does, nor what is published when it ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Set
from typing import Any

from pydantic import ValidationError

from handler.clock import Clock
from handler.errors import LeaseLost
from handler.layout import Layout
from handler.settings import Settings
from handler.store.base import Found, Store
from handler.store.swap import Conflict, put_record
from handler.types import Failure, JobRecord
from pipeline.errors import ErrorDetail
from pipeline.formats.times import iso_time
from pipeline.types import Facts

KEPT_FAILURES = 10
LONGEST_JITTER = 1.5  # a wait is this, or up to 1 less, times the backoff
SWAP_TRIES = 20  # each refusal means that somebody else made progress


class Records:
    """``jobs/<jid>.json``, read and swapped in the name of ``worker``. May raise `Unavailable` and `AccessDenied`."""

    def __init__(self, store: Store, layout: Layout, clock: Clock, settings: Settings, worker: str) -> None:
        self.store = store
        self.layout = layout
        self.clock = clock
        self.settings = settings
        self.worker = worker

    def read(self, jid: str) -> tuple[JobRecord, Found]:
        """The record as it is now. `NotFound`; ValueError when it is no record of ours."""
        found = self.store.get(self.layout.job_key(jid))
        return JobRecord.model_validate_json(found.body), found

    def write(self, record: JobRecord, etag: str | None) -> tuple[str, bytes]:
        """In place of the version ``etag`` (None: only if nothing is there); the new ETag and body. `Conflict`."""
        fields = record.model_dump(mode="json", exclude={"nonce"})
        written = put_record(self.store, self.layout.job_key(record.jid), fields, etag=etag, clock=self.clock)
        return written.etag, written.body


class Lease:
    """The right to work on a job. Safe to use from the worker's thread and the heart's.

    ``deadline`` is on this machine's monotonic clock and counts from *before* the last accepted write was sent, so the
    holder stops before anybody else may see the lease as expired. ``created``: this claim made the record, so nobody
    was at work on the job before.
    """

    def __init__(
        self,
        records: Records,
        record: JobRecord,
        etag: str,
        started: float,
        store_time: float,
        *,
        created: bool = False,
    ) -> None:
        self._records = records
        self._lock = threading.RLock()
        self._record = record
        self._etag = etag
        self._lost = False
        self._claimed_at = (started, store_time)
        self.deadline = started + record.lease_seconds
        self.token = record.token
        self.created = created

    @property
    def record(self) -> JobRecord:
        """As of the last accepted write; subscribers that joined since are not in it yet."""
        return self._record

    @property
    def cancelled(self) -> bool:
        """True once the job was cancelled, here or by somebody else; then the lease is lost, too."""
        return self._record.state == "cancelled"

    @property
    def lost(self) -> bool:
        """True once somebody else has the job, or the lease may have run out."""
        return self._lost or self._records.clock.monotonic() >= self.deadline

    def beat(self, **pointers: Any) -> JobRecord:
        """Renew the lease; ``stage``, ``percent`` and ``stages`` ride along. `LeaseLost`."""
        return self._swap(lambda record: {**pointers})

    def commit(
        self, result: str, facts: Facts, stages: dict[str, str], degraded: dict[str, str], timings: dict[str, float]
    ) -> JobRecord:
        """DONE, by one compare-and-swap: the one moment at which the job's result exists. `LeaseLost`."""
        return self._swap(
            lambda record: {
                "state": "done",
                "stage": "completed",
                "percent": 100.0,
                "result": result,
                "facts": facts,
                "stages": stages,
                "degraded": degraded,
                "timings": {**record.timings, **timings},
                "committed_at": self.store_time(),
                "error": None,
            }
        )

    def fail(self, error: ErrorDetail) -> JobRecord:
        """Charge an attempt: the record then waits for the next one, or is dead. `LeaseLost`."""
        settings, clock = self._records.settings, self._records.clock

        def changes(record: JobRecord) -> dict[str, Any]:
            attempt = record.attempts + 1
            failure = Failure(attempt=attempt, at=iso_time(self.store_time()), worker=self._records.worker, error=error)
            dead = not error.retryable or attempt >= settings.max_attempts
            wait = settings.backoff_seconds * 2 ** (attempt - 1) * (LONGEST_JITTER - clock.random())
            return {
                "state": "dead" if dead else "waiting",
                "stage": "failed" if dead else "queued",
                "attempts": attempt,
                "failures": (*record.failures, failure)[-KEPT_FAILURES:],
                "not_before": None if dead else self.store_time() + wait,
                "error": error,
            }

        return self._swap(changes)

    def cancel(self, unwanted: Set[str]) -> JobRecord:
        """The inputs ``unwanted`` (sids) do not want the job any more: it is CANCELLED, claimable again, and the lease
        is lost by that. With anybody else among the subscribers, who joined meanwhile, this is a beat. `LeaseLost`.
        """

        def changes(record: JobRecord) -> dict[str, Any]:
            if any(waiting.sid not in unwanted for waiting in record.subscribers):
                return {}
            return {"state": "cancelled", "stage": "cancelled", "not_before": None}

        with self._lock:
            record = self._swap(changes)
            self._lost = self._lost or record.state == "cancelled"
            return record

    def leave_out(self, settled: Set[str]) -> JobRecord:
        """The inputs ``settled`` (sids) are done with: nothing is published for them when the job ends. `LeaseLost`."""
        return self._swap(
            lambda record: {"subscribers": tuple(one for one in record.subscribers if one.sid not in settled)}
        )

    def release(self, wait: float = 0.0) -> JobRecord:
        """Give the job back without charging an attempt, to be claimed again after ``wait`` seconds. `LeaseLost`."""
        return self._swap(lambda record: {"state": "waiting", "not_before": self.store_time() + wait if wait else None})

    def store_time(self) -> float:
        """The store's epoch seconds, reckoned on from the claim: exact enough for waits and for the commit's date."""
        started, store_time = self._claimed_at
        return store_time + self._records.clock.monotonic() - started

    def _swap(self, changes: Callable[[JobRecord], dict[str, Any]]) -> JobRecord:
        with self._lock:
            for _ in range(SWAP_TRIES):
                if self.lost or self._record.state != "running":  # a beat may come just after the commit
                    raise self._lose()
                started = self._records.clock.monotonic()
                mine = self._record.model_copy(update={**changes(self._record), "lease_age": 0.0})
                try:
                    self._etag, _ = self._records.write(mine, self._etag)
                except Conflict as conflict:
                    self._adopt(conflict.found)
                else:
                    self._record = mine
                    self.deadline = started + mine.lease_seconds
                    return mine
            raise LeaseLost(f"job {self._record.jid}: the record changed {SWAP_TRIES} times during one write")

    def _adopt(self, found: Found | None) -> None:
        """A refused swap, read again: still ours means that somebody joined; otherwise the lease is lost."""
        if found is None:
            raise self._lose()
        try:
            theirs = JobRecord.model_validate_json(found.body)
        except ValidationError:
            raise self._lose() from None
        mine = theirs.token == self.token and theirs.worker == self._records.worker
        if mine and theirs.state == "cancelled":
            self._record = theirs
        if not mine or theirs.state != "running":
            raise self._lose()
        self._record, self._etag = theirs, found.etag

    def _lose(self) -> LeaseLost:
        self._lost = True
        return LeaseLost(f"job {self._record.jid}: the lease with token {self.token} is lost")
