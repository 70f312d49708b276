"""The worker: hear of inputs from its source, find the rest by scanning, see each to its end, go on. One job at a time.

Whatever goes wrong with one input is that input's affair: it is settled with an error, or looked at again later. Only
two things end the loop: being told to stop, and a model of the worker's own that cannot be loaded.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice

from handler.batches import Batches
from handler.callbacks.courier import Courier
from handler.child import Engine
from handler.clock import Clock
from handler.errors import LeaseLost, StoreError, Unavailable
from handler.layout import Layout
from handler.observer import Observer
from handler.settings import Settings
from handler.source import NoSource, Notice, Source
from handler.store.base import Store
from handler.watch import Pace, Scan
from handler.worker.ahead import Upcoming
from handler.worker.beside import Beside, in_turn
from handler.worker.endings import Tally
from handler.worker.hearing import Hearing
from handler.worker.heart import Heart, thread_heart
from handler.worker.inputs import Inputs
from handler.worker.memory import LOOK_AGAIN_SECONDS
from handler.worker.retention import Retention
from handler.worker.scratch import Scratch
from handler.worker.turns import Turns
from pipeline.errors import sentence

log = logging.getLogger(__name__)

_LISTED_A_MISS = 2000  # keys that two requests list, which is what it costs to find that others were faster
_READY_MARGIN = 0.005  # seconds; a scan a moment too early would see nothing
_MOST_COMING = 100  # inputs that may have to wait, before one that is next and due
_MOST_TROUBLE = 8  # times in a row that a drain's source could not be asked


MakeCourier = Callable[..., Courier]
"""As `Courier` itself: a store, a layout, settings, a clock, and the worker's name."""


class Worker:
    """``stop``: set it (from a signal handler, another thread) and the worker releases what it has and ends.

    ``source``: where it hears of inputs; without one it only scans. ``courier``: makes what delivers callbacks.
    ``beside``: how it asks for what it need not wait for. ``aside``: where it sweeps, when that is due. ``ahead``:
    where it fetches the next recording while it is at another; None: not before its turn. ``observer``: is told what
    happens.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        clock: Clock,
        engine: Engine,
        *,
        name: str,
        stop: threading.Event | None = None,
        source: Source | None = None,
        heart: Heart = thread_heart,
        beside: Beside = in_turn,
        aside: Beside = in_turn,
        ahead: Beside | None = None,
        courier: MakeCourier = Courier,
        observer: Observer | None = None,
    ) -> None:
        self.name = name
        self.stop = stop or threading.Event()
        self._store = store
        self._settings = settings
        self._clock = clock
        self._engine = engine
        self.observer = observer or Observer(clock)
        self.layout = Layout.of(store.url, settings)
        self._scratch = Scratch(settings.work_dir, name)
        self._source = source or NoSource(clock)
        self._hears = source is not None
        self._met_others = False
        self._ready_in = math.inf  # seconds from the last scan until a file that was not ready may be
        self._scan_took = 0.0
        self._listed = 0  # keys, by the last scan
        self.courier = courier(store, self.layout, settings, clock, worker=name)
        self.inputs = Inputs(
            store, self.layout, settings, clock, engine, self._scratch,
            name=name, stop=self.stop, heart=heart, beside=beside, observer=self.observer, ahead=ahead,
            herald=self.courier,
        )  # fmt: skip
        self.batches = Batches(store, self.layout, settings, clock, worker=name, asleep=self.inputs.wait_for)
        self._hearing = Hearing(
            self._source, self.inputs, self.batches, self.courier, clock, self.stop, prefetch=ahead is not None
        )
        self._retention = Retention(store, self.layout, clock, settings, name=name, stop=self.stop, aside=aside)
        self._pace = Pace(settings, store.listing, hears=self._hears)

    @property
    def tally(self) -> Tally:
        return self.inputs.endings.tally

    def run(self, *, drain: bool) -> Tally:
        """Work until `stop` is set. With ``drain``, until every input is settled or, with a source, until that has
        nothing more to tell. `ModelUnavailable` for the worker's own; `Unavailable` when a drain's source gives no
        answer.
        """
        self._scratch.open()
        self.observer.is_ready(True)
        try:
            if drain and self._hears:
                self._drain_source()
            else:
                self._work(drain)
        finally:
            self.close()
        return self.tally

    def _work(self, drain: bool) -> None:
        while not self.stop.is_set():
            pending, worked = self.sweep()
            if not worked:
                self._retention.if_due()
            if drain and not pending and not worked:  # what was dropped during the work was not in its listing
                if not self._await_callbacks():
                    self._retention.finish()
                    return
            elif not (drain and not pending):
                self._hear_until(self._clock.monotonic() + self._pause(worked))

    def _await_callbacks(self) -> bool:
        """All is settled: wait until nothing is left to be delivered, or the next scan is due. False if nothing was."""
        waited, due = False, self._clock.monotonic() + self._pause(False)
        while self.courier.waiting() and not self.stop.is_set() and self._clock.monotonic() < due:
            waited = True
            self.courier.tick()
            self._clock.wait(self.stop, min(self.courier.due_in(), max(0.0, due - self._clock.monotonic())))
        return waited

    def _pause(self, worked: bool) -> float:
        """Seconds until the next scan: as the pace has it, or as soon as a file that somebody may still be writing can
        be taken, or an input that a scan found is due again, of which nothing else tells; but no more than half of the
        time is spent on scans.
        """
        pace = self._pace.after(found_work=worked, batches=self.batches.pending, listed=self._listed)
        again = max(self._pace.least, self.inputs.due_in() + _READY_MARGIN)
        return max(self._scan_took, min(pace, self._ready_in + _READY_MARGIN, again))

    def _hear_until(self, due: float) -> None:
        """Do what the source tells until the next scan is due (monotonic seconds)."""
        while not self.stop.is_set():
            left = due - self._clock.monotonic()
            if left <= 0 or self.batches.told:
                return
            self.hear(self._source.wait(left, self.stop) or (), until=due)

    def _drain_source(self) -> None:
        """Until nothing is told in a whole wait."""
        trouble = 0
        while not self.stop.is_set():
            notices = self._source.wait(self._settings.drain_seconds, self.stop)
            if notices is None:
                trouble += 1
                if trouble >= _MOST_TROUBLE:
                    raise Unavailable("the queue gives no answer", "The reason stands in the log.")
                continue
            if not notices:
                break
            trouble = 0
            self.hear(notices)
            self._see_batches()
        self.courier.tick()
        while self.courier.busy() and not self.stop.is_set():  # what has to wait for its next try is left to others
            self.courier.tick()
            self._clock.wait(self.stop, self.courier.due_in())

    def _see_batches(self) -> None:
        """Nothing tells of a batch's members: scan until no batch is open."""
        while (self.batches.told or self.batches.pending) and not self.stop.is_set():
            _, worked = self.sweep()
            if self.batches.pending:
                self._hear_until(self._clock.monotonic() + self._pause(worked))

    def hear(self, notices: Sequence[Notice], *, until: float = math.inf) -> None:
        """See what the notices name. ``until``: as in `Hearing.hear`."""
        self._hearing.hear(notices, until)

    def give_back(self) -> bool:
        """Release the job under way, from another thread: the worker's own hangs. True when no lease is left behind."""
        lease = self.inputs.lease
        if lease is None or lease.record.state != "running":
            return True
        try:
            lease.release()
        except LeaseLost:
            return True
        except StoreError as error:
            log.error("the job could not be given back: %s", sentence(error.message, error.hint))
            return False
        return True

    def close(self) -> None:
        """End the engine, empty the scratch folder, leave the statistics behind."""
        self.observer.is_ready(False)
        self._retention.close()
        self.courier.close()
        self._source.close()
        self.inputs.close()
        self._engine.close()
        self._scratch.close()
        try:
            self.inputs.endings.stats.save(self._store, self.layout, self._clock, self.name)
        except StoreError as error:
            log.warning("stats: %s", error.message)

    def sweep(self) -> tuple[bool, bool]:
        """One scan, and every input it shows that is due. Gives (is any input still unsettled, was any work done).

        When others were faster at more of them than a new listing costs, a new listing is what follows.
        """
        worked = False
        self._hearing.let_go()  # a message must not wait behind a listing
        self.courier.look()
        self.courier.tick()
        while True:
            self.inputs.listed_at = self._clock.monotonic()
            try:
                seen = self.batches.scan()
            except StoreError as error:
                log.error("scan: %s", sentence(error.message, error.hint))
                return True, worked
            except Exception:  # something in the bucket that nobody foresaw must not end every worker on it
                log.exception("scan: an error of ours; scanned again later")
                return True, worked
            self._scan_took, self._ready_in = self._clock.monotonic() - self.inputs.listed_at, seen.ready_in
            self._listed = seen.listed
            self.observer.phase("listing", self._scan_took)
            self.observer.found({found.sid: found.since for found in seen.candidates})
            whole, pending, did = self._look_at(seen)
            worked = worked or did
            if whole:
                return pending, worked

    def _look_at(self, seen: Scan) -> tuple[bool, bool, bool]:
        """What a listing shows. False first when it was given up because others had been faster; then as `sweep`."""
        pending, worked = seen.unready > 0 or self.batches.pending, False
        turns = Turns(len(seen.candidates), self._clock.random, apart=self._met_others)
        met, self._met_others = 0, False
        self.inputs.upcoming = partial(self._coming, seen, turns)
        for place in turns:
            candidate = seen.candidates[place]
            if self.stop.is_set():
                return True, True, worked
            if self.inputs.wait_for(candidate.sid):
                pending = True
                continue
            taken = self.inputs.taken
            settled = self.inputs.see(candidate, seen.options)
            if settled:  # should the next listing show it unsettled all the same, that is no reason to hurry
                self.inputs.later(candidate.sid, LOOK_AGAIN_SECONDS)
            self.courier.tick()
            self.batches.look()
            pending, worked = pending or not settled, True
            if self.inputs.taken > taken:
                self._met_others = True
                met += 1
                if met > seen.listed // _LISTED_A_MISS:
                    return False, pending, worked
                turns.jump()
        self.inputs.upcoming = tuple
        self.inputs.keep_only({candidate.sid for candidate in seen.candidates} | self.batches.waiting)
        return True, pending, worked

    def _coming(self, seen: Scan, turns: Turns) -> Iterator[Upcoming]:
        """What of the listing is next, and due."""
        for place in islice(turns.coming(), _MOST_COMING):
            candidate = seen.candidates[place]
            if not self.inputs.wait_for(candidate.sid):
                yield Upcoming.listed(candidate, seen.options)
