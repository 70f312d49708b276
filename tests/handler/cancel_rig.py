"""What tests of cancelling share: two sides that take turns, request by request, and what must agree in the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from worker_rig import Rig, check_right

from handler.cancel import Cancel
from handler.fakes import ScriptedEngine
from handler.store.memory import Call, MemoryStore, Phase
from handler.worker import Worker
from handler.worker.heart import inline_heart

PATIENCE = 30.0  # seconds of real time until a side that waits for its turn gives up


class Turns:
    """Two sides, each in a thread of its own, of which one runs at a time: ``schedule`` says who makes how many
    requests, then the other; when it is used up, or a side has ended, whoever is left goes on.
    """

    def __init__(self, schedule: Sequence[tuple[str, int]]) -> None:
        self._left = [list(turn) for turn in schedule]
        self._ended: set[str] = set()
        self._busy: str | None = None
        self._change = threading.Condition()
        self.made: dict[str, int] = {}

    def hook(self, side: str) -> Callable[[Call, Phase], None]:
        def before(call: Call, phase: Phase) -> None:
            if phase == "before":
                self.made[side] = self.made.get(side, 0) + 1
                self._request(side)

        return before

    def run(self, sides: dict[str, Callable[[], Any]]) -> dict[str, Any]:
        """What each side returns; an exception is returned, too."""
        results: dict[str, Any] = {}

        def one(name: str, act: Callable[[], Any]) -> None:
            self._enter(name)
            try:
                results[name] = act()
            except BaseException as error:
                results[name] = error
            with self._change:
                self._ended.add(name)
                self._busy = None
                self._change.notify_all()

        threads = [threading.Thread(target=one, args=side) for side in sides.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    def _enter(self, side: str) -> None:
        with self._change:
            self._await(side)

    def _request(self, side: str) -> None:
        """Called before each request of the side that runs: its turn may be over with the one before."""
        with self._change:
            self._skip_ended()
            if self._left and self._left[0][0] == side:
                if self._left[0][1] == 0:
                    self._left.pop(0)
                    self._busy = None
                    self._change.notify_all()
                    self._await(side)
                if self._left and self._left[0][0] == side:
                    self._left[0][1] -= 1

    def _await(self, side: str) -> None:
        assert self._change.wait_for(lambda: self._mine(side), PATIENCE), f"{side} never had its turn"
        self._busy = side

    def _mine(self, side: str) -> bool:
        self._skip_ended()
        return self._busy is None and (not self._left or self._left[0][0] == side)

    def _skip_ended(self) -> None:
        while self._left and self._left[0][0] in self._ended:
            self._left.pop(0)


def slow(rig: Rig, seconds: float = 2.0) -> ScriptedEngine:
    """An engine whose stages take a while, of virtual time."""
    return ScriptedEngine(between=lambda stage: rig.clock.sleep(seconds))


def single_threaded(rig: Rig, store: MemoryStore, engine: ScriptedEngine, name: str) -> Worker:
    """A worker whose heart beats in its own thread."""
    return Worker(store, rig.settings, rig.clock, engine, name=name, heart=inline_heart)


def cancelling(rig: Rig, store: MemoryStore | None = None) -> Cancel:
    jobs = rig.jobs("cancel")
    if store is not None:
        jobs.store = store
    return Cancel(jobs)


def check_agreed(rig: Rig, key: str, body: bytes) -> str:
    """Marker, manifest and outputs tell one story, and nobody is at work on the job. Gives the outcome."""
    outcome = rig.settled(key)
    assert all(record.state not in ("running", "waiting") for record in rig.records())
    if outcome == "completed":
        check_right(rig, key, body)
        return outcome
    assert outcome == "cancelled", outcome
    assert rig.manifest(key)["status"] == "cancelled"
    assert rig.result(key) is None
    assert rig.error(key) is None
    return outcome
