"""The worker's own sweep: when it is due, and that one worker of many does it.

Takes settings that set a limit and a pause; begins when the worker comes by and has nothing else to do, and sweeps in a
thread of its own, because a sweep may take an hour, and the worker must hear meanwhile. The time of the last sweep is
that of ``sweep.json``, which whoever sweeps writes first. Knows nothing of what goes (`handler.sweep`).
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, wait
from functools import partial
from typing import Literal

from handler.clock import Clock
from handler.errors import HandlerError, NotFound
from handler.layout import Layout
from handler.settings import Settings
from handler.store.base import Store
from handler.store.swap import Conflict, put_record
from handler.sweep import Limits, Sweep, SweepStopped
from handler.worker.beside import Beside, in_turn
from pipeline.errors import sentence
from pipeline.types import Frozen

log = logging.getLogger(__name__)

_TRY_AGAIN_SECONDS = 300.0  # after trouble
_LOOK_SECONDS = 0.2  # how often a drain that waits for its sweep looks whether it is over
_LAST_SECONDS = 2.0  # for a sweep that was told to stop: what is not over then ends with the process, as by a crash


class SweepRecord(Frozen):
    """``sweep.json``: who swept last. When, is the object's own age."""

    format: Literal[1] = 1
    worker: str
    nonce: str = ""


class _Either(threading.Event):
    """Set when ``other`` is, too: a sweep ends with a worker that is told to stop, and with one that fails."""

    def __init__(self, other: threading.Event) -> None:
        super().__init__()
        self._other = other

    def is_set(self) -> bool:
        return super().is_set() or self._other.is_set()


class Retention:
    """``aside``: where it sweeps. The store is used from there and from the worker's thread at the same time."""

    def __init__(
        self,
        store: Store,
        layout: Layout,
        clock: Clock,
        settings: Settings,
        *,
        name: str,
        stop: threading.Event,
        aside: Beside = in_turn,
    ) -> None:
        self._store = store
        self._layout = layout
        self._clock = clock
        self._limits = Limits.of(settings)
        self._every = settings.sweep_seconds if self._limits.any else None
        self._name = name
        self._stop = _Either(stop)
        self._sweep = Sweep(store, layout, stop=self._stop)
        self._due = clock.monotonic()
        self._aside = aside
        self._begun: Future[None] | None = None  # the last sweep: over when it is

    def if_due(self) -> None:
        """Begin to sweep, if the workers' last sweep is long enough ago. Trouble is logged and raises nothing."""
        if self._every is None or self._clock.monotonic() < self._due:
            return
        if self._begun is not None and not self._begun.done():
            return
        self._due = self._clock.monotonic() + min(self._every, _TRY_AGAIN_SECONDS)
        try:
            self._begun = self._aside(partial(self._run_if_first, self._every))
        except RuntimeError as error:  # no more threads
            log.error("sweep: %s", error)

    def finish(self) -> None:
        """Wait for a sweep under way; not for one that is told to stop."""
        while self._begun is not None and not self._begun.done() and not self._stop.is_set():
            wait([self._begun], _LOOK_SECONDS)

    def close(self) -> None:
        """End a sweep under way: soon, unless the store hangs. What it has not come to is left for the next."""
        self._stop.set()
        if self._begun is not None:
            wait([self._begun], _LAST_SECONDS)

    def _run_if_first(self, every: float) -> None:
        try:
            left = self._claim(every)
            self._due = self._clock.monotonic() + (left or every)
            if not left:
                self._run()
        except SweepStopped:
            log.info("sweep: stopped; the next one goes on")
        except HandlerError as error:
            log.error("sweep: %s", sentence(error.message, error.hint))
        except Exception:
            log.exception("sweep: an error of ours")

    def _claim(self, every: float) -> float:
        """0 if this worker is the one to sweep now; else the seconds until a sweep is due."""
        key = self._layout.sweep_key()
        try:
            found = self._store.get(key)
        except NotFound:
            etag = None
        else:
            if found.age < every:
                return every - found.age
            etag = found.etag
        fields = SweepRecord(worker=self._name).model_dump(mode="json", exclude={"nonce"})
        try:
            put_record(self._store, key, fields, etag=etag, clock=self._clock)
        except Conflict:  # another worker was faster
            return every
        return 0.0

    def _run(self) -> None:
        started = self._clock.monotonic()
        swept = self._sweep.run(self._limits)
        log.info(
            "sweep: %d references and %d blobs (%d bytes) and %d outputs (%d bytes) removed in %.1f s",
            swept.references, swept.blobs, swept.cache_bytes, swept.outputs, swept.output_bytes,
            self._clock.monotonic() - started,
        )  # fmt: skip
