"""How a job's end reaches everybody who waits for it: which inputs, with which token, and what is counted.

Between the loop, which knows why a job ended, and `handler.publish`, which knows how one input's outputs are written.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from handler.cancel import Cancelled
from handler.ending import Ending
from handler.lease import Lease
from handler.observer import Observer
from handler.publish import Publisher, Verdict
from handler.stats import Stats
from handler.types import JobRecord, Subscriber
from handler.worker.attempt import Committed
from handler.worker.intake import Noticed
from handler.worker.report import Report
from pipeline.errors import EngineFailure, ErrorDetail, sentence

log = logging.getLogger(__name__)

_OUTCOMES: dict[Verdict, str] = {"written": "completed", "superseded": "cancelled", "unpublishable": "failed"}


@dataclass(frozen=True, slots=True)
class Tally:
    """What a worker did: inputs by outcome."""

    completed: int = 0
    cached: int = 0  # of the completed: without any stage run for them
    failed: int = 0
    cancelled: int = 0
    ahead: int = 0  # jobs whose recording had been fetched while the one before was under way


class Endings:
    def __init__(self, publisher: Publisher, worker: str, observer: Observer) -> None:
        self.stats = Stats()
        self._observer = observer
        self._publisher = publisher
        self._worker = worker
        self._counts: Counter[str] = Counter()

    @property
    def tally(self) -> Tally:
        return Tally(**self._counts)

    def fetched_ahead(self) -> None:
        """A job begins with a recording that was there already."""
        self._counts["ahead"] += 1

    def _ended(self, outcome: str, *, cached: bool = False) -> None:
        """One input. ``cached``: completed without any stage run for it."""
        self._counts[outcome] += 1
        self._counts["cached"] += cached
        self._observer.ended("cached" if cached else outcome)

    def _made(self, cached: Iterable[str], saved: float, stages: dict[str, float]) -> None:
        """One job came to its result."""
        hits = tuple(cached)
        self.stats.job(hits=len(hits), saved=saved, stages=stages)
        self._observer.cached(hits, saved)

    def committed(self, outcome: Committed, lease: Lease, report: Report, own: str) -> bool:
        """A job that was run here: publish for everybody who waits for it. ``own``: the sid it was claimed for; False
        if that was left to a later claim.
        """
        left = False
        record = outcome.record
        self._made(outcome.cached, outcome.saved_seconds, outcome.timings)
        if record.facts is not None and not outcome.cached:
            self._observer.job_took(record.facts.duration, outcome.seconds)
        for subscriber in record.subscribers:
            ending = Ending(
                subscriber=subscriber,
                token=lease.token,
                store_time=lease.store_time(),
                worker=self._worker,
                jid=record.jid,
                attempts=record.attempts + 1,
                cached_stages=outcome.cached,
                timings=tuple(outcome.timings.items()),
                started_at=record.started_at,
            )
            verdict = self._publisher.completed(ending, record, outcome.results, report.writer(subscriber))
            if verdict == "older":
                left = left or subscriber.sid == own
                continue
            self._ended(_OUTCOMES[verdict])
        return not left

    def known(self, noticed: Noticed, subscriber: Subscriber, record: JobRecord, results: bytes) -> bool:
        """A job that was done before: publish for this input alone. False if that was left to a later claim."""
        log.info("%s: known already, job %s", subscriber.key, record.jid[:16])
        ending = Ending(
            subscriber=subscriber,
            token=_before_any_claim_since(noticed, record),
            store_time=noticed.info.store_time,
            worker=self._worker,
            jid=record.jid,
            attempts=record.attempts + 1,
            cached_stages=tuple(record.stages),
            started_at=subscriber.queued_at,
        )
        verdict = self._publisher.completed(ending, record, results)
        if verdict == "older":
            return False
        self._made(record.stages, sum(record.timings.values()), {})
        self._ended(_OUTCOMES[verdict], cached=verdict == "written")
        return True

    def dead(self, record: JobRecord, lease: Lease, report: Report, own: str) -> bool:
        """A job that died here: everybody who waits for it is told. As `committed`."""
        left = False
        for subscriber in record.subscribers:
            ending = self._of_dead(record, subscriber, lease.token, lease.store_time())
            verdict = self._failed(ending, _error_of(record), record, report)
            left = left or (verdict == "older" and subscriber.sid == own)
        return not left

    def cancelled(self, lease: Lease, report: Report, own: Subscriber) -> None:
        """A job that nobody wants any more: whoever still waits for it is told. Who cancelled ``own`` has told it."""
        waiting = {subscriber.sid: subscriber for subscriber in lease.record.subscribers}
        for subscriber in waiting.values():
            ending = self._of_dead(lease.record, subscriber, lease.token, lease.store_time())
            self._publisher.cancelled(ending, report.writer(subscriber))
        for subscriber in {own.sid: own, **waiting}.values():
            log.info("%s: cancelled", subscriber.key)
            self._ended("cancelled")

    def known_dead(self, noticed: Noticed, subscriber: Subscriber, record: JobRecord) -> bool:
        """A job that had died before: this input is told. False if that was left to a later claim."""
        ending = self._of_dead(record, subscriber, _before_any_claim_since(noticed, record), noticed.info.store_time)
        return self._failed(ending, _error_of(record), record, None) != "older"

    def gone(self, cancelled: Cancelled | None) -> bool:
        """What became of an input that waited, if its recording had gone. Whether it is settled by now."""
        if cancelled is not None and cancelled.outcome == "cancelled":
            self._ended("cancelled")
        return cancelled is not None and cancelled.outcome != "too_late"

    def refused(self, noticed: Noticed, subscriber: Subscriber, error: ErrorDetail, attempts: int) -> bool:
        """An input that never became a job. False if its end was left to a later claim."""
        store_time = noticed.info.store_time
        ending = Ending(
            subscriber=subscriber,
            token=int(store_time),
            store_time=store_time,
            worker=self._worker,
            attempts=attempts,
        )
        return self._failed(ending, error, None, None) != "older"

    def _of_dead(self, record: JobRecord, subscriber: Subscriber, token: int, store_time: float) -> Ending:
        return Ending(
            subscriber=subscriber,
            token=token,
            store_time=store_time,
            worker=self._worker,
            jid=record.jid,
            attempts=record.attempts,
            started_at=record.started_at,
        )

    def _failed(self, ending: Ending, error: ErrorDetail, dead: JobRecord | None, report: Report | None) -> Verdict:
        log.error("%s: failed: %s", ending.subscriber.key, sentence(error.message, error.hint))
        writer = report.writer(ending.subscriber) if report is not None else None
        verdict = self._publisher.failed(ending, error, dead=dead, writer=writer)
        if verdict != "older":
            self._ended("cancelled" if verdict == "superseded" else "failed")
        return verdict


def _before_any_claim_since(noticed: Noticed, record: JobRecord) -> int:
    """The token of an end that was read in a record: lower than that of whoever claims the job anew after the input was
    noticed, be it in the same second.
    """
    return max(record.token, int(noticed.info.store_time) - 1)


def _error_of(record: JobRecord) -> ErrorDetail:
    return record.error or EngineFailure("the job's record gives no reason").to_detail()
