"""Steps for a flow, and a watcher that writes down what it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.flow import Given, Made, Report


class Diary:
    """Watches a flow and writes down what it is told; says if two calls come at once."""

    def __init__(self) -> None:
        self.plan: list[str] = []
        self.begun: list[str] = []
        self.moves: list[tuple[str, float, float | None, str | None]] = []
        self.ended: dict[str, Made] = {}
        self.ran: list[str] = []
        self.at_once = False
        self._busy = threading.Lock()

    def _alone(self, note: Callable[[], Any]) -> None:
        if not self._busy.acquire(blocking=False):
            self.at_once = True
            return
        note()
        self._busy.release()

    def planned(self, names: Sequence[str]) -> None:
        self.plan = list(names)

    def began(self, name: str) -> None:
        self._alone(lambda: self.begun.append(name))

    def moved(self, name: str, done: float, total: float | None, partial: str | None) -> None:
        self._alone(lambda: self.moves.append((name, done, total, partial)))

    def over(self, name: str, made: Made, seconds: float | None) -> None:
        def note() -> None:
            assert name not in self.ended
            self.ended[name] = made
            if seconds is not None:
                assert seconds >= 0
                self.ran.append(name)

        self._alone(note)


def gives(value: Any, degraded: str | None = None) -> Callable[[Given, Report], Made]:
    return lambda given, report: Made(value, degraded)


def joined(given: Given, report: Report) -> Made:
    return Made(tuple(given.values.items()))


def fails(error: BaseException) -> Callable[[Given, Report], Made]:
    def run(given: Given, report: Report) -> Made:
        raise error

    return run
