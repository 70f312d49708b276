"""A limit for the whole of one try, however its time is spent: in the resolver, in a handshake, or in bytes that drip.

A socket's own timeout starts anew with every byte. This one cuts the connection from a thread of its own, in real
seconds, because it is about the network and not about anything that a test could wait for in another time.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType


class TimeLimit:
    """``with TimeLimit(seconds) as limit``. Once it is over, or somebody calls `end`, what was given to `cut` is
    called, in another thread; what is given later is called at once.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.over = False
        self._lock = threading.Lock()
        self._cuts: list[Callable[[], None]] = []
        self._sockets: list[socket.socket] = []
        self._timer = self._timer_of(seconds)

    def __enter__(self) -> TimeLimit:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for one in self._sockets:
                one.close()
            self._cuts, self._sockets = [], []

    def cut(self, act: Callable[[], None]) -> None:
        with self._lock:
            if not self.over:
                self._cuts.append(act)
                return
        act()

    def cut_socket(self, connected: socket.socket) -> None:
        """Both ends of the connection, whatever is wrapped around that socket later."""
        spare = connected.dup()
        with self._lock:
            self._sockets.append(spare)

        def shut() -> None:
            with contextlib.suppress(OSError):
                spare.shutdown(socket.SHUT_RDWR)

        self.cut(shut)

    def restart(self, seconds: float) -> None:
        """So long from now on, and no longer; unless it is over already."""
        self._timer.cancel()
        if not self.over:
            self._timer = self._timer_of(seconds)
            self._timer.start()

    def end(self) -> None:
        with self._lock:
            self.over = True
            acts, self._cuts = self._cuts, []
        for act in acts:
            act()

    def _timer_of(self, seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, self.end)
        timer.daemon = True
        return timer
