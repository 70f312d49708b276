"""What happens in a worker, told to one object by whoever knows it first: for the metrics, the log's fields, /readyz.

Takes facts; passes figures on to a `Sink`, and remembers the job under way, which every line of the log names. Nothing
ever comes back from here to those who tell: a worker does the same whether or not anybody looks. Safe from any thread.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from handler import metrics
from handler.clock import Clock
from handler.metrics import Sink, Unread

log = logging.getLogger(__name__)

_TO_FIRST_CLAIM = tuple(phase for phase in metrics.PHASES if phase != "engine")


@dataclass(frozen=True, slots=True)
class Doing:
    """The job under way. ``key``: of the input that it was claimed for."""

    job_id: str
    key: str
    attempt: int
    stage: str


class Observer:
    """One per worker. ``sink``: where the figures go; without one, nowhere."""

    def __init__(self, clock: Clock, sink: Sink | None = None) -> None:
        self._clock = clock
        self._sink: Sink = sink or Unread()
        self._lock = threading.Lock()
        self._doing: Doing | None = None
        self._waiting: dict[str, float] = {}  # sid → epoch seconds of its last change, as the scan saw it
        self._phases: dict[str, float] = {}
        self._looked_at = clock.monotonic()
        self._restarts: dict[str, int] = {}
        self._readings: list[Callable[[], None]] = []
        self._ready = False

    # ── the job under way ────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def doing(self) -> Doing | None:
        return self._doing

    def looks_at_input(self) -> None:
        """An input's turn begins; a claim may follow."""
        self._looked_at = self._clock.monotonic()

    def job_begins(self, job_id: str, key: str, attempt: int) -> None:
        """A job was claimed."""
        self._doing = Doing(job_id, key, attempt, "downloading")
        self._sink.set(metrics.IN_PROGRESS, 1)
        if "claim" not in self._phases:
            self.phase("claim", self._clock.monotonic() - self._looked_at)
            known = {name: self._phases[name] for name in _TO_FIRST_CLAIM if name in self._phases}
            told = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in known.items())
            log.info("first claim after %.2f s of work: %s", sum(known.values()), told)

    def stage(self, name: str) -> None:
        """Where that job is."""
        doing = self._doing
        if doing is not None and doing.stage != name:
            self._doing = dataclasses.replace(doing, stage=name)

    def stage_took(self, name: str, seconds: float) -> None:
        """A stage of that job was run."""
        self._sink.observe(metrics.STAGE_SECONDS, seconds, name)

    def job_took(self, sound: float, seconds: float) -> None:
        """A job was run from its beginning: ``sound`` seconds of it, in ``seconds``."""
        if sound > 0 and seconds > 0:
            self._sink.observe(metrics.REAL_TIME_FACTOR, sound / seconds)

    def job_over(self) -> None:
        """However it went."""
        self._doing = None
        self._sink.set(metrics.IN_PROGRESS, 0)

    def lease_lost(self) -> None:
        self._sink.count(metrics.LEASE_LOSSES)

    # ── ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def ended(self, outcome: str) -> None:
        """An input was seen to its end: one of `metrics.OUTCOMES`."""
        self._sink.count(metrics.JOBS, outcome)

    def cached(self, stages: Iterable[str], saved: float) -> None:
        """A job came to its result without these stages, which took ``saved`` seconds once."""
        for stage in stages:
            self._sink.count(metrics.CACHE_HITS, stage)
        self._sink.count(metrics.CACHE_SAVED, amount=max(0.0, saved))

    # ── what waits ───────────────────────────────────────────────────────────────────────────────────────────────────

    def found(self, waiting: Mapping[str, float]) -> None:
        """A scan is over: every unsettled input (sid), with the epoch seconds at which it was dropped."""
        with self._lock:
            self._waiting = dict(waiting)

    def settled(self, sid: str) -> None:
        """An input waits no longer."""
        with self._lock:
            self._waiting.pop(sid, None)

    # ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def request(self, verb: str, answer: str) -> None:
        """To the bucket: of `metrics.VERBS` and `metrics.ANSWERS`."""
        self._sink.count(metrics.STORE_REQUESTS, verb, answer)

    def phase(self, name: str, seconds: float) -> None:
        """A phase of the worker's start (`metrics.PHASES`) is over. The first time counts."""
        if name not in self._phases:
            self._phases[name] = seconds
            self._sink.set(metrics.COLD_START, seconds, name)

    def engine(self, restarts: Mapping[str, int], ready_seconds: float | None) -> None:
        """What the engine counts: its ends so far, by `metrics.RESTARTS`, and what its first start took."""
        for reason, count in restarts.items():
            more, self._restarts[reason] = count - self._restarts.get(reason, 0), count
            if more > 0:
                self._sink.count(metrics.ENGINE_RESTARTS, reason, amount=more)
        if ready_seconds is not None:
            self.phase("engine", ready_seconds)

    def gpu(self, device: str, used: float, total: float) -> None:
        """Bytes of one GPU's memory."""
        self._sink.set(metrics.GPU_MEMORY, used, device, "used")
        self._sink.set(metrics.GPU_MEMORY, total, device, "total")

    # ── readers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def ready(self) -> bool:
        """Whether the worker takes jobs: its start is over, and it was not told to stop."""
        return self._ready

    def is_ready(self, ready: bool) -> None:
        self._ready = ready

    def at_reading(self, look: Callable[[], None]) -> None:
        """Have ``look`` called before the figures are read: for what has to be asked for. What it raises is logged."""
        self._readings.append(look)

    def before_reading(self) -> None:
        """Somebody is about to read the figures: bring those up to date that change by themselves."""
        with self._lock:
            oldest = min(self._waiting.values(), default=None)
            depth = len(self._waiting)
        self._sink.set(metrics.QUEUE_DEPTH, depth)
        self._sink.set(metrics.QUEUE_AGE, 0.0 if oldest is None else max(0.0, self._clock.time() - oldest))
        for look in self._readings:
            try:
                look()
            except Exception:  # a driver that fails must not take the other figures with it
                log.exception("metrics: one of them cannot be had")
