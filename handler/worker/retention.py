"""The worker's own sweep: when it is due, and that one worker of many does it.

Takes settings that set a limit and a pause; sweeps when the worker comes by and has nothing else to do. The time of the
last sweep is that of ``sweep.json``, which whoever sweeps writes first. Knows nothing of what goes (`handler.sweep`).
"""

from __future__ import annotations

import logging
import threading
from typing import Literal

from handler.clock import Clock
from handler.errors import HandlerError, NotFound
from handler.layout import Layout
from handler.settings import Settings
from handler.store.base import Store
from handler.store.swap import Conflict, put_record
from handler.sweep import Limits, Sweep, SweepStopped
from pipeline.errors import sentence
from pipeline.types import Frozen

log = logging.getLogger(__name__)

_TRY_AGAIN_SECONDS = 300.0  # after trouble


class SweepRecord(Frozen):
    """``sweep.json``: who swept last. When, is the object's own age."""

    format: Literal[1] = 1
    worker: str
    nonce: str = ""


class Retention:
    def __init__(
        self, store: Store, layout: Layout, clock: Clock, settings: Settings, *, name: str, stop: threading.Event
    ) -> None:
        self._store = store
        self._layout = layout
        self._clock = clock
        self._limits = Limits.of(settings)
        self._every = settings.sweep_seconds if self._limits.any else None
        self._name = name
        self._sweep = Sweep(store, layout, stop=stop)
        self._due = clock.monotonic()

    def if_due(self) -> None:
        """Sweep, if the workers' last sweep is long enough ago. Trouble is logged and raises nothing."""
        if self._every is None or self._clock.monotonic() < self._due:
            return
        self._due = self._clock.monotonic() + min(self._every, _TRY_AGAIN_SECONDS)
        try:
            left = self._claim(self._every)
            self._due = self._clock.monotonic() + (left or self._every)
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
