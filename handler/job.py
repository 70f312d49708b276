"""Claiming jobs: take a free one, join a held one, take over from the lost, answer for the finished.

Takes a store and identities; gives a `Lease` or the reason why there is none. Does not know what a job does, nor what
is published when it ends. Every method may raise `Unavailable` and `AccessDenied`.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from pydantic import ValidationError

from handler.answers import Busy, Finished, Identity, Later
from handler.clock import Clock
from handler.errors import LeaseLost, NewerFormat, NotFound, TooManyTakeovers, Unavailable
from handler.layout import Layout
from handler.lease import LONGEST_JITTER, SWAP_TRIES, Lease, Records
from handler.settings import Settings
from handler.store.base import Found, Store
from handler.store.swap import Conflict
from handler.types import JobRecord, Subscriber
from pipeline.errors import ErrorDetail, TooLong
from pipeline.formats.times import iso_time
from pipeline.types import FORMAT

log = logging.getLogger(__name__)

MAX_SUBSCRIBERS = 64  # the rest wait for the scan
_LIMITS = (TooLong.__name__,)  # errors of a setting, not of the recording
_REMEMBERED = 4096  # jobs
EXPIRY_SLACK = 2.0  # seconds: both of the store's times that make an age are whole seconds


class Jobs(Records):
    """Claims jobs for one worker. No other process, not even a later one of the same machine, may share its name:
    a running job under this name is taken for a claim of ours whose answer was lost.
    """

    def __init__(self, store: Store, layout: Layout, clock: Clock, settings: Settings, worker: str) -> None:
        super().__init__(store, layout, clock, settings, worker)
        self._met: dict[str, None] = {}  # jids of jobs that were asked for, the latest last

    def claim(self, job: Identity, subscriber: Subscriber, store_time: float) -> Lease | Busy | Later | Finished:
        """Take the job if it is free, join it if it is held. ``store_time``: the store's epoch seconds, as last seen.

        Creating first costs a new job no read at all; every other case starts from what refused the creation. A job
        that this worker has met before is read instead: then nothing has to be refused.
        """
        fresh = self._fresh(job, subscriber, store_time)
        found = self._met_before(job.jid)
        for _ in range(SWAP_TRIES):
            try:
                if found is None:
                    return self._lease(fresh, None, self.clock.monotonic(), store_time)
                return self._claim_existing(fresh, subscriber, found)
            except Conflict as conflict:
                found = conflict.found
        raise LeaseLost(f"job {job.jid}: the record changed {SWAP_TRIES} times while it was being claimed")

    def _met_before(self, jid: str) -> Found | None:
        """The job's record, where there is likely to be one; None also when it is gone."""
        known = jid in self._met
        self._met.pop(jid, None)
        self._met[jid] = None
        if len(self._met) > _REMEMBERED:
            del self._met[next(iter(self._met))]
        try:
            return self.store.get(self.layout.job_key(jid)) if known else None
        except NotFound:
            return None

    def reclaim(self, finished: Finished, subscriber: Subscriber) -> Lease:
        """Run a DONE job again because an artifact of its is gone. `Conflict` when somebody else was faster."""
        # Who waited for it before was served, or will be found by the scan.
        return self._take(finished.record, subscriber, finished.found, {"subscribers": ()})

    def revive(self, record: JobRecord, found: Found) -> None:
        """Make a dead, cancelled or degraded job claimable again (``dropscribe retry``). `Conflict` when it changed
        meanwhile. Nobody waits for it then: the next claim is by the input that is retried.
        """
        again = record.model_copy(
            update={
                "state": "waiting",
                "attempts": 0,
                "takeovers": 0,
                "not_before": None,
                "error": None,
                "lease_age": 0.0,
                "subscribers": (),
            }
        )
        self.write(again, found.etag)

    def withdraw(self, jid: str, sid: str) -> JobRecord | None:
        """The input ``sid`` does not wait for the job any more; with the last one gone, the job is CANCELLED.

        Gives the record as it is then, None if there is none that can be read. A job that has ended stays as it is: the
        input is still among its subscribers if that end is its own, too. `Unavailable` if the record keeps changing.
        """
        for _ in range(SWAP_TRIES):
            try:
                record, found = self.read(jid)
            except (NotFound, ValueError):
                return None
            if record.state not in ("running", "waiting") or not _waits(record, sid):
                return record
            left = tuple(waiting for waiting in record.subscribers if waiting.sid != sid)
            ended = {} if left else {"state": "cancelled", "stage": "cancelled", "not_before": None}
            age = record.lease_age + found.age if record.state == "running" else 0.0  # as for a joiner: not renewed
            without = record.model_copy(update={"subscribers": left, "lease_age": age, **ended})
            try:
                self.write(without, found.etag)
                return without
            except Conflict:
                continue
        raise Unavailable(f"job {jid}: its record keeps changing", "Try again.")

    def _fresh(self, job: Identity, subscriber: Subscriber, store_time: float) -> JobRecord:
        return JobRecord(
            jid=job.jid,
            content=job.content,
            options=job.options,
            model=job.model,
            companions=job.companions,
            state="running",
            token=int(store_time),
            worker=self.worker,
            lease_seconds=self.settings.lease_seconds,
            subscribers=(subscriber,),
            queued_at=subscriber.queued_at,
            started_at=iso_time(store_time),
        )

    def _claim_existing(
        self, fresh: JobRecord, subscriber: Subscriber, found: Found
    ) -> Lease | Busy | Later | Finished:
        try:
            record = JobRecord.model_validate_json(found.body)
        except ValidationError:
            _refuse_newer(fresh.jid, found.body)
            self._read_again(fresh.jid, found)
            log.error("job %s: its record is unreadable and is written anew", fresh.jid)
            anew = fresh.model_copy(
                update={"token": max(fresh.token, int(found.store_time)), "started_at": iso_time(found.store_time)}
            )
            return self._lease(anew, found.etag, self.clock.monotonic(), found.store_time)
        if record.state == "done":
            return Finished(record, found)
        if record.state == "dead":
            # Failed for good, or for this very input: the answer stands. Dropped again after failures that may pass: a
            # new try.
            known = _waits(record, subscriber.sid)
            if known or not _may_pass(record.error):
                return Finished(record, found)
            return self._take(record, subscriber, found, {"attempts": 0, "takeovers": 0, "subscribers": ()})
        if record.state == "cancelled":
            return self._take(record, subscriber, found, {"attempts": 0, "takeovers": 0, "subscribers": ()})
        if record.state == "waiting":
            left = self._left(record, found)
            if left > 0:
                joined = self._join(record, subscriber, found)
                since_now = joined and not _waits(record, subscriber.sid)
                return Later(record, left, since_now)
            return self._take(record, subscriber, found, {})
        if record.worker == self.worker:  # our own claim, whose answer was lost: nobody is at work on it
            return self._take(record, subscriber, found, {})
        if record.lease_age + found.age <= record.lease_seconds + EXPIRY_SLACK:
            joined = self._join(record, subscriber, found)
            return Busy(record, joined, joined and not _waits(record, subscriber.sid))
        return self._take_over(record, subscriber, found)

    def _left(self, record: JobRecord, found: Found) -> float:
        """Seconds until a waiting job may be claimed. At most as many as it can have been told to wait: a Date that was
        wrong for one answer must not put it off for as long as that was.
        """
        if record.not_before is None:
            return 0.0
        longest = self.settings.backoff_seconds * 2.0 ** max(0, record.attempts - 1) * LONGEST_JITTER + EXPIRY_SLACK
        return min(record.not_before - found.store_time, longest - found.age)

    def _read_again(self, jid: str, unreadable: Found) -> None:
        """A record is believed to be damaged only if it comes so twice: it may have been damaged on the way, and it is
        somebody's. `Conflict` with what came instead.
        """
        key = self.layout.job_key(jid)
        try:
            again = self.store.get(key)
        except NotFound:
            raise Conflict(key, None) from None
        if again.body != unreadable.body:
            raise Conflict(key, again)

    def _take_over(self, record: JobRecord, subscriber: Subscriber, found: Found) -> Lease | Finished:
        if record.takeovers < self.settings.max_takeovers:
            log.warning("job %s: taking over from %s, whose lease ran out", record.jid, record.worker)
            return self._take(record, subscriber, found, {"takeovers": record.takeovers + 1})
        error = TooManyTakeovers(f"{record.takeovers + 1} workers were lost while they had this job").to_detail()
        dead = record.model_copy(
            update={
                "state": "dead",
                "stage": "failed",
                "error": error,
                "token": self._next_token(record, found),
                "subscribers": _with(record.subscribers, subscriber),
                "lease_age": 0.0,
            }
        )
        etag, body = self.write(dead, found.etag)
        return Finished(dead, Found(body, etag, 0.0, found.store_time))

    def _next_token(self, record: JobRecord, found: Found) -> int:
        return max(int(found.store_time), record.token + 1)

    def _take(self, record: JobRecord, subscriber: Subscriber, found: Found, changes: dict[str, Any]) -> Lease:
        started = self.clock.monotonic()
        mine = record.model_copy(
            update={
                "state": "running",
                "token": self._next_token(record, found),
                "worker": self.worker,
                "lease_seconds": self.settings.lease_seconds,
                "lease_age": 0.0,
                "not_before": None,
                "stage": "queued",
                "percent": 0.0,
                "started_at": iso_time(found.store_time),
                "committed_at": None,
                "result": None,
                "facts": None,
                "error": None,
                **changes,
                "subscribers": _with(changes.get("subscribers", record.subscribers), subscriber),
            }
        )
        return self._lease(mine, found.etag, started, found.store_time)

    def _join(self, record: JobRecord, subscriber: Subscriber, found: Found) -> bool:
        """Add the input to a job that somebody else has. The lease's age is carried over, not renewed."""
        if subscriber in record.subscribers:
            return True
        joint = _with(record.subscribers, subscriber)
        if len(joint) > MAX_SUBSCRIBERS:
            return False
        joined = record.model_copy(
            update={
                "subscribers": joint,
                "lease_age": record.lease_age + found.age if record.state == "running" else 0.0,
            }
        )
        self.write(joined, found.etag)
        return True

    def _lease(self, record: JobRecord, etag: str | None, started: float, store_time: float) -> Lease:
        written, _ = self.write(record, etag)
        return Lease(self, record, written, started, store_time, created=etag is None)


def _may_pass(error: ErrorDetail | None) -> bool:
    """Whether a job that died of this may fare better when the same bytes are dropped again."""
    return error is not None and (error.retryable or error.error_class in _LIMITS)


def _refuse_newer(jid: str, body: bytes) -> None:
    """`NewerFormat` if this is a record of a later version: it may be another worker's running job."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return
    version = value.get("format") if isinstance(value, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise NewerFormat(f"job {jid}: its record has format {version}, this worker knows {FORMAT}")


def _with(subscribers: tuple[Subscriber, ...], subscriber: Subscriber) -> tuple[Subscriber, ...]:
    """One more waits, unless that input waits already. The claimer's own always fits: the limit is for joiners."""
    if any(waiting.sid == subscriber.sid for waiting in subscribers):  # its tags may have changed since
        return tuple(subscriber if waiting.sid == subscriber.sid else waiting for waiting in subscribers)
    return (*subscribers, subscriber)


def _waits(record: JobRecord, sid: str) -> bool:
    return any(waiting.sid == sid for waiting in record.subscribers)
