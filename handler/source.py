"""Where a worker hears of inputs: the one protocol of queue and webhook. What they say is a hint; the scan is the
truth.

A `Source` gives notices; each notice names keys and wants to be told what became of them. A `Prefetch` has the next one
ready. Knows nothing of jobs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from handler.clock import Clock

Translate = Callable[[str, str], str | None]
"""From an event's bucket and key to the store's key: None for another bucket, empty for what lies outside the store's
prefix (`handler.store.opening.event_keys` makes one).
"""


class Notice(Protocol):
    """One message. ``keys`` as in the store, prefix and all; they may name anything, or nothing that is still there."""

    @property
    def keys(self) -> Sequence[str]: ...

    @property
    def again(self) -> bool:
        """It was told before: somebody may have done part of the work."""

    def done(self) -> None:
        """Every key is settled, or was never work: do not tell again."""

    def later(self, seconds: float) -> None:
        """Tell again, in about ``seconds`` or somewhat later. Never counts as a failure."""

    def extend(self) -> None:
        """The work goes on. Called with each heartbeat, from the heart's thread. Never raises, and does not take
        long.
        """


class Prefetch(Protocol):
    """One notice before its time: from its receipt on nobody else has it, and the next `Source.wait` gives it. Nothing
    here raises. Owned by the worker's thread, but for `extend`.
    """

    def begin(self) -> None:
        """Ask for one, if there is one now; does not wait for the answer. Nothing when one was asked for already."""

    def keys(self) -> Sequence[str]:
        """What it names; empty until it is here, and when there was none."""

    def extend(self) -> None:
        """As `Notice.extend`, for this one."""

    def let_go(self) -> None:
        """Let others have it now. Waits a moment for one that is on its way."""


class Source(Protocol):
    """Owned by the worker's thread, but for `Notice.extend`. ``prefetch``: None where keeping one would keep nothing
    from anybody, or is not possible.
    """

    @property
    def prefetch(self) -> Prefetch | None: ...

    def wait(self, seconds: float, stop: threading.Event) -> Sequence[Any] | None:
        """Notices as soon as there are any; none after ``seconds``, or as soon as ``stop`` is set. None when it could
        not be asked: never raises, trouble is logged and waited out.
        """

    def hand_back(self, notices: Sequence[Any]) -> None:
        """Let others have these now: this worker is about to be busy with something long."""

    def close(self) -> None:
        """Send what is still to be sent. Idempotent."""


class NoSource:
    """A worker that only scans."""

    prefetch = None

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def wait(self, seconds: float, stop: threading.Event) -> Sequence[Any]:
        self._clock.wait(stop, seconds)
        return ()

    def hand_back(self, notices: Sequence[Any]) -> None:
        return

    def close(self) -> None:
        return
