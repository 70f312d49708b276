"""Time, sleep, randomness and ids as a parameter, so that tests own them. Nothing else in the handler reads a clock."""

from __future__ import annotations

import random
import threading
import time
import uuid
from typing import Protocol


class Clock(Protocol):
    def time(self) -> float:
        """This machine's idea of the epoch, in seconds. For people's eyes only: leases use the store's clock."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def sleep(self, seconds: float) -> None: ...

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Sleep, but wake when ``event`` is set; True if it is."""

    def random(self) -> float:
        """Uniform in [0, 1)."""

    def new_id(self) -> str:
        """A fresh id of 32 hexadecimal digits: nonces, worker names."""


class SystemClock:
    """The real one."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(seconds)

    def random(self) -> float:
        return self._random.random()

    def new_id(self) -> str:
        return uuid.uuid4().hex


class VirtualClock:
    """A clock that moves only when told to: `sleep` advances it. Ids and randomness come from ``seed``."""

    def __init__(self, start: float = 1_700_000_000.0, seed: int = 0) -> None:
        self._now = start
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def time(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if not event.is_set():
            self.advance(seconds)
        return event.is_set()

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now += max(0.0, seconds)

    def random(self) -> float:
        with self._lock:
            return self._random.random()

    def new_id(self) -> str:
        with self._lock:
            return f"{self._random.getrandbits(128):032x}"
