"""The proof's world: one bucket in memory, real workers on it with scripted engines, each a task of the scheduler, and
everything that can be done to them.

Every request is a pause point and may be the place of a fault. What the workers write is seen by the `Ledger`. Knows
no scenario; `crash_scenarios` and `simulation` say what happens in it.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeVar
from unittest.mock import patch

from proof_check import check_end
from proof_ledger import USER, Ledger
from proof_store import SeenStore, SimEngine
from proof_terminal import Terminal
from sim_scheduler import Killed, Scheduler, SimAnswer, SimClock, Task

from handler.errors import Unavailable
from handler.layout import Layout
from handler.settings import Settings
from handler.source import Source
from handler.store.memory import Call, Hook, Phase
from handler.worker import Worker
from handler.worker.beside import in_turn
from handler.worker.heart import inline_heart
from pipeline.errors import ErrorDetail

Told = TypeVar("Told")

FaultKind = Literal["crash before", "crash after", "lost request", "lost answer", "long pause"]
KINDS: tuple[FaultKind, ...] = ("crash before", "crash after", "lost request", "lost answer", "long pause")

MAY_PASS = ErrorDetail(
    error_class="EngineFailure", code="INTERNAL_SERVER_ERROR", message="it broke", hint="Wait.", retryable=True
)
HOPELESS = ErrorDetail(
    error_class="UnreadableMedia", code="Bad Request", message="it is no recording", hint="Convert it.", retryable=False
)


@cache
def _settings() -> Settings:
    return Settings(model="sphinx", lease_seconds=30, beat_seconds=10, scan_seconds=5, reconcile_seconds=60)


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder for one run, with room for what is fetched ahead, however full this machine's disk is. It lies in
    memory, where the system has such a place: a disk takes half of a run's time.
    """
    memory = Path("/dev/shm")
    where = memory if os.access(memory, os.W_OK) else None
    room = patch("handler.worker.ahead.disk_usage", lambda path: (1 << 40, 0, 1 << 40))
    with room, TemporaryDirectory(prefix="proof-", dir=where, ignore_cleanup_errors=True) as name:
        yield Path(name)


class World:
    """``meddle(worker, call)`` names the fault of each request, or None. ``latency``: the longest a request takes.

    ``beside``: workers do not wait for what they need not wait for, as they do in production (`handler.worker.beside`).
    ``ahead``: they fetch the next recording while they are at another (`handler.worker.ahead`).
    """

    def __init__(
        self,
        seed: int,
        folder: Path,
        *,
        meddle: Callable[[str, str], FaultKind | None] = lambda worker, call: None,
        latency: float = 0.02,
        limit: float = 20_000.0,
        coarse: bool = False,
        beside: bool = False,
        ahead: bool = False,
        **settings: Any,
    ) -> None:
        self.scheduler = Scheduler(seed, limit)
        self.random = self.scheduler.random
        self.settings = _settings().model_copy(
            update={"work_dir": folder / "work", "home": folder / "home", **settings},
        )
        self.store = SeenStore(SimClock(self.scheduler), "memory://proof")
        self.layout = Layout.of(self.store.url, self.settings)
        self.ledger = self.store.ledger = Ledger(self.layout, trace=self.trace)
        self.store.coarse = coarse
        self.beside = beside
        self.ahead = ahead
        self.steps, self.step_seconds = 3, 7.0  # of a transcription
        self.takes: Iterator[int] = itertools.count(1)
        self.failing: dict[bytes, list[ErrorDetail]] = {}  # recording → how its next attempts end
        self.on_stage: Callable[[str, str], None] = lambda worker, place: None
        self.stop = threading.Event()
        self.faults: Counter[str] = Counter()
        self.requests = 0
        self.log: list[str] | None = None  # a list, to keep a trace
        self.tasks: dict[str, Task] = {}
        self._helpers: defaultdict[str, list[Task]] = defaultdict(list)
        self.workers: dict[str, Worker] = {}
        self.bodies: dict[str, bytes] = {}  # the recordings that lie there now
        self.terminal = Terminal(self)
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
            beside=partial(self._ask, name) if self.beside else in_turn,
            ahead=partial(self._ask, name) if self.ahead else None,
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

    def _ask(self, worker: str, ask: Callable[[], Told]) -> Future[Told]:
        answer = SimAnswer(self.scheduler, ask)
        self._helpers[worker].append(answer.task)
        return answer

    def hook(self, worker: str) -> Hook:
        """Around each request of this worker's: it takes its time, and may meet a fault."""
        faults: dict[Task | None, FaultKind | None] = {}

        def hook(call: Call, phase: Phase) -> None:
            task = self.scheduler.current
            if phase == "before":
                kind = faults[task] = self.call(worker, f"{call.method} {call.key}")
                if kind is not None:
                    self.before(worker, kind, excused=call.method == "put")
            elif (kind := faults.pop(task, None)) is not None:
                self.after(worker, kind)

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
        for task in (self.tasks[worker], *self._helpers.pop(worker, ())):
            self.scheduler.kill(task)
        raise Killed

    def failure_of(self, job: str, recording: bytes) -> ErrorDetail | None:
        """How this attempt ends; None: well."""
        waiting = self.failing.get(recording)
        if not waiting:
            return None
        self.ledger.failures[job] += 1
        return waiting.pop(0)

    # ── what users do ────────────────────────────────────────────────────────────────────────────────────────────────

    def drop(self, key: str, body: bytes, options: Mapping[str, Any] | None = None) -> str:
        """A recording, or another version of it. Gives its sid. ``options``: those that a batch's lines give."""
        source = self.layout.source(self.store.drop(self.layout.input_key(key), body))
        self.ledger.versions.dropped(source, options)
        self.trace(USER, f"dropped {key} = {body!r}")
        if options is None:
            self.bodies[key] = body
        return source.sid

    def drop_batch(self, key: str, ordinary: str, options: Mapping[str, Any], own: str) -> str:
        """A batch: what matches ``ordinary`` as it is, what matches ``own`` under ``options``. Gives its sid."""
        lines = ({"glob": ordinary}, {"glob": own, "options": dict(options)})
        return self.drop(key, "".join(json.dumps(line) + "\n" for line in lines).encode(), options)

    def delete(self, key: str) -> None:
        self.ledger.versions.removed(key)
        self.bodies.pop(key, None)
        self.store.delete(self.layout.input_key(key))
        self.trace(USER, f"deleted {key}")

    def evict(self, key: str) -> None:
        """Take a reference, or a blob, out of the bucket."""
        self.store.delete(key)
        self.trace(USER, f"evicted {key}")

    def references(self) -> tuple[str, ...]:
        return self.store.keys(self.layout.stage_key("").removesuffix(".json"))

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def all_settled(self) -> bool:
        sids = self.ledger.versions.current.values()
        return all(self.store.peek(self.layout.settled_key(sid)) is not None for sid in sids)

    def settled(self, key: str) -> str | None:
        """How what lies under ``key`` now was settled; None if it was not, or nothing lies there."""
        marker = self.store.peek(self.layout.settled_key(self.ledger.versions.current.get(key, "")))
        return None if marker is None else str(json.loads(marker)["outcome"])

    def age(self, seconds: float) -> None:
        """Let time go by, in which nothing happens."""
        self.scheduler.now += seconds
        self.scheduler.limit += seconds

    def run(self) -> None:
        """Until every worker has ended; then look at what is left. The violations are in the ledger."""
        self.let_all_end()
        if self.scheduler.now > self.scheduler.limit:
            self.ledger.broken(f"it was not over after {self.scheduler.limit:.0f} s")
        check_end(self)

    def let_all_end(self) -> None:
        """Until every task has ended. Nothing is looked at."""
        logging.disable(logging.CRITICAL)
        try:
            self.scheduler.run()
        finally:
            logging.disable(logging.NOTSET)

    def trace(self, who: str, what: str) -> None:
        if self.log is not None:
            self.log.append(f"{self.scheduler.now:9.3f}  {who:6}  {what}")
