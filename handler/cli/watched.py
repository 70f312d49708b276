"""What watches a worker: its log's lines, the figures, the port on which they are served.

Takes the settings; gives an observer for the worker, and serves what that learns. Without DROPSCRIBE_HTTP_PORT nothing
is imported for it, and no figure is kept.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from handler.child import Engine
from handler.cli.logs import JsonLines
from handler.cli.runtime import start_log, stderr_is_terminal
from handler.clock import Clock
from handler.health import Health
from handler.observer import Observer
from handler.settings import Settings
from handler.store.base import Store
from handler.store.counted import CountedStore
from handler.worker import Worker
from pipeline.devices import memory_in_use

log = logging.getLogger(__name__)

_STAT, _UPTIME = Path("/proc/self/stat"), Path("/proc/uptime")  # proc(5)
_START_TIME = 21 - 2  # starttime, field 22, counted from the one after the name in brackets


@runtime_checkable
class CountsRestarts(Protocol):
    """An engine that tells how it fares, as `handler.child.ChildEngine` does."""

    @property
    def restarts(self) -> dict[str, int]: ...

    @property
    def ready_seconds(self) -> float | None: ...


class Watched:
    """One per worker, from the command's first moment on. ``name``: the worker's. `Usage` when the port cannot be
    opened.
    """

    def __init__(self, settings: Settings, clock: Clock, name: str) -> None:
        self._clock = clock
        self._worker: Worker | None = None
        self._health: Health | None = None
        self.observer = Observer(clock)
        if settings.http_port is not None:
            from handler.exposition import CONTENT_TYPE, Prometheus

            sink = Prometheus()
            self.observer = Observer(clock, sink)

            def page() -> bytes:
                self.observer.before_reading()
                return sink.page()

            self._health = Health(settings.http_host, settings.http_port, self._is_ready, page, CONTENT_TYPE)
        start_log(logging.INFO, _lines(settings, name, self.observer))
        if self._health is not None:
            log.info("/livez, /readyz and /metrics on http://%s:%d", *self._health.address)
        if (age := process_seconds()) is not None:
            self.observer.phase("process", age)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """The block is that phase of the start."""
        began = self._clock.monotonic()
        yield
        self.observer.phase(name, self._clock.monotonic() - began)

    def store(self, store: Store) -> Store:
        """The same one; its requests are counted if anybody can read that."""
        return store if self._health is None else CountedStore(store, self.observer.request)

    def begin(self, worker: Worker, engine: Engine) -> None:
        """It is about to work: from then on /readyz is its own affair. What is read when somebody asks: the engine's
        restarts, the GPUs' memory.
        """
        self._worker = worker
        if self._health is None:
            return
        if isinstance(engine, CountsRestarts):
            self.observer.at_reading(lambda: self.observer.engine(engine.restarts, engine.ready_seconds))
        self.observer.at_reading(self._look_at_gpus)

    def close(self) -> None:
        if self._health is not None:
            self._health.close()

    def _is_ready(self) -> bool:
        return self._worker is not None and self.observer.ready and not self._worker.stop.is_set()

    def _look_at_gpus(self) -> None:
        for index, (used, total) in memory_in_use().items():
            self.observer.gpu(str(index), used, total)


def _lines(settings: Settings, name: str, observer: Observer) -> logging.Formatter | None:
    """None for the form that people read."""
    if settings.log_format == "text" or (settings.log_format == "auto" and stderr_is_terminal()):
        return None
    return JsonLines(name, lambda: observer.doing)


def process_seconds(stat: Path = _STAT, uptime: Path = _UPTIME) -> float | None:
    """Since this process was started, the interpreter included; None where the system does not say."""
    try:
        started = int(stat.read_text().rpartition(")")[2].split()[_START_TIME])
        return max(0.0, float(uptime.read_text().split()[0]) - started / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return None
