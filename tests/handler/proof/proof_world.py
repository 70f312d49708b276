"""The proof's world: one bucket in memory, real workers on it with scripted engines, each a task of the scheduler, and
everything that can be done to them.

Every request is a pause point and may be the place of a fault. What the workers write is seen by the `Ledger`. Knows
no scenario; `crash_scenarios` and `simulation` say what happens in it.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from proof_ledger import USER, Ledger
from sim_scheduler import Killed, Scheduler, SimClock, Task

from handler.errors import Unavailable
from handler.fakes import ScriptedEngine
from handler.layout import Layout
from handler.settings import Settings
from handler.source import Source
from handler.store.base import Found
from handler.store.memory import Call, Hook, MemoryStore, Phase
from handler.worker import Worker
from handler.worker.heart import inline_heart
from pipeline.errors import ErrorDetail
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING
from pipeline.types import Event, JobRequest, Progress, StageDone, Transcript, Word

FaultKind = Literal["crash before", "crash after", "lost request", "lost answer", "long pause"]
KINDS: tuple[FaultKind, ...] = ("crash before", "crash after", "lost request", "lost answer", "long pause")

MAY_PASS = ErrorDetail(
    error_class="EngineFailure", code="INTERNAL_SERVER_ERROR", message="it broke", hint="Wait.", retryable=True
)
HOPELESS = ErrorDetail(
    error_class="UnreadableMedia", code="Bad Request", message="it is no recording", hint="Convert it.", retryable=False
)


class SeenStore(MemoryStore):
    """Tells the ledger of each write that is applied. ``coarse``: as S3, it tells its times in whole seconds."""

    ledger: Ledger
    writer: str = USER
    coarse: bool = False

    def connect(self, writer: str, hook: Hook | None) -> SeenStore:
        """A connection of ``writer``'s."""
        other = SeenStore(self.clock, self.url, hook=hook)
        other._bucket, other.ledger, other.writer, other.coarse = self._bucket, self.ledger, writer, self.coarse
        return other

    def get(self, key: str) -> Found:
        found = super().get(key)
        if not self.coarse:
            return found
        written, now = int(found.store_time - found.age), int(found.store_time)
        return Found(found.body, found.etag, float(max(0, now - written)), float(now))

    def _store(self, key: str, body: bytes, metadata: Any) -> Any:
        before = self._bucket.objects.get(key)
        written = super()._store(key, body, metadata)
        old = (before.body, before.written) if before is not None else None
        self.ledger.wrote(self.writer, self.clock.time(), key, old, body, self._peek)
        return written

    def _peek(self, key: str) -> bytes | None:
        found = self._bucket.objects.get(key)
        return None if found is None else found.body

    def delete(self, key: str) -> None:
        lay_there: list[bytes | None] = []
        hook = self.hook

        def noting(call: Call, phase: Phase) -> None:
            if hook is not None:
                hook(call, phase)
            if phase == "before":
                lay_there.append(self.peek(key))

        self.hook = noting
        try:
            super().delete(key)
        finally:
            self.hook = hook
            if lay_there and self.peek(key) is None:
                self.ledger.deleted(self.writer, key, lay_there[0])


class SimEngine(ScriptedEngine):
    """Takes its time, beat by beat, and is not bit-stable: no two runs hear quite the same."""

    def __init__(self, world: World, worker: str, clock: SimClock) -> None:
        super().__init__(between=lambda stage: world.on_stage(worker, stage))
        self._world = world
        self._worker = worker
        self._clock = clock

    def run(
        self, request: JobRequest, *, time_limit: Callable[[float | None], float], poll: float
    ) -> Iterator[Event | None]:
        job, world = Path(request.work).name.split("-")[0], self._world
        recording = (Path(request.work) / request.source).read_bytes() if request.source else b""
        failure = world.failure_of(job, recording)
        self._failures = [failure] if failure is not None else []
        for event in super().run(request, time_limit=time_limit, poll=poll):
            if isinstance(event, StageDone):
                world.ledger.ran(self._worker, job, event.stage)
                world.trace(self._worker, f"ran {event.stage} of {job[:8]}")
            yield event
            if isinstance(event, Progress):
                for _ in range(world.steps):
                    self._clock.sleep(world.step_seconds)
                    yield None

    def _transcript(self, source: Path, request: JobRequest) -> Transcript:
        transcript = super()._transcript(source, request)
        [channel] = transcript.channels
        take = Word(text=f"take{next(self._world.takes)}", start=20.0, end=20.5, confidence=0.5)
        return transcript.model_copy(
            update={"channels": (channel.model_copy(update={"words": (*channel.words, take)}),)}
        )


class World:
    """``meddle(worker, call)`` names the fault of each request, or None. ``latency``: the longest a request takes."""

    def __init__(
        self,
        seed: int,
        folder: Path,
        *,
        meddle: Callable[[str, str], FaultKind | None] = lambda worker, call: None,
        latency: float = 0.02,
        limit: float = 20_000.0,
        coarse: bool = False,
        **settings: Any,
    ) -> None:
        self.scheduler = Scheduler(seed, limit)
        self.random = self.scheduler.random
        self.settings = Settings(
            model="sphinx",
            work_dir=folder / "work",
            home=folder / "home",
            **{"lease_seconds": 30, "beat_seconds": 10, "scan_seconds": 5, "reconcile_seconds": 60, **settings},
        )
        self.store = SeenStore(SimClock(self.scheduler), "memory://proof")
        self.layout = Layout.of(self.store.url, self.settings)
        self.ledger = self.store.ledger = Ledger(self.layout, trace=self.trace)
        self.store.coarse = coarse
        self.steps, self.step_seconds = 3, 7.0  # of a transcription
        self.takes: Iterator[int] = itertools.count(1)
        self.failing: dict[bytes, list[ErrorDetail]] = {}  # recording → how its next attempts end
        self.on_stage: Callable[[str, str], None] = lambda worker, stage: None
        self.stop = threading.Event()
        self.faults: Counter[str] = Counter()
        self.requests = 0
        self.log: list[str] | None = None  # a list, to keep a trace
        self.tasks: dict[str, Task] = {}
        self.workers: dict[str, Worker] = {}
        self.bodies: dict[str, bytes] = {}  # the recordings that lie there now
        self._recordings: dict[str, bytes] = {}
        self._meddle = meddle
        self._latency = latency
        self._names = itertools.count(1)

    # ── workers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def hire(
        self,
        delay: float = 0.0,
        *,
        name: str | None = None,
        drain: bool = False,
        skew: float = 0.0,
        source: Callable[[str, SimClock], Source] | None = None,
        ended: Callable[[str], None] = lambda name: None,
    ) -> str:
        """A worker that starts ``delay`` seconds from now, under a name of its own. ``ended``: called when it was
        killed.
        """
        name = name or f"w{next(self._names)}"
        clock = SimClock(self.scheduler, skew)
        worker = Worker(
            self.store.connect(name, self.hook(name)),
            self.settings,
            clock,
            SimEngine(self, name, clock),
            name=name,
            stop=self.stop,
            source=source(name, clock) if source is not None else None,
            heart=inline_heart,
        )
        self.workers[name] = worker

        def run() -> None:
            try:
                worker.run(drain=drain)
            except Killed:
                ended(name)
                raise

        self.tasks[name] = self.scheduler.spawn(name, run, delay)
        return name

    def hook(self, worker: str) -> Hook:
        """Around each request of this worker's: it takes its time, and may meet a fault."""
        fault: list[FaultKind] = []

        def hook(call: Call, phase: Phase) -> None:
            if phase == "before":
                kind = self.call(worker, f"{call.method} {call.key}")
                fault[:] = [kind] if kind is not None else []
                if kind is not None:
                    self.before(worker, kind, excused=call.method == "put")
            elif fault:
                self.after(worker, fault.pop())

        return hook

    def call(self, worker: str, what: str) -> FaultKind | None:
        """One call of a worker's to the outside: it takes its time. Gives the fault that it meets, if any."""
        self.requests += 1
        self.scheduler.pause(self.random.random() * self._latency)
        kind = self._meddle(worker, what)
        self.trace(worker, f"{what}{f'  ** {kind} **' if kind else ''}")
        return kind

    def before(self, worker: str, kind: FaultKind, *, excused: bool = False) -> None:
        """The part of a fault that comes before the request is applied. ``excused``: a lost request does no harm."""
        self.faults[kind] += 1
        if kind.startswith("lost"):
            if not excused:
                self.ledger.disturb(worker, kind)
        else:
            self.ledger.disturb(worker, kind)
        if kind == "crash before":
            self.die(worker)
        elif kind == "long pause":
            self.scheduler.pause(self.settings.lease_seconds * (1.3 + 1.5 * self.random.random()))
        elif kind == "lost request":
            raise Unavailable("the request was lost")

    def after(self, worker: str, kind: FaultKind) -> None:
        if kind == "crash after":
            self.die(worker)
        elif kind == "lost answer":
            raise Unavailable("the answer was lost")

    def die(self, worker: str) -> None:
        self.scheduler.kill(self.tasks[worker])
        raise Killed

    def failure_of(self, job: str, recording: bytes) -> ErrorDetail | None:
        """How this attempt ends; None: well."""
        waiting = self.failing.get(recording)
        if not waiting:
            return None
        self.ledger.failures[job] += 1
        return waiting.pop(0)

    # ── what users do ────────────────────────────────────────────────────────────────────────────────────────────────

    def drop(self, key: str, body: bytes) -> str:
        """A recording, or another version of it. Gives its sid."""
        info = self.store.drop(self.layout.input_key(key), body)
        sid = self.layout.source(info).sid
        self.ledger.dropped(key, sid)
        self.bodies[key] = self._recordings[sid] = body
        self.trace(USER, f"dropped {key} = {body!r}")
        return sid

    def delete(self, key: str) -> None:
        self.ledger.removed(key)
        self.bodies.pop(key, None)
        self.store.delete(self.layout.input_key(key))
        self.trace(USER, f"deleted {key}")

    def evict(self, key: str) -> None:
        """Take a reference, or a blob, out of the bucket."""
        self.ledger.evicted.add(key)
        self.store.delete(key)
        self.trace(USER, f"evicted {key}")

    def references(self) -> tuple[str, ...]:
        return self.store.keys(self.layout.stage_key("").removesuffix(".json"))

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def all_settled(self) -> bool:
        return all(self.store.peek(self.layout.settled_key(sid)) is not None for sid in self.ledger.current.values())

    def run(self) -> None:
        """Until every worker has ended; then look at what is left. The violations are in the ledger."""
        logging.disable(logging.CRITICAL)
        try:
            self.scheduler.run()
        finally:
            logging.disable(logging.NOTSET)
        if self.scheduler.now > self.scheduler.limit:
            self.ledger.broken(f"it was not over after {self.scheduler.limit:.0f} s")
        check_end(self)

    def trace(self, who: str, what: str) -> None:
        if self.log is not None:
            self.log.append(f"{self.scheduler.now:9.3f}  {who:6}  {what}")


def words_of(recording: bytes) -> str:
    """What `SimEngine` hears in it, but for the take's own word."""
    digest = hashlib.sha256(recording).hexdigest()
    return " ".join(digest[place : place + 8] for place in range(0, 64, 8))


def check_end(world: World) -> None:
    """Every input that is there is settled, with a result or an error of its own."""
    import json

    ledger, layout, store = world.ledger, world.layout, world.store

    def read(key: str) -> Any:
        body = store.peek(key)
        return None if body is None else json.loads(body)

    for key, sid in ledger.current.items():
        marker, manifest = read(layout.settled_key(sid)), read(layout.progress_key(key))
        result, error = read(layout.result_key(key)), read(layout.error_key(key))
        if marker is None:
            ledger.broken(f"{key} was never settled")
            continue
        outcome = marker["outcome"]
        if manifest is None or (manifest["source_id"], manifest["status"]) != (sid, outcome):
            ledger.broken(f"{key} is {outcome}, its manifest says {manifest and manifest['status']}")
        if outcome == "completed":
            _check_result(world, key, marker, result, error)
        elif outcome == "failed":
            if error is None or error["job_id"] != marker["job_id"]:
                ledger.broken(f"{key} failed, and its error is not there")
            if world.bodies[key] not in world.failing:
                ledger.broken(f"{key} failed, and nothing was wrong with it: {marker['reason']}")
        elif sid not in ledger.cancelled:
            ledger.broken(f"{key} is {outcome}, which nobody wanted")
    for jid, commits in ledger.commits.items():
        tokens = [commit.token for commit in commits]
        if len(set(tokens)) != len(tokens):
            ledger.broken(f"{jid[:8]} was committed twice under one token")
    for run in ledger.runs:
        if run.stage not in (TRANSCRIBING, GENERATING_OUTPUT):
            ledger.broken(f"an unknown stage {run.stage}")


def _check_result(world: World, key: str, marker: Any, result: Any, error: Any) -> None:
    ledger, body = world.ledger, world.bodies[key]
    if result is None:
        ledger.broken(f"{key} is completed without a result")
        return
    if result["metadata"]["sha256"] != hashlib.sha256(body).hexdigest():
        ledger.broken(f"{key} has another recording's result")
    if result["metadata"]["request_id"] != marker["job_id"]:
        ledger.broken(f"{key} has the result of another of its versions")
    [channel] = result["results"]["channels"]
    if not str(channel["alternatives"][0]["transcript"]).lower().startswith(words_of(body)):
        ledger.broken(f"{key} has other words than were heard")
    if error is not None:
        ledger.broken(f"{key} is completed and has an error")
