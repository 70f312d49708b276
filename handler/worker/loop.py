"""The worker: scan, take what is unsettled, see each input to its end, go on. One job at a time; any number of workers.

Whatever goes wrong with one input is that input's affair: it is settled with an error, or looked at again later. Only
two things end the loop: being told to stop, and a model of the worker's own that cannot be loaded.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field
from functools import partial

from handler.cache import StageCache
from handler.child import Engine
from handler.clock import Clock
from handler.errors import AccessDenied, Changed, HandlerError, LeaseLost, NotFound, StoreError
from handler.job import Busy, Finished, Jobs, Later
from handler.layout import Layout
from handler.lease import Lease
from handler.progress import ManifestWriter
from handler.publish import Publisher
from handler.settings import Settings
from handler.store.base import Store
from handler.store.swap import Conflict
from handler.types import JobRecord, Subscriber
from handler.watch import Candidate, Pace, scan
from handler.worker.attempt import Attempt, Committed, Interrupted
from handler.worker.endings import Endings, Tally
from handler.worker.intake import Intake, Noticed, Work
from handler.worker.report import Report
from handler.worker.scratch import Scratch
from pipeline.errors import ErrorDetail, ModelUnavailable, PipelineError, sentence

log = logging.getLogger(__name__)

_LONGEST_PATIENCE = 600.0  # seconds
_LOOK_AGAIN_SECONDS = 5.0  # at an input that somebody else is working on, or that met trouble


@dataclass(slots=True)
class _Memory:
    """What this worker remembers of inputs between scans. Lost with it, and harmless to lose."""

    not_before: dict[str, float] = field(default_factory=dict)  # sid → this machine's monotonic clock
    troubles: Counter[str] = field(default_factory=Counter)  # sid → failures before there was a job to charge
    outages: Counter[str] = field(default_factory=Counter)  # sid → failures of the store, which are charged to no job

    def patience(self, sid: str) -> float:
        """Seconds to wait after one more failure of the store: longer and longer, because the engine may run each
        time.
        """
        self.outages[sid] += 1
        return float(min(_LONGEST_PATIENCE, _LOOK_AGAIN_SECONDS * 2 ** (self.outages[sid] - 1)))

    def keep_only(self, unsettled: Set[str]) -> None:
        for remembered in (self.not_before, self.troubles, self.outages):
            for sid in [sid for sid in remembered if sid not in unsettled]:
                del remembered[sid]


class Worker:
    """``stop``: set it (from a signal handler, another thread) and the worker releases what it has and ends."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        clock: Clock,
        engine: Engine,
        *,
        name: str,
        stop: threading.Event | None = None,
    ) -> None:
        self.name = name
        self.stop = stop or threading.Event()
        self._store = store
        self._settings = settings
        self._clock = clock
        self._engine = engine
        self.layout = Layout.of(store.url, settings)
        self._scratch = Scratch(settings.work_dir, name)
        self._jobs = Jobs(store, self.layout, clock, settings, name)
        self._intake = Intake(store, self.layout, clock, settings, self._scratch.path, self._go_on)
        self._cache = StageCache(store, self.layout, clock, self._scratch.path, settings.inline_bytes)
        self._publisher = Publisher(store, self.layout, clock)
        self._endings = Endings(self._publisher, name)
        self._pace = Pace(settings, local=not store.url.startswith("s3://"))
        self._memory = _Memory()

    @property
    def tally(self) -> Tally:
        return self._endings.tally

    def run(self, *, drain: bool) -> Tally:
        """Work until `stop` is set; with ``drain``, until every input is settled. `ModelUnavailable` for the worker's
        own.
        """
        self._scratch.open()
        try:
            while not self.stop.is_set():
                pending, worked = self.sweep()
                if drain and not pending and not worked:  # what was dropped during the work was not in its listing
                    break
                if drain and not pending:
                    continue
                self._clock.wait(self.stop, self._pace.after(found_work=worked))
        finally:
            self.close()
        return self.tally

    def close(self) -> None:
        """End the engine, empty the scratch folder, leave the statistics behind."""
        self._engine.close()
        self._scratch.close()
        try:
            self._endings.stats.save(self._store, self.layout, self._clock, self.name)
        except StoreError as error:
            log.warning("stats: %s", error.message)

    def sweep(self) -> tuple[bool, bool]:
        """One scan, and every input it shows that is due. Gives (is any input still unsettled, was any work done)."""
        try:
            seen = scan(self._store, self.layout)
        except StoreError as error:
            log.error("scan: %s", sentence(error.message, error.hint))
            return True, False
        pending, worked = seen.unready > 0, False
        for candidate in seen.candidates:
            if self.stop.is_set():
                return True, worked
            if self._clock.monotonic() < self._memory.not_before.get(candidate.source.sid, 0.0):
                pending = True
                continue
            settled = self._handle_safely(candidate, seen.options)
            if settled:  # should the next listing show it unsettled all the same, that is no reason to hurry
                self._later(candidate.source.sid, _LOOK_AGAIN_SECONDS)
            pending, worked = pending or not settled, True
        self._memory.keep_only({candidate.source.sid for candidate in seen.candidates})
        return pending, worked

    def _handle_safely(self, candidate: Candidate, options: Set[str]) -> bool:
        """`handle`, with everything that is one input's affair caught."""
        key = candidate.source.key
        try:
            return self.handle(candidate, options)
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
            self._later(candidate.source.sid, self._memory.patience(candidate.source.sid))
            return False
        except OSError as error:  # of the work directory
            log.error("%s: %s; looked at again later", key, error)
        except Exception:
            log.exception("%s: an error of ours; looked at again later", key)
        self._later(candidate.source.sid, _LOOK_AGAIN_SECONDS)
        return False

    def handle(self, candidate: Candidate, options: Set[str] | None = None) -> bool:
        """See one input to its end, or as far as it goes now. True when it is settled. ``options``: as in
        `OptionsFinder`.
        """
        # The earliest trace that an input leaves is asked for first: a new one costs no look at its settled marker, and
        # one that was settled since the listing (or is heard of twice) costs no more than these two requests.
        known = self._intake.known(candidate.source.sid)
        if known is not None and self._intake.settled(candidate.source.sid):
            return True
        try:
            noticed = self._intake.notice(candidate.info.key)
        except AccessDenied as error:
            unread = self._intake.unread(candidate.info)
            return self._trouble(unread, unread.subscriber, error)
        if noticed.source.sid != candidate.source.sid:
            raise Changed(f"{noticed.source.key} is another version than the listing showed")
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
            return self._claim(noticed, work)
        finally:
            if work.recording is not None:
                work.recording.unlink(missing_ok=True)

    def _claim(self, noticed: Noticed, work: Work) -> bool:
        claim = self._jobs.claim(work.identity, work.subscriber, noticed.store_time(self._clock))
        if isinstance(claim, Finished) and claim.record.state == "done":
            results = self._stored_results(claim.record)
            if results is not None:
                self._endings.known(noticed, work.subscriber, claim.record, results)
                return True
            try:
                claim = self._jobs.reclaim(claim, work.subscriber)  # its result was evicted
            except Conflict:
                claim = Later(claim.record, _LOOK_AGAIN_SECONDS)
        if isinstance(claim, Finished):
            self._endings.known_dead(noticed, work.subscriber, claim.record)
            return True
        if isinstance(claim, Busy | Later):
            self._later(noticed.source.sid, claim.seconds if isinstance(claim, Later) else _LOOK_AGAIN_SECONDS)
            return False
        return self._run(claim, noticed, work)

    def _run(self, lease: Lease, noticed: Noticed, work: Work) -> bool:
        log.info("%s: job %s, attempt %d", noticed.source.key, lease.record.jid[:16], lease.record.attempts + 1)
        report = Report(lease, self._clock, self.name, partial(self._writer, noticed.source.sid))
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
            stop=self.stop,
            fetch=lambda: work.recording or self._intake.download(noticed.info)[0],
        )
        try:
            outcome = attempt.run()
        except (Interrupted, ModelUnavailable, StoreError) as error:
            with contextlib.suppress(StoreError):
                for subscriber in lease.record.subscribers:
                    report.queued(subscriber, f"Given back: {error.message}.")
            raise
        if isinstance(outcome, Committed):
            self._endings.committed(outcome, lease, report)
            return True
        if outcome.record.state == "dead":
            self._endings.dead(outcome.record, lease, report)
            return True
        self._wait_for_next(outcome.record, outcome.error, lease, report)
        return False

    def _wait_for_next(self, record: JobRecord, error: ErrorDetail, lease: Lease, report: Report) -> None:
        wait = max(0.0, (record.not_before or 0.0) - lease.store_time())
        message = f"Attempt {record.attempts} failed: {error.message}. The next one follows in {wait:.0f} s."
        for subscriber in record.subscribers:
            log.warning("%s: %s", subscriber.key, message)
            report.queued(subscriber, message)
            self._later(subscriber.sid, wait)

    def _trouble(self, noticed: Noticed, subscriber: Subscriber, error: HandlerError | PipelineError) -> bool:
        """Something is wrong before there is a job to charge. Passing troubles are tried as often as a job would be."""
        sid = noticed.source.sid
        self._memory.troubles[sid] += 1
        attempts = self._memory.troubles[sid]
        if error.retryable and attempts < self._settings.max_attempts:
            log.warning("%s: %s (attempt %d)", noticed.source.key, sentence(error.message, error.hint), attempts)
            self._later(sid, self._settings.backoff_seconds * 2 ** (attempts - 1))
            return False
        if self._intake.settled(sid):  # by a worker that met the same
            return True
        self._endings.refused(noticed, subscriber, error.to_detail(), attempts)
        return True

    def _stored_results(self, record: JobRecord) -> bytes | None:
        hit = self._cache.get(record.result) if record.result is not None and record.facts is not None else None
        return hit.body if hit is not None else None

    def _writer(self, own: str, subscriber: Subscriber) -> ManifestWriter:
        """Others who wait for the same job get a manifest at each change of stage, the claimer more often."""
        return ManifestWriter(
            self._store,
            self.layout,
            self._clock,
            least_seconds=self._settings.progress_seconds if subscriber.sid == own else float("inf"),
            is_current=lambda: self._publisher.is_current(subscriber),
        )

    def _go_on(self) -> None:
        if self.stop.is_set():
            raise Interrupted("the worker is stopping")

    def _later(self, sid: str, seconds: float) -> None:
        self._memory.not_before[sid] = self._clock.monotonic() + seconds
