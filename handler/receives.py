"""Receives from a queue that nobody has to wait for, and the one that is begun before its time.

Takes the connection to an SQS queue; gives messages as they came. Knows nothing of what becomes of them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence

from handler.clock import Clock
from handler.events import NotAnEvent, ObjectEvent, parse_events
from handler.source import Translate
from handler.sqs import Received, Sqs

log = logging.getLogger(__name__)

LAST_SECONDS = 1.0  # that a stopping worker waits for a receive under way: `docker stop` gives it ten in all


class Receive:
    """A receive under way, in a thread that nobody has to wait for: a server that never answers must not hold up the
    end of the process. ``shown``, on this machine's monotonic clock: when its messages' being hidden was last asked
    for.
    """

    def __init__(self, sqs: Sqs, clock: Clock, seconds: float, most: int, visibility: int) -> None:
        self._sqs = sqs
        self._visibility = visibility
        self._ask: Callable[[], list[Received]] = lambda: sqs.receive(seconds, most, visibility)
        # Before the request: the time that a message may be held counts from its receipt.
        self.asked = self.shown = clock.monotonic()
        self._clock = clock
        self._give_back: Callable[[list[Received]], None] | None = None
        self._lock = threading.Lock()
        self.messages: list[Received] = []
        self.error: Exception | None = None
        self.over = threading.Event()

    def extend(self) -> None:
        """Keep what it brought hidden: at most a request in a quarter of the visibility. Safe from any thread."""
        now = self._clock.monotonic()
        with self._lock:
            if self._give_back is not None or not self.messages or now - self.shown < self._visibility / 4:
                return
            self.shown = now
        # Should they be given back meanwhile, SQS refuses this: what is shown again is not in flight.
        self._sqs.show([message.receipt for message in self.messages], self._visibility)

    def abandon(self, give_back: Callable[[list[Received]], None]) -> None:
        """Nobody waits for it any more: what it brings is given to ``give_back``, from its thread if that lives on."""
        with self._lock:
            self._give_back = give_back
            over = self.over.is_set()
        if over:
            give_back(self.messages)

    def start(self, *, inline: bool) -> Receive:
        if inline:
            self._run()
        else:
            threading.Thread(target=self._run, name="queue", daemon=True).start()
        return self

    def _run(self) -> None:
        messages: list[Received] = []
        try:
            messages = self._ask()
        except Exception as error:
            self.error = error
        finally:
            with self._lock:
                self.messages, self.shown = messages, self._clock.monotonic()
                self.over.set()
                give_back = self._give_back
            if give_back is not None:
                give_back(messages)


class OneAhead:
    """`handler.source.Prefetch` on a queue: one message, in a receive of its own. ``visibility``: seconds that it is
    hidden at a time. ``inline``: receive in the caller's thread, for virtual time.
    """

    def __init__(self, sqs: Sqs, translate: Translate, clock: Clock, *, visibility: int, inline: bool = False) -> None:
        self._sqs = sqs
        self._translate = translate
        self._clock = clock
        self._visibility = visibility
        self._inline = inline
        self._receive: Receive | None = None
        self._keys: tuple[str, ...] | None = None

    def begin(self) -> None:
        if self._receive is None:
            self._keys = None
            receive = Receive(self._sqs, self._clock, 0.0, 1, self._visibility)
            try:
                self._receive = receive.start(inline=self._inline)
            except RuntimeError as error:  # no more threads
                log.debug("queue: nothing is received ahead: %s", error)

    def keys(self) -> Sequence[str]:
        receive = self._receive
        if receive is None or not receive.over.is_set():
            return ()
        if self._keys is None:
            self._keys = tuple(key for message in receive.messages for key in self._named(message))
        return self._keys

    def _named(self, message: Received) -> Sequence[str]:
        try:
            return created_keys(parse_events(message.body), self._translate)
        except NotAnEvent:  # its turn puts it away
            return ()

    def extend(self) -> None:
        receive = self._receive
        if receive is not None:
            receive.extend()

    def let_go(self) -> None:
        receive = self.take()
        if receive is not None:
            receive.over.wait(LAST_SECONDS)
            receive.abandon(self._show)

    def take(self) -> Receive | None:
        """It is the caller's from now on, under way or over. None where nothing was begun."""
        receive, self._receive, self._keys = self._receive, None, None
        return receive

    def _show(self, messages: list[Received]) -> None:
        if messages:
            self._sqs.show([message.receipt for message in messages], 0)


def created_keys(events: Iterable[ObjectEvent], translate: Translate) -> tuple[str, ...]:
    """The store's keys that events say something was written to, each once."""
    keys = (translate(event.bucket, event.key) for event in events if not event.removed)
    return tuple(dict.fromkeys(key for key in keys if key))
