"""When deliveries are tried, and by whom in this process: the worker's side of its callbacks.

Told of each ending by the publisher; otherwise finds what others left by a listing now and then, so that a bucket
without callbacks costs one request. Tries run in threads of their own, a few side by side: a receiver that stalls must
hold up neither the jobs nor the other receivers. Remembers only what it can find again.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

from handler.callbacks.deliveries import LOOK_AGAIN_SECONDS, Deliveries, Held
from handler.callbacks.guard import AllowList
from handler.callbacks.transport import Transport
from handler.clock import Clock
from handler.ending import Ending
from handler.errors import HandlerError, StoreError
from handler.layout import Layout
from handler.settings import Settings
from handler.store.base import Store
from pipeline.errors import sentence

log = logging.getLogger(__name__)

SIDE_BY_SIDE = 4  # tries; each has a result in memory
_TROUBLE_SECONDS = 30.0  # after an error of the store
_MOMENT = 0.2  # seconds between two looks at what is under way
_PATIENCE = 3.0  # seconds for what was cut off to tell the bucket


@dataclass(slots=True)
class _Known:
    """``due``: monotonic seconds; ``held``: taken by us already; ``flying``: being tried now."""

    due: float
    held: Held | None = None
    flying: bool = False


Start = Callable[[threading.Thread], None]


class Courier:
    """One for a worker. ``side_by_side``: tries; with 0, no thread, and `tick` makes them. ``start``: starts a thread;
    RuntimeError where there can be no more. `SettingsError` for a secret or an allow list that cannot be.
    """

    def __init__(
        self,
        store: Store,
        layout: Layout,
        settings: Settings,
        clock: Clock,
        *,
        worker: str,
        transport: Transport | None = None,
        side_by_side: int = SIDE_BY_SIDE,
        start: Start = threading.Thread.start,
    ) -> None:
        self._store = store
        self._layout = layout
        self._clock = clock
        self._every = settings.reconcile_seconds
        allow = AllowList(settings.callback_allow or "")
        self._transport = transport or Transport(allow, settings.callback_timeout_seconds)
        self._deliveries = Deliveries(store, layout, settings, clock, worker=worker, send=self._transport.send)
        self._side_by_side = side_by_side
        self._start = start
        self._look_due = clock.monotonic()
        self._known: dict[str, _Known] = {}
        self._ignored: set[str] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._threads: set[threading.Thread] = set()
        self._dispatcher: threading.Thread | None = None

    # ── the publisher's side: `handler.publish.Herald` ───────────────────────────────────────────────────────────────

    def ended(self, ending: Ending, output: str, body: bytes) -> None:
        """An input has its result, or its error, and is about to be settled. Store errors pass through."""
        subscriber = ending.subscriber
        if subscriber.callback is None:
            return
        made = self._deliveries.make(subscriber, ending.job_id, output, body, ending.store_time)
        if made is not None:
            name, held = made
            self._remember(name, held)

    # ── the worker's side ────────────────────────────────────────────────────────────────────────────────────────────

    def look(self, *, now: bool = False) -> None:
        """List what is to be delivered, if the last look is long enough ago. Trouble is logged and raises nothing."""
        if self._clock.monotonic() < self._look_due and not now:
            return
        self._look_due = self._clock.monotonic() + self._every
        try:
            listed = [info.key for info in self._store.list(self._layout.pending)]
        except StoreError as error:
            log.error("callbacks: %s", sentence(error.message, error.hint))
            self._look_due = self._clock.monotonic() + min(self._every, _TROUBLE_SECONDS)
            return
        for key in listed:
            name = key.removeprefix(self._layout.pending).removesuffix(".json")
            if name not in self._known and name not in self._ignored:
                self._remember(name, None)

    def tick(self) -> None:
        """The worker comes by: see to it that what is due is tried."""
        if self._side_by_side == 0:
            for name in self._due():
                self._fly(name)
        elif self._known and self._dispatcher is None and not self._closed:
            dispatcher = threading.Thread(target=self._dispatch, name="courier", daemon=True)
            try:
                self._start(dispatcher)
            except RuntimeError as error:  # the next tick tries again
                log.error("callbacks: %s", error)
                return
            self._dispatcher = dispatcher

    def waiting(self) -> bool:
        """Whether anything is still to be delivered, by anybody: asks the bucket when nothing is known here."""
        if not self._known:
            self.look(now=True)
        return bool(self._known)

    def busy(self) -> bool:
        """Whether something is being tried, or due now."""
        now = self._clock.monotonic()
        with self._lock:
            return any(one.flying or one.due <= now for one in self._known.values())

    def due_in(self) -> float:
        """Seconds until something may have changed."""
        now = self._clock.monotonic()
        with self._lock:
            return min(
                (_MOMENT if one.flying else max(_MOMENT, one.due - now) for one in self._known.values()), default=0
            )

    def close(self) -> None:
        """Cut off what is under way. It is told in the bucket, if that answers soon; otherwise its lease runs out."""
        self._closed = True
        self._wake.set()
        self._transport.abort()
        until = self._clock.monotonic() + _PATIENCE
        for thread in [self._dispatcher, *self._threads]:
            if thread is not None:
                thread.join(max(0.0, until - self._clock.monotonic()))

    # ── trying ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _remember(self, name: str, held: Held | None) -> None:
        with self._lock:
            known = self._known.setdefault(name, _Known(0.0))
            if not known.flying:
                known.due, known.held = self._clock.monotonic(), held
        self._wake.set()

    def _due(self) -> list[str]:
        """Those that are due, the least tried first: marked as being tried."""
        now = self._clock.monotonic()
        with self._lock:
            room = (self._side_by_side or math.inf) - sum(one.flying for one in self._known.values())
            due = [name for name, one in self._known.items() if not one.flying and one.due <= now]
            due.sort(key=lambda name: (self._known[name].held is None, self._known[name].due))
            chosen = due[: int(min(room, len(due)))]
            for name in chosen:
                self._known[name].flying = True
            return chosen

    def _fly(self, name: str) -> None:
        """One try. Whatever goes wrong with one delivery is its own affair."""
        held, self._known[name].held = self._known[name].held, None
        again: float | None = _TROUBLE_SECONDS
        try:
            again = self._deliveries.deliver(name, held)
        except HandlerError as error:
            log.error("callbacks: %s", sentence(error.message, error.hint))
        except Exception:
            log.exception("callbacks: an error of ours")
            again = max(_TROUBLE_SECONDS, LOOK_AGAIN_SECONDS)
        finally:
            with self._lock:
                if again is None or math.isinf(again):
                    del self._known[name]
                    if again is not None:
                        self._ignored.add(name)
                else:
                    self._known[name].due, self._known[name].flying = self._clock.monotonic() + again, False
            self._wake.set()

    def _dispatch(self) -> None:
        while not self._closed:
            self._wake.clear()
            for name in self._due():
                thread = threading.Thread(target=self._in_thread, args=(name,), name="callback", daemon=True)
                self._threads.add(thread)
                try:
                    self._start(thread)
                except RuntimeError as error:  # the machine has no more threads to give, for now
                    log.error("callbacks: %s", error)
                    self._threads.discard(thread)
                    with self._lock:
                        one = self._known[name]
                        one.due, one.flying = self._clock.monotonic() + _TROUBLE_SECONDS, False
            self._clock.wait(self._wake, self._pause())

    def _in_thread(self, name: str) -> None:
        try:
            self._fly(name)
        finally:
            self._threads.discard(threading.current_thread())

    def _pause(self) -> float:
        """Seconds until the next one is due. One that ends wakes the dispatcher."""
        now = self._clock.monotonic()
        with self._lock:
            room = sum(one.flying for one in self._known.values()) < self._side_by_side
            due = [one.due for one in self._known.values() if not one.flying] if room else []
        return max(0.0, min(due, default=now + 3600.0) - now)
