"""When a file that somebody may still be writing is ready to be taken: once it has not changed for a while.

Takes a version and an mtime; gives seconds. Remembers only files with an mtime in the future, and no more than a few
thousand of them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from handler.clock import Clock

_REMEMBERED = 4096


class Readiness:
    """``settle_seconds``: how old an mtime must be. One in the future (another host's clock, an archive's) tells
    nothing; such a file is ready once this object has seen the same version for as long. Safe between threads.
    """

    def __init__(self, clock: Clock, settle_seconds: float) -> None:
        self._clock = clock
        self._settle = settle_seconds
        self._future: OrderedDict[str, tuple[str, float]] = OrderedDict()  # key → version, monotonic time first seen
        self._lock = threading.Lock()

    def left(self, key: str, version: str, mtime: float) -> float:
        """Seconds until this version of the file is ready; 0 when it is. ``mtime`` in epoch seconds."""
        return max(0.0, self._settle - self._unchanged(key, version, mtime))

    def _unchanged(self, key: str, version: str, mtime: float) -> float:
        age = self._clock.time() - mtime
        if age >= 0:
            return age
        now = self._clock.monotonic()
        with self._lock:
            known, since = self._future.pop(key, ("", now))
            if known != version:
                since = now
            self._future[key] = (version, since)
            if len(self._future) > _REMEMBERED:
                self._future.popitem(last=False)
        return now - since
