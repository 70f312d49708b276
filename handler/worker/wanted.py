"""Who still waits for what: inputs that were cancelled, deleted or replaced before their job ended.

Takes leases and subscribers; asks the bucket. Knows neither engines nor when it is asked.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from functools import partial

from handler.cancel import Cancel, Cancelled
from handler.clock import Clock
from handler.errors import BadKey, StoreError
from handler.job import Jobs
from handler.layout import job_id_of
from handler.lease import Lease
from handler.progress import write_manifest
from handler.publish import Publisher
from handler.types import JobRecord, Manifest, Subscriber
from handler.worker.report import Report
from pipeline.formats.times import iso_time

log = logging.getLogger(__name__)


class Wanted:
    def __init__(self, jobs: Jobs, publisher: Publisher, clock: Clock) -> None:
        self._jobs = jobs
        self._publisher = publisher
        self._clock = clock
        self._cancel = Cancel(jobs)

    def by_anybody(self, lease: Lease) -> bool:
        """Whether any input of a running job is still there, and not cancelled. Mostly two requests: the first is."""
        return any(
            self._publisher.is_current(subscriber) and not self._cancel.is_asked(subscriber)
            for subscriber in lease.record.subscribers
        )

    def withdraw_if_asked(self, lease: Lease, report: Report, subscriber: Subscriber) -> None:
        """For an input that was cancelled before its manifest named the job. `LeaseLost` when nobody else waits."""
        if self._cancel.is_asked(subscriber):
            self._cancel.carry_out(subscriber, lease.store_time(), lease.record.jid)
            lease.beat(**report.pointers())

    def tell_cancelled(self, settled: Iterable[Subscriber], lease: Lease) -> None:
        """Inputs that have left the job, those of them that were cancelled: their manifests say so, once more if an
        attempt at the job that knew nothing of it has written over them.
        """
        for subscriber in settled:
            if self._cancel.is_asked(subscriber):
                self._cancel.carry_out(subscriber, lease.store_time(), lease.record.jid)

    def joined(self, subscriber: Subscriber, record: JobRecord, store_time: float) -> bool:
        """An input waits for somebody else's job from now on: its manifest says so. False if it was cancelled."""
        manifest = Manifest(
            job_id=job_id_of(record.jid, subscriber.sid), jid=record.jid, source_id=subscriber.sid, key=subscriber.key,
            status="queued", stage="queued", percent=0.0, message="Waiting for the same recording to be done.",
            attempt=record.attempts + 1,
            token=max(0, record.token - 1),  # never in the place of one that the holder of the lease wrote
            queued_at=subscriber.queued_at, updated_at=iso_time(store_time), worker=self._jobs.worker,
        )  # fmt: skip
        with contextlib.suppress(BadKey):  # met again by whoever publishes
            is_current = partial(self._publisher.is_current, subscriber)
            jobs = self._jobs
            write_manifest(jobs.store, jobs.layout, self._clock, manifest, etag=None, is_current=is_current)
        if not self._cancel.is_asked(subscriber):
            return True
        self._cancel.carry_out(subscriber, store_time, record.jid)
        return False

    def cancel_if_gone(self, subscriber: Subscriber) -> Cancelled | None:
        """An input that waits for its next attempt, and may be in no listing any more. Unless None, its recording was
        deleted or replaced, and this is what became of it. Store errors are logged: it is no more than tidying up.
        """
        try:
            if self._publisher.is_current(subscriber):
                return None
            done = self._cancel.gone(subscriber, self._clock.time())
        except StoreError as error:
            log.warning("%s: %s", subscriber.key, error.message)
            return None
        if done.outcome == "cancelled":
            log.info("%s: cancelled", subscriber.key)
        return done
