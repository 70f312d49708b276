"""One attempt at a claimed job: fill the work directory from the cache, let the engine do the rest, keep what it
finishes.

Takes a lease; gives the committed record and its results part, or the record after a failure. The lease is renewed by
the heart's own thread throughout; the moment it is lost the engine is killed and nothing more is written.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from handler.cache import Hit, Reference, StageCache
from handler.child import Engine
from handler.clock import Clock
from handler.errors import HandlerError, LeaseLost, StoreError
from handler.layout import digest_of
from handler.lease import Lease
from handler.settings import Settings
from handler.types import JobRecord
from handler.worker.heart import Heart, Pulse, Tick
from handler.worker.lookout import Interrupted, Lookout
from handler.worker.recording import Recording
from handler.worker.report import DOWNLOADING, Report
from pipeline.catalog import Model, leaves_choice
from pipeline.companions import Companions
from pipeline.errors import EngineFailure, ErrorDetail, ModelUnavailable, OutOfSpace, PipelineError
from pipeline.options import OF_ONE_INPUT, Options
from pipeline.plan import ALIGNING, GENERATING_OUTPUT, TRANSCRIBING, StagePlan, made_of, stage_plans
from pipeline.types import Done, Event, Facts, Failed, JobRequest, Media, Progress, StageDone

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Committed:
    """The job is done. ``results`` are the stored bytes of the results part; ``ran``: stages that were not in the
    cache.
    """

    record: JobRecord
    results: bytes
    cached: tuple[str, ...]
    timings: dict[str, float]
    saved_seconds: float
    seconds: float  # that the attempt took, download included


@dataclass(frozen=True, slots=True)
class NotDone:
    """The attempt failed; the record says whether another one follows."""

    record: JobRecord
    error: ErrorDetail


@dataclass(slots=True)
class _Course:
    """What this attempt has so far. Owned by the worker's thread."""

    digests: dict[str, str] = field(default_factory=dict)
    degraded: dict[str, str] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    cached: list[str] = field(default_factory=list)
    saved_seconds: float = 0.0
    facts: Facts | None = None


class Attempt:
    """One per claim. ``fetch`` brings the recording when a stage needs it and it is not at hand yet. ``still_wanted``
    and ``meanwhile`` as in `Lookout`.
    """

    def __init__(
        self,
        *,
        lease: Lease,
        options: Options,
        model: Model,
        companions: Companions,
        cache: StageCache,
        engine: Engine,
        clock: Clock,
        settings: Settings,
        scratch: Path,
        report: Report,
        stop: threading.Event,
        heart: Heart,
        pulse: Pulse,
        fetch: Callable[[], Recording],
        still_wanted: Callable[[], None],
        meanwhile: Callable[[float | None], None],
    ) -> None:
        self._lease = lease
        self._options = options
        self._model = model
        self._companions = companions
        self._cache = cache
        self._engine = engine
        self._clock = clock
        self._settings = settings
        self._work = scratch / f"{lease.record.jid[:16]}-{lease.token}"
        self._report = report
        self._heart = heart
        self._pulse = pulse
        self._tick: Tick = lambda: None
        self._fetch = fetch
        self._recording: Recording | None = None
        self._lookout = Lookout(
            lease, report, clock, stop,
            stop_seconds=settings.stop_seconds, still_wanted=still_wanted, meanwhile=meanwhile,
        )  # fmt: skip
        self._course = _Course()
        self._began = clock.monotonic()
        record = lease.record
        plans = stage_plans(record.content.sha256, options, model, record.jid, companions)
        self._plans = {plan.name: plan for plan in plans}

    def run(self) -> Committed | NotDone:
        """`LeaseLost` leaves nothing to publish; `Interrupted`, store errors and `ModelUnavailable` of the worker's
        own model pass through with the lease released.
        """
        try:
            with self._heart(self._pulse, self._clock) as self._tick:
                return self._attempt()
        except LeaseLost:
            raise
        except (Interrupted, ModelUnavailable):
            self._release()
            raise
        except StoreError:
            # Not the job's fault: no attempt is charged, and another worker may have better luck.
            self._release(wait=self._settings.backoff_seconds)
            raise
        finally:
            if self._recording is not None:
                self._recording.remove()
            shutil.rmtree(self._work, ignore_errors=True)

    def _attempt(self) -> Committed | NotDone:
        try:
            self._work.mkdir(parents=True, exist_ok=True)
            return self._commit(self._results())
        except _JobFailed as failed:
            error = failed.error
            if error.error_class == ModelUnavailable.__name__ and leaves_choice(self._options.model):
                # The worker's own model does not load: no attempt is charged, or a fleet would burn them all.
                raise ModelUnavailable(error.message, error.hint) from failed
        except (LeaseLost, Interrupted, StoreError):
            raise
        except (HandlerError, PipelineError) as failed:  # the engine died or overran; the disk is full
            error = failed.to_detail()
        except OSError as failed:
            full = OutOfSpace.explains(failed)
            error = (
                OutOfSpace("the work directory's disk is full") if full else EngineFailure(str(failed))
            ).to_detail()
        except ValueError as failed:  # facts that are no numbers
            error = EngineFailure(f"what the engine wrote cannot be kept: {failed}").to_detail()
        except Exception as failed:  # ours; uncharged, it would be met again for ever
            log.exception("job %s", self._lease.record.jid)
            error = EngineFailure(f"an error of ours: {type(failed).__name__}: {failed}").to_detail()
        return NotDone(self._lease.fail(error), error)

    def _release(self, wait: float = 0.0) -> None:
        with contextlib.suppress(HandlerError):  # then it ages out
            self._lease.release(wait)

    def _results(self) -> bytes:
        """The results part: from the cache, or by way of the engine."""
        plan = self._plans[GENERATING_OUTPUT]
        if not self._lease.created:
            hit = self._cached(plan)  # a worker may have ended between keeping the results and committing them
            if hit is not None and hit.reference.facts is not None:
                self._course.facts = hit.reference.facts
                # The record names what they were made from, too: whoever purges the job finds it there.
                self._course.digests |= {name: made.digest for name, made in self._plans.items()}
                return hit.body
        self._drive("" if self._fill() else self._bring_recording())
        return (self._work / plan.artifact).read_bytes()

    def _fill(self) -> bool:
        """Lay what the cache has of the job's stages into the work directory. Whether that is all that the results are
        made of: then nobody needs the recording.
        """
        wanted = made_of(self._plans.values())
        there = [self._fetched(plan) for plan in wanted]
        if all(there):
            self._report.stage(GENERATING_OUTPUT)
            return True
        # What is lacking is made of these: voices without music, a transcript that is yet to be aligned.
        for plan in self._plans.values():
            aligned = plan.name == TRANSCRIBING and ALIGNING in self._course.cached
            if plan not in wanted and plan.keeps and plan.name != GENERATING_OUTPUT and not aligned:
                self._fetched(plan)
        return False

    def _fetched(self, plan: StagePlan) -> bool:
        reference = self._cache.fetch(plan.digest, self._work / plan.artifact)
        if reference is not None:
            self._is_cached(plan, reference)
        return reference is not None

    def _cached(self, plan: StagePlan) -> Hit | None:
        hit = self._cache.get(plan.digest)
        if hit is not None:
            self._is_cached(plan, hit.reference)
        return hit

    def _is_cached(self, plan: StagePlan, reference: Reference) -> None:
        self._course.digests[plan.name] = plan.digest
        self._course.cached.append(plan.name)
        self._course.saved_seconds += reference.seconds
        self._report.cached(plan.name)

    def _bring_recording(self) -> str:
        self._report.stage(DOWNLOADING)
        self._recording = self._fetch()
        self._report.brought()
        path = self._recording.path
        target = self._work / f"source{path.suffix}"
        path.replace(target)
        return target.name

    def _drive(self, source: str) -> None:
        prepared = self._recording.prepared if self._recording is not None else None
        request = JobRequest(
            work=str(self._work),
            source=source,
            options=self._options.model_dump(mode="json", exclude=set(OF_ONE_INPUT)),
            model=self._model.model_dump(mode="json"),
            companions=self._companions.model_dump(mode="json"),
            seed=self._plans[GENERATING_OUTPUT].digest,
            max_duration=self._settings.max_duration_seconds,
            prepared=str(prepared) if prepared is not None else None,
        )
        self._lookout.engine_begins()
        events = self._engine.run(request, time_limit=self._settings.time_limit, poll=self._settings.poll_seconds)
        with contextlib.closing(events):  # type: ignore[type-var]
            for event in events:
                self._tick()
                self._lookout.around()
                if event is not None:
                    self._on(event)

    def _on(self, event: Event) -> None:
        match event:
            case Media():
                self._lookout.recording_is_open()
                self._report.media(event.duration)
            case Progress():
                self._report.progress(event)
            case StageDone():
                self._keep(event)
            case Failed():
                raise _JobFailed(event.error)
            case Done():
                pass

    def _keep(self, done: StageDone) -> None:
        """Carry a finished artifact to the bucket. One that is degraded, or made of what is, goes under a name of its
        own, which no other job looks up.
        """
        course, plan = self._course, self._plans.get(done.stage)
        if done.degraded is not None:
            course.degraded[done.stage] = done.degraded
        if done.stage not in course.cached:
            course.timings[done.stage] = round(done.seconds, 3)
        if plan is not None and done.artifact:
            digest = plan.digest
            if not course.degraded.keys().isdisjoint({plan.name, *plan.reads}):
                digest = digest_of("degraded", digest, self._lease.record.jid, self._lease.token)
            artifact = self._work / plan.artifact
            jid = self._lease.record.jid
            stored = self._cache.put(digest, plan.name, artifact, seconds=done.seconds, facts=done.facts, jid=jid)
            course.digests[plan.name] = digest
            if done.facts is not None:
                course.facts = stored.facts or done.facts
        self._report.done(done.stage, done.seconds)

    def _commit(self, results: bytes) -> Committed:
        course = self._course
        if course.facts is None:
            raise _JobFailed(
                EngineFailure("the engine finished without saying what the result's metadata needs").to_detail()
            )
        record = self._lease.commit(
            course.digests[GENERATING_OUTPUT],
            course.facts,
            dict(course.digests),
            dict(course.degraded),
            dict(course.timings),
        )
        seconds = self._clock.monotonic() - self._began
        return Committed(record, results, tuple(course.cached), dict(course.timings), course.saved_seconds, seconds)


class _JobFailed(Exception):
    def __init__(self, error: ErrorDetail) -> None:
        super().__init__(error.message)
        self.error = error
