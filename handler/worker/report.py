"""From the engine's events to the progress manifests of everybody who waits for the job, and to the heartbeat's
pointers.

Knows which stage counts for how much; knows nothing of how manifests are written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from handler.clock import Clock
from handler.layout import job_id_of
from handler.lease import Lease
from handler.progress import ManifestWriter
from handler.types import Manifest, Subscriber
from pipeline.formats.times import iso_time
from pipeline.types import Progress

# Where each stage begins and ends in the job's percent. Transcribing is nearly all of the time.
_SPANS = {"downloading": (0.0, 2.0), "transcribing": (2.0, 97.0), "generating_output": (97.0, 99.0)}
_PARTIAL_CHARACTERS = 1000

Writers = Callable[[Subscriber], ManifestWriter]


class Report:
    """One per attempt, owned by the worker's thread; only `pointers` is called from the heart's."""

    def __init__(self, lease: Lease, clock: Clock, worker: str, writers: Writers) -> None:
        self._lease = lease
        self._clock = clock
        self._worker = worker
        self._make_writer = writers
        self._writers: dict[str, ManifestWriter] = {}
        self._started = clock.monotonic()
        self._stage_started = self._started
        self._stage = "downloading"
        self._percent = 0.0
        self._message = "Starting"
        self._duration: float | None = None
        self._stages: dict[str, float] = {}
        self._cached: list[str] = []
        self._timings: dict[str, float] = {}
        self._partial: str | None = None

    def writer(self, subscriber: Subscriber) -> ManifestWriter:
        """The writer of one input's manifest."""
        if subscriber.sid not in self._writers:
            self._writers[subscriber.sid] = self._make_writer(subscriber)
        return self._writers[subscriber.sid]

    def pointers(self) -> dict[str, Any]:
        """What rides along with a heartbeat."""
        return {"stage": self._stage, "percent": round(self._percent, 1)}

    def stage(self, name: str, message: str = "") -> None:
        """A stage begins."""
        if name != self._stage:
            self._stage, self._stage_started = name, self._clock.monotonic()
        self._percent = max(self._percent, _SPANS.get(name, (0.0, 0.0))[0])
        self._message = message or name.replace("_", " ").capitalize()
        self._write()

    def cached(self, stage: str) -> None:
        self._cached.append(stage)
        self._stages[stage] = 100.0

    def media(self, duration: float | None) -> None:
        self._duration = duration

    def progress(self, event: Progress) -> None:
        if event.stage != self._stage:
            self._stage, self._stage_started = event.stage, self._clock.monotonic()
        begin, end = _SPANS.get(event.stage, (self._percent, self._percent))
        self._percent = max(self._percent, begin + (end - begin) * min(event.percent, 100.0) / 100)
        self._stages[event.stage] = max(self._stages.get(event.stage, 0.0), round(min(event.percent, 100.0), 1))
        self._message = event.stage.replace("_", " ").capitalize()
        if event.done is not None and event.total:
            self._message += f" {event.done:.0f} s of {event.total:.0f} s"
        if event.partial is not None:
            self._partial = event.partial[-_PARTIAL_CHARACTERS:]
        self._write()

    def done(self, stage: str, seconds: float) -> None:
        self._stages[stage] = 100.0
        self._timings[stage] = round(seconds, 3)
        self._percent = max(self._percent, _SPANS.get(stage, (0.0, self._percent))[1])
        self._write()

    def queued(self, subscriber: Subscriber, message: str) -> None:
        """The attempt failed and another one will follow."""
        manifest = self._manifest(subscriber).model_copy(
            update={"status": "queued", "stage": "queued", "message": message, "eta_seconds": None}
        )
        self.writer(subscriber).write(manifest, force=True)

    def _write(self) -> None:
        for subscriber in self._lease.record.subscribers:
            self.writer(subscriber).write(self._manifest(subscriber))

    def _manifest(self, subscriber: Subscriber) -> Manifest:
        record = self._lease.record
        return Manifest(
            job_id=job_id_of(record.jid, subscriber.sid),
            jid=record.jid,
            source_id=subscriber.sid,
            key=subscriber.key,
            status="processing",
            stage=self._stage,
            percent=round(self._percent, 1),
            message=self._message,
            eta_seconds=self.eta(),
            attempt=record.attempts + 1,
            token=self._lease.token,
            stages=dict(self._stages),
            cached_stages=tuple(self._cached),
            partial={"transcript": self._partial, "is_final": False} if self._partial is not None else None,
            queued_at=subscriber.queued_at,
            started_at=record.started_at,
            updated_at=iso_time(self._lease.store_time()),
            timings=dict(self._timings),
            worker=self._worker,
        )

    def eta(self) -> float | None:
        """Seconds until the running stage is over, from its rate so far; None until it has shown one."""
        begin, end = _SPANS.get(self._stage, (0.0, 0.0))
        spent = self._clock.monotonic() - self._stage_started
        share = (self._percent - begin) / (end - begin) if end > begin else 0.0
        if spent < 1.0 or share < 0.02:
            return None
        return round(spent / share * (1 - share), 1)
