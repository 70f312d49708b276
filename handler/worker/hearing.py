"""What a source tells: its messages in hand, one after the other, and the one that is received before its time.

Takes notices; has the worker's inputs see what they name, and says what became of them. Knows nothing of when the
source is asked, nor of what an input is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from handler.batches import Batches
from handler.callbacks.courier import Courier
from handler.clock import Clock
from handler.source import Notice, Source
from handler.worker.ahead import Upcoming
from handler.worker.claims import Errand
from handler.worker.inputs import Inputs

SOON_SECONDS = 30.0  # of a job's time left: from then on the next message is received
_LATE_SECONDS = 60.0  # that it is kept, or that a job shows anew: what was soon is not, and others can have it


class Hearing:
    """Owned by the worker's thread. ``prefetch``: whether to receive a message ahead at all."""

    def __init__(
        self,
        source: Source,
        inputs: Inputs,
        batches: Batches,
        courier: Courier,
        clock: Clock,
        stop: threading.Event,
        *,
        prefetch: bool,
    ) -> None:
        self._source = source
        self._inputs = inputs
        self._batches = batches
        self._courier = courier
        self._clock = clock
        self._stop = stop
        self._prefetch = source.prefetch if prefetch else None
        self._asked_at: float | None = None  # during the present errand: when one was received ahead
        self._until = float("inf")

    def hear(self, notices: Sequence[Notice], until: float) -> None:
        """See what the notices name. Several may name the same input: that is seen once. ``until``: this machine's
        monotonic seconds at which the worker has something else to do.
        """
        self._until = until
        seen: dict[str, tuple[bool, float]] = {}
        waiting = list(notices)
        # Those that are handed back, too: they are as likely to come to this worker as to any other.
        coming = dict.fromkeys(key for notice in notices for key in notice.keys if self._inputs.is_recording(key))
        self._inputs.upcoming = partial(self._upcoming, coming)
        try:
            while waiting and not self._stop.is_set():
                notice = waiting[0]
                errand = Errand(
                    begun=partial(self._begin, waiting),
                    extend=partial(self._extend, notice),
                    again=notice.again,
                    left=partial(self._look_ahead, notice, coming),
                )
                for key in notice.keys:
                    coming.pop(key, None)
                    if key not in seen and not self._stop.is_set():
                        self._asked_at = None
                        batch = self._batches.names(key)
                        seen[key] = self._batches.hear(key) if batch else self._inputs.see_key(key, errand)
                ends = [seen.get(key, (False, 0.0)) for key in notice.keys]
                if all(settled for settled, _ in ends):
                    notice.done()
                else:
                    self.let_go()  # the job failed, or is another's: who knows how the next one fares here
                    notice.later(max(seconds for settled, seconds in ends if not settled))
                waiting.pop(0)
                self._courier.tick()
        finally:  # told to stop, or this worker's model does not load: others may do better
            self._inputs.upcoming = tuple
            if waiting or self._stop.is_set():
                self.let_go()
            if waiting:
                self._source.hand_back(waiting)

    def let_go(self) -> None:
        """What was received ahead is not this worker's next errand."""
        if self._prefetch is not None:
            self._prefetch.let_go()

    def _upcoming(self, coming: Mapping[str, None]) -> Iterable[Upcoming]:
        received = self._prefetch.keys() if self._prefetch is not None else ()
        sure = [Upcoming(key, sure=True) for key in received if self._inputs.is_recording(key)]
        return sure or map(Upcoming, coming)

    def _begin(self, waiting: list[Notice]) -> None:
        """Something long begins for the first of these: let others have the rest."""
        rest = waiting[1:]
        del waiting[1:]
        self._source.hand_back(rest)
        waiting[0].extend()

    def _extend(self, notice: Notice) -> None:
        """From the heart's thread."""
        notice.extend()
        if self._prefetch is not None:
            self._prefetch.extend()

    def _look_ahead(self, notice: Notice, coming: Mapping[str, None], left: float | None) -> None:
        """The engine is at a job that is over in ``left`` seconds, as far as is known. Called again and again."""
        if self._prefetch is None:
            return
        now = self._clock.monotonic()
        if self._asked_at is not None:
            if self._stop.is_set() or now - self._asked_at > _LATE_SECONDS or (left or 0.0) > _LATE_SECONDS:
                self._prefetch.let_go()
            return
        if left is None or left >= SOON_SECONDS or now + left >= self._until or self._stop.is_set():
            return
        if any(key in coming for key in notice.keys) or self._batches.told or self._batches.pending:
            return  # there is something to do before
        self._asked_at = now
        self._prefetch.begin()
