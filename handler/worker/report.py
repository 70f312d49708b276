"""From the engine's events to the progress manifests of everybody who waits for the job, and to the heartbeat's
pointers.

Stages may be under way side by side; `_Standing` says how far the job as a whole is. Knows nothing of how manifests are
written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from handler.clock import Clock
from handler.layout import job_id_of
from handler.lease import Lease
from handler.observer import Observer
from handler.progress import ManifestWriter
from handler.types import Manifest, Subscriber
from pipeline.formats.times import iso_time
from pipeline.plan import DIARIZING, GENERATING_OUTPUT, SEPARATING, TRANSCRIBING
from pipeline.types import Progress

DOWNLOADING = "downloading"  # the worker's own stage

# In the order of the flow; and what each weighs in the job's percent until its seconds are known: transcribing is
# nearly all of the time.
_WEIGHTS = {
    DOWNLOADING: 2.0, SEPARATING: 60.0, TRANSCRIBING: 95.0, "aligning": 5.0, DIARIZING: 20.0,
    "post_processing": 1.0, GENERATING_OUTPUT: 2.0,
}  # fmt: skip
_ORDER = list(_WEIGHTS)
_ALWAYS = (TRANSCRIBING, GENERATING_OUTPUT)  # the stages of every job; others come to be known when they are under way
_MOST = 99.0  # percent, before the result is committed
_LEAST_SHARE, _LEAST_SECONDS = 0.02, 1.0  # before that, a stage's own rate is noise
_PARTIAL_CHARACTERS = 1000

Writers = Callable[[Subscriber], ManifestWriter]


@dataclass(slots=True)
class _Stage:
    """One that was begun. ``share``: 0…1; ``ends``: when it will be over, by the engine's account, on the worker's
    monotonic clock; ``seconds``: what it took, once it is over.
    """

    began: float
    share: float = 0.0
    ends: float | None = None
    seconds: float | None = None
    message: str = ""

    def left(self, now: float) -> float | None:
        """Seconds until it is over: what the engine said, counted down, or by its rate so far; None until it has shown
        one.
        """
        if self.seconds is not None:
            return 0.0
        if self.ends is not None:
            return max(0.0, self.ends - now)
        spent = now - self.began
        if spent < _LEAST_SECONDS or self.share < _LEAST_SHARE:
            return None
        return spent / self.share * (1 - self.share)

    def whole(self, now: float) -> float | None:
        """Seconds that it takes in all."""
        if self.seconds is not None:
            return self.seconds
        left = self.left(now)
        return None if left is None else now - self.began + left


class _Standing:
    """The stages of one attempt that were begun, and what they say about the whole."""

    def __init__(self) -> None:
        self.begun: dict[str, _Stage] = {}

    def begin(self, name: str, now: float) -> _Stage:
        return self.begun.setdefault(name, _Stage(now))

    def end(self, name: str, now: float, seconds: float) -> None:
        stage = self.begin(name, now)
        stage.share, stage.seconds = 1.0, seconds

    def first(self) -> str | None:
        """The earliest unfinished stage, by the order of the flow."""
        return min((name for name, stage in self.begun.items() if stage.seconds is None), key=_place, default=None)

    def percent(self, now: float, cached: Iterable[str]) -> float:
        """Every stage's share, weighted by the seconds that it took or will take: those that are known, and for the
        others what they usually are beside the known ones.
        """
        names = sorted({*self.begun, *_ALWAYS}.difference(cached), key=_place)
        known = {name: whole for name in names if (whole := self._whole(name, now)) is not None}
        usual = sum(_WEIGHTS.get(name, 1.0) for name in known)
        unit = sum(known.values()) / usual if usual and sum(known.values()) > 0 else None
        weights = {name: _WEIGHTS.get(name, 1.0) if unit is None else unit * _WEIGHTS.get(name, 1.0) for name in names}
        if unit is not None:
            weights |= known
        done = sum(weights[name] * self.begun[name].share for name in names if name in self.begun)
        whole = sum(weights.values())
        return _MOST * done / whole if whole else 0.0

    def _whole(self, name: str, now: float) -> float | None:
        return self.begun[name].whole(now) if name in self.begun else None

    def left(self, now: float) -> list[float | None]:
        """Of each stage under way."""
        return [stage.left(now) for stage in self.begun.values() if stage.seconds is None]


def _place(name: str) -> tuple[int, str]:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER), name


class Report:
    """One per attempt, owned by the worker's thread; only `pointers` is called from the heart's."""

    def __init__(
        self, lease: Lease, clock: Clock, worker: str, writers: Writers, observer: Observer | None = None
    ) -> None:
        self._lease = lease
        self._observer = observer or Observer(clock)
        self._clock = clock
        self._worker = worker
        self._make_writer = writers
        self._writers: dict[str, ManifestWriter] = {}
        self._standing = _Standing()
        self._stage = DOWNLOADING
        self._percent = 0.0
        self._message = "Starting"
        self._job_ends: float | None = None  # monotonic, by the engine's account
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
        """A stage begins that the engine has not told of."""
        if name != DOWNLOADING:
            self._over_with_own()
        self._standing.begin(name, self._clock.monotonic()).message = message or _title(name)
        self._write()

    def brought(self) -> None:
        """The recording is here."""
        self._observer.stage_took(DOWNLOADING, self._clock.monotonic() - self._standing.begun[DOWNLOADING].began)

    def cached(self, stage: str) -> None:
        self._cached.append(stage)
        self._stages[stage] = 100.0

    def media(self, duration: float | None) -> None:
        """The engine has the recording open, of ``duration`` seconds if it says."""
        self._over_with_own()

    def progress(self, event: Progress) -> None:
        """A stage of the engine is under way; several may be."""
        self._over_with_own()
        now = self._clock.monotonic()
        stage = self._standing.begin(event.stage, now)
        stage.share = max(stage.share, min(event.percent, 100.0) / 100)
        stage.ends = None if event.eta is None else now + event.eta
        self._job_ends = None if event.job_eta is None else now + event.job_eta
        self._stages[event.stage] = max(self._stages.get(event.stage, 0.0), round(min(event.percent, 100.0), 1))
        stage.message = _title(event.stage)
        if event.done is not None and event.total:
            stage.message += f" {event.done:.0f} s of {event.total:.0f} s"
        if event.partial is not None:
            self._partial = event.partial[-_PARTIAL_CHARACTERS:]
        self._write()

    def done(self, stage: str, seconds: float) -> None:
        """A stage of the engine is over; it took ``seconds``."""
        self._standing.end(stage, self._clock.monotonic(), seconds)
        self._stages[stage] = 100.0
        self._timings[stage] = round(seconds, 3)
        if stage not in self._cached:
            self._observer.stage_took(stage, seconds)
        self._write()

    def queued(self, subscriber: Subscriber, message: str) -> None:
        """The attempt failed and another one will follow."""
        manifest = self._manifest(subscriber).model_copy(
            update={"status": "queued", "stage": "queued", "message": message, "eta_seconds": None}
        )
        self.writer(subscriber).write(manifest, force=True)

    def eta(self) -> float | None:
        """Seconds until the next of the stages under way is over; None until one of them has shown a rate."""
        known = [left for left in self._standing.left(self._clock.monotonic()) if left is not None]
        return round(min(known), 1) if known else None

    def remaining(self) -> float | None:
        """Seconds until the job is over: as the engine reckons, counted down; otherwise until the last of the stages
        under way is. None where one of them has shown no rate yet.
        """
        now = self._clock.monotonic()
        if self._job_ends is not None:
            return round(max(0.0, self._job_ends - now), 1)
        left = self._standing.left(now)
        known = [seconds for seconds in left if seconds is not None]
        return round(max(known), 1) if known and len(known) == len(left) else None

    def _over_with_own(self) -> None:
        """The engine is at work: what the worker did before is over."""
        stage = self._standing.begun.get(DOWNLOADING)
        if stage is not None and stage.seconds is None:
            now = self._clock.monotonic()
            self._standing.end(DOWNLOADING, now, now - stage.began)

    def _look(self) -> None:
        """Where the job is now. The percent never goes back; between two stages the last one is still shown."""
        first = self._standing.first()
        if first is not None:
            self._stage, self._message = first, self._standing.begun[first].message
            self._observer.stage(first)
        self._percent = max(self._percent, self._standing.percent(self._clock.monotonic(), self._cached))

    def _write(self) -> None:
        self._look()
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
            eta_seconds=self.remaining(),
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


def _title(stage: str) -> str:
    return stage.replace("_", " ").capitalize()
