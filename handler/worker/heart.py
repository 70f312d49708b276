"""The heartbeat of a job under way: renew the lease, keep the message hidden, notice that nobody wants the job any
more.

Takes a lease and what else is to be done at each beat; ends by itself once the lease is lost (`Lease.lost` tells).
Knows nothing of what the job does.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from handler.clock import Clock
from handler.errors import LeaseLost, StoreError, Unavailable
from handler.lease import Lease
from handler.worker.report import Report
from pipeline.errors import sentence

log = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0  # after a beat that got no answer


class Pulse:
    """What happens at a beat, and when the next one is due.

    ``seconds`` between beats. ``wanted``: whether anybody still waits for the job; asked once a beat. ``extend``:
    called once a beat, for the message that brought the job.
    """

    def __init__(
        self, lease: Lease, report: Report, seconds: float, wanted: Callable[[], bool], extend: Callable[[], None]
    ) -> None:
        self._lease = lease
        self._report = report
        self._seconds = seconds
        self._wanted = wanted
        self._extend = extend
        self.pause = seconds

    def beat(self) -> bool:
        """False once there is nothing left to renew."""
        try:
            self._lease.beat(**self._report.pointers())
            self._extend()
            asked = {waiting.sid for waiting in self._lease.record.subscribers}
            if not self._wanted() and self._lease.cancel(asked).state == "cancelled":
                return False
            self.pause = self._seconds
        except LeaseLost:
            return False
        except Unavailable as error:
            log.warning("heartbeat: %s", error.message)
            self.pause = min(self._seconds, _RETRY_SECONDS)
        except StoreError as error:
            log.error("heartbeat: %s", sentence(error.message, error.hint))
            self.pause = self._seconds
        return True


Tick = Callable[[], None]
"""Called by the worker's thread whenever it comes by, many times between two beats."""

Heart = Callable[[Pulse, Clock], AbstractContextManager[Tick]]
"""Beats from the block's beginning to its end."""


@contextlib.contextmanager
def thread_heart(pulse: Pulse, clock: Clock) -> Iterator[Tick]:
    """A thread of its own: a lease must not run out because the worker's waits for a slow store."""
    over = threading.Event()

    def run() -> None:
        due = clock.monotonic() + pulse.pause
        while not clock.wait(over, max(0.0, due - clock.monotonic())):
            started = clock.monotonic()  # a slow beat must not put off the next one
            if not pulse.beat():
                return
            due = started + pulse.pause

    thread = threading.Thread(target=run, name="heart", daemon=True)
    thread.start()
    try:
        yield lambda: None
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def inline_heart(pulse: Pulse, clock: Clock) -> Iterator[Tick]:
    """Beats in the worker's own thread, when it comes by and a beat is due: for simulations, where one thread runs at a
    time.
    """
    due = clock.monotonic() + pulse.pause
    alive = True

    def tick() -> None:
        nonlocal due, alive
        started = clock.monotonic()
        if alive and started >= due:
            alive = pulse.beat()
            due = started + pulse.pause

    yield tick
