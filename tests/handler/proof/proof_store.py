"""What the proof's workers are given: a store that tells the ledger of each write, and an engine in simulated time.

Both are the package's own fakes with somebody looking on. Know no faults: those come from the store's hook.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proof_ledger import USER, Ledger
from sim_scheduler import SimClock

from handler.fakes import ScriptedEngine
from handler.store.base import Found
from handler.store.memory import Call, Hook, MemoryStore, Phase
from pipeline.types import Event, JobRequest, Progress, StageDone, Transcript, Word

if TYPE_CHECKING:
    from proof_world import World


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
        with self._understood(f"wrote to {key}"):
            self.ledger.wrote(self.writer, self.clock.time(), key, old, body, self._peek)
        return written

    @contextlib.contextmanager
    def _understood(self, what: str) -> Iterator[None]:
        """What the ledger raises is a violation. Raised here it would be the worker's, who has an answer to all."""
        try:
            yield
        except Exception as error:
            self.ledger.broken(f"the ledger does not understand what {self.writer} {what}: {error!r}")

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
                with self._understood(f"did to {key}"):
                    self.ledger.deleted(self.writer, key, lay_there[0])


class SimEngine(ScriptedEngine):
    """Takes its time, beat by beat, and is not bit-stable: no two runs hear quite the same."""

    def __init__(self, world: World, worker: str, clock: SimClock) -> None:
        super().__init__(between=lambda stage: world.on_stage(worker, f"end of {stage}"))
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
                for step in range(world.steps):
                    self._clock.sleep(world.step_seconds)
                    if step == 0:
                        world.on_stage(self._worker, f"middle of {event.stage}")
                    yield None

    def _transcript(self, source: Path, request: JobRequest) -> Transcript:
        transcript = super()._transcript(source, request)
        [channel] = transcript.channels
        take = Word(text=f"take{next(self._world.takes)}", start=20.0, end=20.5, confidence=0.5)
        return transcript.model_copy(
            update={"channels": (channel.model_copy(update={"words": (*channel.words, take)}),)}
        )
