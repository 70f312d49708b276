"""A queue in the proof's world: messages about inputs, hidden while somebody has them, lost and doubled as told.

`Exchange` is the queue's side, `SimSource` a worker's (`handler.source.Source`). Each of its calls is a pause point and
may be the place of a fault, as a request to the store is.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from proof_world import FaultKind, World
from sim_scheduler import SimClock

from handler.errors import Unavailable

VISIBILITY = 40.0  # seconds


@dataclass(slots=True)
class Parcel:
    """A message in the queue. ``sid``: the version that lay there when it was sent."""

    key: str
    sid: str
    visible: float = 0.0  # the scheduler's seconds from which it can be received
    receives: int = 0
    gone: bool = False


class Exchange:
    def __init__(self, world: World) -> None:
        self.world = world
        self.parcels: list[Parcel] = []
        self.ahead = 0  # messages that were received before their time, and done next

    def send(self, key: str) -> None:
        self.parcels.append(Parcel(key, self.world.ledger.versions.current[key]))

    def receive(self, most: int = 10) -> list[Parcel]:
        now = self.world.scheduler.now
        due = [parcel for parcel in self.parcels if not parcel.gone and parcel.visible <= now][:most]
        for parcel in due:
            parcel.visible = now + VISIBILITY
            parcel.receives += 1
        return due

    def source(self, worker: str, clock: SimClock) -> SimSource:
        return SimSource(self, worker, clock)


@dataclass(slots=True)
class SimNotice:
    source: SimSource
    parcel: Parcel
    keys: Sequence[str]
    again: bool

    def done(self) -> None:
        self.source.acknowledge(self.parcel)

    def later(self, seconds: float) -> None:
        self.source.show(self.parcel, seconds)

    def extend(self) -> None:
        self.source.show(self.parcel, VISIBILITY)


class SimSource:
    """Trouble with the queue is nobody's error: a source does not raise, whatever its calls meet."""

    def __init__(self, exchange: Exchange, worker: str, clock: SimClock) -> None:
        self._exchange = exchange
        self._world = exchange.world
        self._worker = worker
        self._clock = clock
        self.prefetch = SimPrefetch(self)

    def wait(self, seconds: float, stop: threading.Event) -> Sequence[SimNotice]:
        until = self._clock.monotonic() + seconds
        ahead = self.prefetch.take()
        if ahead is not None and ahead.parcel.visible > self._world.scheduler.now:
            self._exchange.ahead += 1
            return [ahead]
        while not stop.is_set():
            got = self.receive("receive")
            if got:
                return got
            left = until - self._clock.monotonic()
            if left <= 0:
                return ()
            self._clock.wait(stop, min(left, 5.0))
        return ()

    def receive(self, what: str, most: int = 10) -> list[SimNotice]:
        """None also when there was no answer."""
        got: list[Parcel] = []
        answered = self._call(what, lambda: got.extend(self._exchange.receive(most)))
        prefix = self._world.layout.input
        return [SimNotice(self, one, (prefix + one.key,), one.receives > 1) for one in got] if answered else []

    def hand_back(self, notices: Sequence[SimNotice]) -> None:
        for notice in notices:
            notice.later(0.0)

    def close(self) -> None:
        return

    def acknowledge(self, parcel: Parcel) -> None:
        def act() -> None:
            parcel.gone = True
            self._world.ledger.acknowledged(self._worker, parcel.key, parcel.sid)

        self._call(f"acknowledge {parcel.key}", act)

    def show(self, parcel: Parcel, seconds: float) -> None:
        def act() -> None:
            parcel.visible = self._world.scheduler.now + seconds

        self._call(f"hide {parcel.key} {seconds:.0f}", act)

    def _call(self, what: str, act: object) -> bool:
        world = self._world
        kind: FaultKind | None = world.call(self._worker, f"queue {what}")
        try:
            if kind is not None:
                world.before(self._worker, kind, excused=True)
            act()  # type: ignore[operator]
            if kind is not None:
                world.after(self._worker, kind)
        except Unavailable:
            return False
        return True


class SimPrefetch:
    """One message before its time (`handler.source.Prefetch`), asked for in the worker's own thread."""

    def __init__(self, source: SimSource) -> None:
        self._source = source
        self._begun = False
        self._notice: SimNotice | None = None

    def begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._notice = next(iter(self._source.receive("receive ahead", 1)), None)

    def keys(self) -> Sequence[str]:
        return self._notice.keys if self._notice is not None else ()

    def extend(self) -> None:
        if self._notice is not None:
            self._notice.extend()

    def let_go(self) -> None:
        notice = self.take()
        if notice is not None:
            notice.later(0.0)

    def take(self) -> SimNotice | None:
        notice, self._notice, self._begun = self._notice, None, False
        return notice
