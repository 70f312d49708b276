"""From an identified input to its end, or as far as it goes now: claim its job, join it, or run it; publish.

Takes who the job is; says whether the input is settled. Knows nothing of how inputs are found or identified.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from handler.answers import Busy, Finished, Later
from handler.cache import StageCache
from handler.child import Engine
from handler.clock import Clock
from handler.errors import Changed, HandlerError, LeaseLost, NotFound, StoreError
from handler.job import Jobs
from handler.layout import Layout, job_id_of
from handler.lease import Lease
from handler.observer import Observer
from handler.progress import ManifestWriter
from handler.publish import Publisher
from handler.settings import Settings
from handler.store.base import Store
from handler.store.swap import Conflict
from handler.types import JobRecord, Subscriber
from handler.worker.attempt import Attempt, Committed
from handler.worker.endings import Endings
from handler.worker.heart import Heart, Pulse
from handler.worker.intake import Intake, Noticed, Work
from handler.worker.lookout import Interrupted
from handler.worker.memory import LOOK_AGAIN_SECONDS, Memory
from handler.worker.recording import Recording
from handler.worker.report import Report
from handler.worker.wanted import Wanted
from pipeline.errors import ErrorDetail, ModelUnavailable, PipelineError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Errand:
    """Who sent the worker to an input: nobody (the scan), or a message, which wants to hear that work goes on.

    ``begun`` is called when something long starts, perhaps again and again, ``extend`` with every heartbeat, from the
    heart's thread. ``left``: called again and again while the engine is at a job that takes longer, with the seconds
    that it is likely to take from then on, None where nobody knows.
    """

    begun: Callable[[], None] = lambda: None
    extend: Callable[[], None] = lambda: None
    left: Callable[[float | None], None] = lambda seconds: None
    again: bool = False  # told before: somebody may have done part of it


class Claims:
    """``lease`` is the one of the job under way. ``meanwhile``: called again and again while the engine is at a job
    that takes longer.
    """

    def __init__(
        self,
        store: Store,
        layout: Layout,
        settings: Settings,
        clock: Clock,
        engine: Engine,
        scratch: Path,
        *,
        jobs: Jobs,
        intake: Intake,
        publisher: Publisher,
        wanted: Wanted,
        memory: Memory,
        stop: threading.Event,
        heart: Heart,
        observer: Observer,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._layout = layout
        self._settings = settings
        self._clock = clock
        self._engine = engine
        self._scratch = scratch
        self._jobs = jobs
        self._intake = intake
        self._cache = StageCache(store, layout, clock, scratch, settings.inline_bytes)
        self._publisher = publisher
        self._wanted = wanted
        self._memory = memory
        self._stop = stop
        self._heart = heart
        self._meanwhile = meanwhile
        self._observer = observer
        self.endings = Endings(publisher, jobs.worker, observer)
        self.lease: Lease | None = None

    def see(self, noticed: Noticed, work: Work, errand: Errand) -> bool:
        """True when the input is settled; else the memory says when to look again. What goes wrong is raised."""
        claim = self._jobs.claim(work.identity, work.subscriber, noticed.store_time(self._clock))
        try:
            work.hashed.result()  # nothing is said of an input whose hash is not known to all
        except StoreError:
            if isinstance(claim, Lease):
                with contextlib.suppress(HandlerError):  # then it ages out
                    claim.release()
            raise
        if isinstance(claim, Finished) and claim.record.state == "done":
            results = self._stored_results(claim.record)
            if results is not None:
                told = self.endings.known(noticed, work.subscriber, claim.record, results)
                return self.unless_left(noticed.sid, told)
            try:
                claim = self._jobs.reclaim(claim, work.subscriber)  # its result was evicted
            except Conflict:
                claim = Later(claim.record, LOOK_AGAIN_SECONDS)
        if isinstance(claim, Finished):
            return self.unless_left(noticed.sid, self.endings.known_dead(noticed, work.subscriber, claim.record))
        if isinstance(claim, Busy | Later):
            self._memory.taken += isinstance(claim, Busy)
            store_time = noticed.store_time(self._clock)
            if claim.joined and not self._wanted.joined(work.subscriber, claim.record, store_time):
                return True
            self._later(noticed.sid, claim.seconds if isinstance(claim, Later) else LOOK_AGAIN_SECONDS)
            return False
        if self._settled_meanwhile(claim):
            return True
        errand.begun()
        return self._run(claim, noticed, work, errand)

    def unless_left(self, sid: str, told: bool) -> bool:
        """An end that was left to a later claim is looked at again: that claim may come to nothing."""
        if not told:
            self._later(sid, LOOK_AGAIN_SECONDS)
        return told

    def _settled_meanwhile(self, lease: Lease) -> bool:
        """Whether every input of the job was seen to its end already: between our look at its marker and the claim, or
        under other options since the job's last attempt. Then the job is let go of. Otherwise such inputs do not wait
        for it any more: they have their results, or were cancelled. A new record needs no such look.
        """
        if lease.created:
            return False
        waiting = lease.record.subscribers
        done = [subscriber for subscriber in waiting if self._intake.settled(subscriber.sid)]
        settled, let_go = {subscriber.sid for subscriber in done}, False
        if len(done) == len(waiting):
            let_go = lease.cancel(settled).state == "cancelled"
        elif done:
            lease.leave_out(settled)
        self._wanted.tell_cancelled(done, lease)
        return let_go

    def _run(self, lease: Lease, noticed: Noticed, work: Work, errand: Errand) -> bool:
        key, jid, number = noticed.subscriber.key, lease.record.jid, lease.record.attempts + 1
        self._observer.job_begins(job_id_of(jid, noticed.sid), key, number)
        try:
            log.info("%s: job %s, attempt %d", key, jid[:16], number)
            return self._to_its_end(lease, noticed, work, errand)
        finally:
            self._observer.job_over()

    def _to_its_end(self, lease: Lease, noticed: Noticed, work: Work, errand: Errand) -> bool:
        writers = partial(self._writer, noticed.sid)
        report = Report(lease, self._clock, self._jobs.worker, writers, self._observer)
        attempt = Attempt(
            lease=lease,
            options=work.options,
            model=work.model,
            companions=work.companions,
            cache=self._cache,
            engine=self._engine,
            clock=self._clock,
            settings=self._settings,
            scratch=self._scratch,
            report=report,
            stop=self._stop,
            heart=self._heart,
            pulse=Pulse(
                lease, report, self._settings.beat_seconds, partial(self._wanted.by_anybody, lease), errand.extend
            ),
            fetch=partial(self._recording, noticed, work),
            still_wanted=partial(self._wanted.withdraw_if_asked, lease, report, work.subscriber),
            meanwhile=partial(self._while_at_it, errand),
        )
        self.lease = lease
        try:
            outcome = attempt.run()
        except (Interrupted, ModelUnavailable, StoreError) as error:
            if work.subscriber.sid in self._give_back(error, lease, report):
                return True
            raise
        except LeaseLost:
            if not lease.cancelled:
                self._observer.lease_lost()
                raise
            self.endings.cancelled(lease, report, work.subscriber)
            return True
        if isinstance(outcome, Committed):
            return self.unless_left(noticed.sid, self.endings.committed(outcome, lease, report, noticed.sid))
        if outcome.record.state == "dead":
            return self.unless_left(noticed.sid, self.endings.dead(outcome.record, lease, report, noticed.sid))
        self._wait_for_next(outcome.record, outcome.error, lease, report)
        return False

    def _while_at_it(self, errand: Errand, left: float | None) -> None:
        errand.left(left)
        self._meanwhile()

    def _recording(self, noticed: Noticed, work: Work) -> Recording:
        recording = work.recording or self._intake.recording(noticed.info)
        if recording.ahead:
            log.info("%s was fetched ahead", noticed.source.key)
            self.endings.fetched_ahead()
        return recording

    def _give_back(self, error: HandlerError | PipelineError, lease: Lease, report: Report) -> set[str]:
        """Who waits for a job that was given back is told; whose recording has gone meanwhile is cancelled, because no
        scan shows it any more. The latter's sids.
        """
        gone: set[str] = set()
        look = isinstance(error, Interrupted | NotFound | Changed)  # of a store without answers nothing is asked
        with contextlib.suppress(StoreError):
            for subscriber in lease.record.subscribers:
                done = self._wanted.cancel_if_gone(subscriber) if look else None
                if self.endings.gone(done):
                    gone.add(subscriber.sid)
                    continue
                self._memory.between[subscriber.sid] = subscriber
                report.queued(subscriber, f"Given back: {error.message}.")
        return gone

    def _wait_for_next(self, record: JobRecord, error: ErrorDetail, lease: Lease, report: Report) -> None:
        wait = max(0.0, (record.not_before or 0.0) - lease.store_time())
        message = f"Attempt {record.attempts} failed: {error.message}. The next one follows in {wait:.0f} s."
        for subscriber in record.subscribers:
            log.warning("%s: %s", subscriber.key, message)
            report.queued(subscriber, message)
            self._later(subscriber.sid, wait)
            self._memory.between[subscriber.sid] = subscriber

    def _later(self, sid: str, seconds: float) -> None:
        self._memory.not_before[sid] = self._clock.monotonic() + seconds

    def _stored_results(self, record: JobRecord) -> bytes | None:
        hit = self._cache.get(record.result) if record.result is not None and record.facts is not None else None
        return hit.body if hit is not None else None

    def _writer(self, own: str, subscriber: Subscriber) -> ManifestWriter:
        """Others who wait for the same job get a manifest at each change of stage, the claimer more often."""
        return ManifestWriter(
            self._store,
            self._layout,
            self._clock,
            least_seconds=self._settings.progress_seconds if subscriber.sid == own else float("inf"),
            is_current=lambda: self._publisher.is_current(subscriber),
        )
