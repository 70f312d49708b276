"""What a worker looks at while the engine is at a job: whether it still has the job, whether anybody still wants it,
whether it is to stop; and what it can do meanwhile.

Called whenever the worker's thread comes by. Knows nothing of what the engine does, but for what the report tells.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from handler.clock import Clock
from handler.errors import HandlerError, LeaseLost
from handler.lease import Lease
from handler.worker.report import Report

# Whoever cancels an input either finds its job named in the manifest, or has set the marker before that manifest: so
# one look at the marker, some time after, misses nobody. A job that is over so soon is not worth the request.
_ASK_SECONDS = 1.0

_LONG_SECONDS = 1.0  # of the engine's work, after which a job is one that takes longer


class Interrupted(HandlerError):
    """The worker was told to stop: the lease was released, what is finished is cached."""

    retryable = True


class Lookout:
    """One per attempt. ``still_wanted``: called once, early in a job that takes longer; `LeaseLost` when it is not.
    ``meanwhile``: called again and again in a job that takes longer, once its recording is open, with the seconds until
    the job is over, None where they are not known.
    """

    def __init__(
        self,
        lease: Lease,
        report: Report,
        clock: Clock,
        stop: threading.Event,
        *,
        stop_seconds: float,
        still_wanted: Callable[[], None],
        meanwhile: Callable[[float | None], None],
    ) -> None:
        self._lease = lease
        self._report = report
        self._clock = clock
        self._stop = stop
        self._stop_seconds = stop_seconds
        self._stop_by: float | None = None  # monotonic; once told to stop
        self._still_wanted = still_wanted
        self._meanwhile = meanwhile
        self._ask_at = clock.monotonic() + _ASK_SECONDS
        self._long_at = float("inf")  # monotonic: when the job is one that takes longer
        self._open = False

    def engine_begins(self) -> None:
        self._long_at = self._clock.monotonic() + _LONG_SECONDS

    def recording_is_open(self) -> None:
        """By the engine: nothing has to be fetched for this job any more."""
        self._open = True

    def around(self) -> None:
        """`LeaseLost`, and `Interrupted` when the worker is to stop before the engine can be done."""
        if self._clock.monotonic() >= self._ask_at:
            self._ask_at = float("inf")
            self._still_wanted()
        if self._lease.lost:
            raise LeaseLost(f"job {self._lease.record.jid}: the lease was lost while the engine was at work")
        if self._stop.is_set():
            self._stop_in_time()
        if self._open and self._clock.monotonic() >= self._long_at:
            self._meanwhile(self._report.remaining())

    def _stop_in_time(self) -> None:
        """Go on only if the stage will be over before the grace is."""
        now = self._clock.monotonic()
        if self._stop_by is None:
            self._stop_by = now + self._stop_seconds
        eta = self._report.eta()
        if eta is None or now + eta > self._stop_by:
            raise Interrupted("the worker is stopping")
