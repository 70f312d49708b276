"""One input seen to its end, or as far as it goes now: noticed, identified, claimed, run, published.

Takes a candidate (from the scan) or a notice's key; says whether that input is settled. Remembers between calls which
inputs need not be looked at yet. Knows nothing of when or in which order inputs come.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Set
from dataclasses import dataclass
from functools import partial

from handler.cache import StageCache
from handler.child import Engine
from handler.clock import Clock
from handler.errors import AccessDenied, Changed, HandlerError, LeaseLost, NotFound, StoreError
from handler.job import Busy, Finished, Jobs, Later
from handler.layout import Layout, is_recording
from handler.lease import Lease
from handler.progress import ManifestWriter
from handler.publish import Publisher
from handler.settings import Settings
from handler.store.base import Store
from handler.store.swap import Conflict
from handler.types import Content, JobRecord, Member, Subscriber
from handler.watch import Candidate
from handler.worker.attempt import Attempt, Committed, Interrupted
from handler.worker.endings import Endings
from handler.worker.heart import Heart, Pulse
from handler.worker.intake import Intake, Noticed, Work
from handler.worker.memory import LOOK_AGAIN_SECONDS, Memory
from handler.worker.report import Report
from handler.worker.scratch import Scratch
from handler.worker.wanted import Wanted
from pipeline.errors import ErrorDetail, ModelUnavailable, PipelineError, sentence

log = logging.getLogger(__name__)

STALE_SECONDS = 1.0  # after so long, what a listing said of a marker is asked again


@dataclass(frozen=True, slots=True)
class Errand:
    """Who sent the worker to an input: nobody (the scan), or a message, which wants to hear that work goes on.

    ``begun`` is called before anything long starts, ``extend`` with every heartbeat, from the heart's thread.
    """

    begun: Callable[[], None] = lambda: None
    extend: Callable[[], None] = lambda: None
    again: bool = False  # told before: somebody may have done part of it


class Inputs:
    def __init__(
        self,
        store: Store,
        layout: Layout,
        settings: Settings,
        clock: Clock,
        engine: Engine,
        scratch: Scratch,
        *,
        name: str,
        stop: threading.Event,
        heart: Heart,
    ) -> None:
        self._store = store
        self._layout = layout
        self._settings = settings
        self._clock = clock
        self._engine = engine
        self._scratch = scratch
        self._name = name
        self._stop = stop
        self._heart = heart
        self._jobs = Jobs(store, layout, clock, settings, name)
        self._intake = Intake(store, layout, clock, settings, scratch.path, self._go_on)
        self._cache = StageCache(store, layout, clock, scratch.path, settings.inline_bytes)
        self._publisher = Publisher(store, layout, clock)
        self._wanted = Wanted(self._jobs, self._publisher, clock)
        self.endings = Endings(self._publisher, name)
        self.memory = Memory()
        self.lease: Lease | None = None  # of the job under way
        self.listed_at = float("inf")  # this machine's monotonic seconds of the listing that candidates come from
        self.taken = 0  # looks at inputs that turned out to be in other hands, or settled by them

    def keep_only(self, unsettled: Set[str]) -> None:
        """Forget what a scan does not show any more. Who was deleted or replaced between two attempts is cancelled."""
        for sid, subscriber in self.memory.between.items():
            if sid not in unsettled:
                self._wanted.cancel_if_gone(subscriber)
        self.memory.keep_only(unsettled)

    def wait_for(self, sid: str) -> float:
        """Seconds until it makes sense to look at this input again; 0 when it does now."""
        return max(0.0, self.memory.not_before.get(sid, 0.0) - self._clock.monotonic())

    def see(self, candidate: Candidate, options: Set[str]) -> bool:
        """An input as a listing shows it; everything that is its own affair is caught. True when it is settled."""
        return self._safely(candidate.source.key, candidate.sid, lambda: self.handle(candidate, options))

    def see_key(self, key: str, errand: Errand) -> tuple[bool, float]:
        """An input that a message names, by its key in the store. True when there is nothing left to do for it, else in
        how many seconds to come again.
        """
        if not key.startswith(self._layout.input) or not is_recording(key.removeprefix(self._layout.input)):
            return True, 0.0
        try:
            noticed = self._intake.notice(key)
        except NotFound:
            return True, 0.0
        except StoreError as error:  # one that may not be read is the scan's to report
            log.error("%s: %s", key, sentence(error.message, error.hint))
            return False, LOOK_AGAIN_SECONDS
        sid = noticed.sid
        settled = self._safely(noticed.source.key, sid, lambda: self._told(noticed, errand))
        return settled, 0.0 if settled else self.wait_for(sid)

    def _told(self, noticed: Noticed, errand: Errand) -> bool:
        if self._intake.settled(noticed.sid):
            return True
        if self.wait_for(noticed.sid):
            return False
        # Somebody may have hashed it already, but hardly in the first seconds of its life.
        fresh = not errand.again and noticed.info.store_time - noticed.info.modified < self._settings.lease_seconds
        known = None if fresh else self._intake.known(noticed.source.sid)
        return self._take(noticed, known, None, errand, noticed.at)

    def _safely(self, key: str, sid: str, see: Callable[[], bool]) -> bool:
        try:
            return see()
        except Interrupted:
            return False
        except ModelUnavailable:
            raise
        except (NotFound, Changed):
            log.info("%s: deleted or replaced meanwhile", key)
        except LeaseLost as error:
            log.warning("%s: %s", key, error.message)
        except HandlerError as error:
            log.error("%s: %s", key, sentence(error.message, error.hint))
            self.later(sid, self.memory.patience(sid))
            return False
        except OSError as error:  # of the work directory
            log.error("%s: %s; looked at again later", key, error)
        except Exception:
            log.exception("%s: an error of ours; looked at again later", key)
        self.later(sid, LOOK_AGAIN_SECONDS)
        return False

    def handle(self, candidate: Candidate, options: Set[str] | None = None) -> bool:
        """See one input to its end, or as far as it goes now. True when it is settled. ``options``: as in
        `OptionsFinder`.
        """
        # The earliest trace that an input leaves is asked for first: a new one costs no look at its settled marker, and
        # one that was settled since the listing (or is heard of twice) costs no more than these two requests.
        known, listed_at = self._intake.known(candidate.source.sid), self.listed_at
        if known is not None or self._is_long_ago(listed_at):
            listed_at = self._clock.monotonic()
            if self._intake.settled(candidate.sid):
                self.taken += 1
                return True
        try:
            noticed = self._intake.notice(candidate.info.key, candidate.asked)
        except AccessDenied as error:
            unread = self._intake.unread(candidate.info, candidate.asked)
            return self._trouble(unread, unread.subscriber, error)
        if noticed.source.sid != candidate.source.sid:
            raise Changed(f"{noticed.source.key} is another version than the listing showed")
        member = noticed.subscriber.member
        if member is not None and not self._is_asked_for(member):
            raise Changed(f"{member.batch_key} was cancelled, deleted or replaced")  # the next scan ends it
        return self._take(noticed, known, options, Errand(), listed_at)

    def _take(
        self, noticed: Noticed, known: Content | None, options: Set[str] | None, errand: Errand, asked_at: float
    ) -> bool:
        """``asked_at``: this machine's monotonic seconds of the last look at the settled marker."""
        subscriber, own_model = noticed.subscriber, True
        try:
            self._intake.check(noticed)
            parsed, subscriber = self._intake.options(noticed, options)
            own_model = parsed.options.model is None
            work = self._intake.identify(noticed, parsed, subscriber, known)
        except ModelUnavailable as error:
            if own_model:
                raise
            return self._trouble(noticed, subscriber, error)
        except (StoreError, Interrupted) as error:
            if not isinstance(error, AccessDenied):
                raise
            return self._trouble(noticed, subscriber, error)
        except (HandlerError, PipelineError) as error:
            return self._trouble(noticed, subscriber, error)
        try:
            if self._is_long_ago(asked_at) and self._intake.settled(noticed.sid):  # the download took its time
                self.taken += 1
                return True
            return self._claim(noticed, work, errand)
        finally:
            if work.recording is not None:
                work.recording.unlink(missing_ok=True)

    def _is_asked_for(self, member: Member) -> bool:
        """Whether the batch that asked still lies there, and is open."""
        lies_there = self._publisher.holds(member.batch_key, member.batch_sid)
        return lies_there and not self._intake.settled(member.batch_sid)

    def _is_long_ago(self, asked_at: float) -> bool:
        return self._clock.monotonic() - asked_at > STALE_SECONDS

    def _claim(self, noticed: Noticed, work: Work, errand: Errand) -> bool:
        claim = self._jobs.claim(work.identity, work.subscriber, noticed.store_time(self._clock))
        if isinstance(claim, Finished) and claim.record.state == "done":
            results = self._stored_results(claim.record)
            if results is not None:
                self.endings.known(noticed, work.subscriber, claim.record, results)
                return True
            try:
                claim = self._jobs.reclaim(claim, work.subscriber)  # its result was evicted
            except Conflict:
                claim = Later(claim.record, LOOK_AGAIN_SECONDS)
        if isinstance(claim, Finished):
            self.endings.known_dead(noticed, work.subscriber, claim.record)
            return True
        if isinstance(claim, Busy | Later):
            self.taken += isinstance(claim, Busy)
            store_time = noticed.store_time(self._clock)
            if claim.joined and not self._wanted.joined(work.subscriber, claim.record, store_time):
                return True
            self.later(noticed.sid, claim.seconds if isinstance(claim, Later) else LOOK_AGAIN_SECONDS)
            return False
        if self._settled_meanwhile(claim):
            return True
        errand.begun()
        return self._run(claim, noticed, work, errand)

    def _settled_meanwhile(self, lease: Lease) -> bool:
        """Whether somebody saw this input to its end between our look at its marker and the claim: then the job is let
        go of. A new record needs no such look.
        """
        waiting = lease.record.subscribers
        if lease.created or len(waiting) > 1 or not self._intake.settled(waiting[0].sid):
            return False
        lease.cancel({waiting[0].sid})
        return True

    def _run(self, lease: Lease, noticed: Noticed, work: Work, errand: Errand) -> bool:
        log.info("%s: job %s, attempt %d", noticed.subscriber.key, lease.record.jid[:16], lease.record.attempts + 1)
        report = Report(lease, self._clock, self._name, partial(self._writer, noticed.sid))
        attempt = Attempt(
            lease=lease,
            options=work.options,
            model=work.model,
            cache=self._cache,
            engine=self._engine,
            clock=self._clock,
            settings=self._settings,
            scratch=self._scratch.path,
            report=report,
            stop=self._stop,
            heart=self._heart,
            pulse=Pulse(
                lease, report, self._settings.beat_seconds, partial(self._wanted.by_anybody, lease), errand.extend
            ),
            fetch=lambda: work.recording or self._intake.download(noticed.info)[0],
            still_wanted=partial(self._wanted.withdraw_if_asked, lease, report, work.subscriber),
        )
        self.lease = lease
        try:
            outcome = attempt.run()
        except (Interrupted, ModelUnavailable, StoreError) as error:
            with contextlib.suppress(StoreError):
                for subscriber in lease.record.subscribers:
                    report.queued(subscriber, f"Given back: {error.message}.")
            raise
        except LeaseLost:
            if not lease.cancelled:
                raise
            self.endings.cancelled(lease, report, work.subscriber)
            return True
        if isinstance(outcome, Committed):
            self.endings.committed(outcome, lease, report)
            return True
        if outcome.record.state == "dead":
            self.endings.dead(outcome.record, lease, report)
            return True
        self._wait_for_next(outcome.record, outcome.error, lease, report)
        return False

    def _wait_for_next(self, record: JobRecord, error: ErrorDetail, lease: Lease, report: Report) -> None:
        wait = max(0.0, (record.not_before or 0.0) - lease.store_time())
        message = f"Attempt {record.attempts} failed: {error.message}. The next one follows in {wait:.0f} s."
        for subscriber in record.subscribers:
            log.warning("%s: %s", subscriber.key, message)
            report.queued(subscriber, message)
            self.later(subscriber.sid, wait)
            self.memory.between[subscriber.sid] = subscriber

    def _trouble(self, noticed: Noticed, subscriber: Subscriber, error: HandlerError | PipelineError) -> bool:
        """Something is wrong before there is a job to charge. Passing troubles are tried as often as a job would be."""
        sid = noticed.sid
        self.memory.troubles[sid] += 1
        attempts = self.memory.troubles[sid]
        if error.retryable and attempts < self._settings.max_attempts:
            log.warning("%s: %s (attempt %d)", noticed.source.key, sentence(error.message, error.hint), attempts)
            self.later(sid, self._settings.backoff_seconds * 2 ** (attempts - 1))
            return False
        if self._intake.settled(sid):  # by a worker that met the same
            return True
        self.endings.refused(noticed, subscriber, error.to_detail(), attempts)
        return True

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

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise Interrupted("the worker is stopping")

    def later(self, sid: str, seconds: float) -> None:
        """Do not look at this input for so long."""
        self.memory.not_before[sid] = self._clock.monotonic() + seconds
