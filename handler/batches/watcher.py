"""All batches, scan by scan: open the new ones, give their members to the worker, tell how far they are, end them.

Takes a store and looks on at the worker's scans; gives candidates like any others. Remembers only what it can find
again: another worker goes on where this one stops. A bucket without a batch costs one listing now and then.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from handler.batches.plan import freeze, stored_plan
from handler.batches.report import Reporter
from handler.batches.standing import Standing
from handler.clock import Clock
from handler.errors import AccessDenied, BadKey, Changed, HandlerError, NotFound, StoreError
from handler.layout import Layout, is_batch
from handler.publish import Publisher
from handler.settings import Settings
from handler.settled import read_marker
from handler.store.base import Info, Store
from handler.types import BatchCounts, Source
from handler.watch import SID, Candidate, Scan, SettledIds, scan
from pipeline.errors import ErrorDetail, sentence

log = logging.getLogger(__name__)

WINDOW = 1000  # members with options that one scan gives out: the others come with the next
AGAIN_SECONDS = 5.0  # after trouble; and until a message that names an open batch is looked at again
_SHARE = 10  # looking at batches takes no more than one part in so many of the time


@dataclass(slots=True)
class _Open:
    """``first``: (monotonic seconds, settled members) of this worker's first look; ``told``: what it told last, and
    ``etag`` what lay there then.
    """

    standing: Standing
    first: tuple[float, int] | None = None
    told: int | None = None
    etag: str | None = None
    due: float = 0.0


class Batches:
    """One for a worker, used by its thread. ``asleep``: seconds until the worker wants to look at an input again."""

    def __init__(
        self,
        store: Store,
        layout: Layout,
        settings: Settings,
        clock: Clock,
        *,
        worker: str,
        asleep: Callable[[str], float],
    ) -> None:
        self._store = store
        self._layout = layout
        self._settings = settings
        self._clock = clock
        self._asleep = asleep
        self._publisher = Publisher(store, layout, clock)
        self._reporter = Reporter(store, layout, clock, self._publisher, worker)
        self._open: dict[str, _Open] = {}
        self._trouble: Counter[str] = Counter()  # sid → looks that were refused, all told
        self._hopeless: dict[str, ErrorDetail] = {}  # sid → why it cannot be
        self._not_before: dict[str, float] = {}  # sid → monotonic seconds
        self._ended: set[str] = set()  # sids that a listing from before may still show as unsettled
        self._orphans_due = clock.monotonic()
        self._look_due = 0.0
        self._settled = SettledIds()
        self._window: list[Candidate] = []
        self._room = WINDOW
        self.waiting: set[str] = set()  # members that the last scan left out, to be looked at later
        self.pending = False  # after a scan: some batch is not settled
        self.told = False  # a message named a batch that is not open here: a scan should not wait

    # ── the worker's side ────────────────────────────────────────────────────────────────────────────────────────────

    def scan(self) -> Scan:
        """`handler.watch.scan`, with the members' candidates, and everything that it means for the batches. Store
        errors of the scan itself pass through; those of one batch are logged, and it is looked at again.
        """
        self.told = False
        started, seen = self._clock.monotonic(), scan(self._store, self._layout, self)
        if self._begin(seen):
            started, seen = self._clock.monotonic(), scan(self._store, self._layout, self)
        self._go_on(seen, started)
        return seen

    def look(self) -> None:
        """Between two inputs: another scan for the batches' sake, if the last is long enough ago. That is sooner while
        one is open, or a file may be one that was not ready yet.
        """
        if self._clock.monotonic() < self._look_due:
            return
        self._look_due = self._clock.monotonic() + self._settings.progress_seconds
        self._room = 0
        try:
            self.scan()
        except StoreError as error:
            log.error("scan: %s", sentence(error.message, error.hint))
        except Exception:
            log.exception("scan: an error of ours; scanned again later")
        finally:
            self._room = WINDOW

    def names(self, key: str) -> bool:
        """Whether a key in the store is a batch's."""
        return key.startswith(self._layout.input) and is_batch(key.removeprefix(self._layout.input))

    def hear(self, key: str) -> tuple[bool, float]:
        """A message names a batch. True when it is settled or gone, else in how many seconds to come again."""
        try:
            with contextlib.suppress(NotFound):
                sid = self._layout.source(self._store.head(key)).sid
                if read_marker(self._store, self._layout, sid) is None:
                    self.told = self.told or sid not in self._open
                    return False, AGAIN_SECONDS
        except StoreError as error:
            log.error("%s: %s", key, sentence(error.message, error.hint))
            return False, AGAIN_SECONDS
        return True, 0.0

    # ── the scan's side: `handler.watch.Onlooker` ────────────────────────────────────────────────────────────────────

    def begin(self, settled: SettledIds) -> None:
        self._settled = settled
        self._window = []
        self.waiting = set()
        for one in self._open.values():
            one.standing.begin()

    def see(self, info: Info, source: Source) -> None:
        for one in self._open.values():
            asked = one.standing.see(source, self._settled)
            if asked is None or not info.ready:
                continue
            if self._asleep(asked.sid):
                self.waiting.add(asked.sid)
            elif len(self._window) < self._room:
                self._window.append(Candidate(info, source, asked))

    def candidates(self) -> Sequence[Candidate]:
        return self._window

    # ── opening ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, seen: Scan) -> bool:
        """Open what is not open yet. True when something was: its members want another scan."""
        before = len(self._open)
        present = {candidate.sid for candidate in seen.batches}
        for candidate in seen.batches:
            self._safely(candidate.source, partial(self._open_new, candidate.source))
        for sid in self._orphans(present):
            self._open_orphan(sid)
        for forgotten in [sid for sid in self._not_before if sid not in present and sid not in self._open]:
            del self._not_before[forgotten]
            self._trouble.pop(forgotten, None)
            self._hopeless.pop(forgotten, None)
        return len(self._open) > before

    def _open_new(self, batch: Source) -> None:
        if batch.sid in self._open:
            return
        plan, etag = stored_plan(self._store, self._layout, batch.sid)
        if plan is None:
            plan = freeze(self._store, self._layout, self._clock, batch, etag=etag, error=self._hopeless.get(batch.sid))
        log.info("%s: a batch of %d recordings", batch.key, len(plan.members))
        self._open[batch.sid] = _Open(Standing(plan, self._layout))

    def _orphans(self, present: set[str]) -> list[str]:
        """Batches that have a plan and no end, and whose file is not there any more: now and then one listing."""
        now = self._clock.monotonic()
        if now < self._orphans_due:
            return []
        self._orphans_due = now + self._settings.reconcile_seconds
        prefix = self._layout.batches
        try:
            planned = {info.key.removeprefix(prefix).partition("/")[0] for info in self._store.list(prefix)}
        except StoreError as error:
            log.error("batches: %s", sentence(error.message, error.hint))
            return []
        known = present | self._open.keys()
        return [sid for sid in sorted(planned - known) if SID.fullmatch(sid) and not self._settled.has(sid)]

    def _open_orphan(self, sid: str) -> None:
        try:
            plan, _ = stored_plan(self._store, self._layout, sid)
        except StoreError as error:
            log.error("batches/%s: %s", sid, sentence(error.message, error.hint))
            return
        if plan is not None:
            self._open[sid] = _Open(Standing(plan, self._layout))

    # ── going on, and ending ─────────────────────────────────────────────────────────────────────────────────────────

    def _go_on(self, seen: Scan, started: float) -> None:
        """The members of all open batches stand as that scan has shown them."""
        present = {candidate.sid for candidate in seen.batches}
        for sid, one in list(self._open.items()):
            if self._settled.has(sid):
                self._safely(one.standing.batch, partial(self._tidy, one))
            elif sid in present:
                self._safely(one.standing.batch, partial(self._tell_or_end, one, started))
            else:
                self._safely(one.standing.batch, partial(self._end_if_gone, one))
        self.pending = bool(self._open) or any(sid not in self._ended for sid in present)
        self._ended &= present
        self._settled = SettledIds()  # may be large
        now = self._clock.monotonic()
        soon = bool(self._open) or seen.unready > 0
        pause = self._settings.progress_seconds if soon else self._settings.reconcile_seconds
        self._look_due = now + max(pause, _SHARE * (now - started))

    def _tell_or_end(self, one: _Open, started: float) -> None:
        standing, error = one.standing, one.standing.plan.error
        if error is not None:
            self._close(one, lambda: self._reporter.fail(standing, error))
        elif not standing.queued:
            self._close(one, lambda: self._reporter.finish(standing))
        else:
            self._tell(one, started)

    def _tell(self, one: _Open, started: float) -> None:
        standing, began = one.standing, self._clock.monotonic()
        settled = standing.settled
        if one.first is None:
            one.first = (started, settled)
        if settled == one.told or began < one.due:
            return
        head = self._store.head(self._layout.input_key(standing.batch.key))
        if self._layout.source(head).sid != standing.batch.sid:
            return
        looked_at = head.store_time - (self._clock.monotonic() - started)
        counts = self._reporter.count(standing)
        eta = self._eta(one, counts, started)
        one.etag = self._reporter.progress(standing, counts, looked_at, eta, one.etag)
        one.told = settled
        now = self._clock.monotonic()
        one.due = now + max(self._settings.progress_seconds, _SHARE * (now - began))

    def _eta(self, one: _Open, counts: BatchCounts, started: float) -> float | None:
        """Seconds until all are settled, at the rate since this worker's first look; None before it has seen any."""
        since, before = one.first or (started, counts.settled)
        done, spent = counts.settled - before, started - since
        return round(spent / done * counts.queued, 1) if done > 0 and spent > 0 else None

    def _tidy(self, one: _Open) -> None:
        """Somebody else has settled it. Where that was a person who cancelled it, the manifests do not say so yet."""
        marker = read_marker(self._store, self._layout, one.standing.batch.sid)
        if marker is not None and marker.outcome == "cancelled":
            with contextlib.suppress(BadKey):  # a store that cannot hold a manifest has none to end
                self._reporter.cancel(one.standing, marker.reason)
        del self._open[one.standing.batch.sid]

    def _end_if_gone(self, one: _Open) -> None:
        batch = one.standing.batch
        if not self._publisher.holds(batch.key, batch.sid):
            self._close(one, lambda: self._reporter.cancel(one.standing))

    def _close(self, one: _Open, end: Callable[[], bool]) -> None:
        try:
            if not end():
                return
        except BadKey as error:
            log.error("%s: %s", one.standing.batch.key, sentence(error.message, error.hint))
            self._reporter.unwritable(one.standing, error)
        sid = one.standing.batch.sid
        self._ended.add(sid)
        del self._open[sid]

    # ── trouble ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _safely(self, batch: Source, act: Callable[[], None]) -> None:
        """Whatever goes wrong with one batch is that batch's affair."""
        if self._clock.monotonic() < self._not_before.get(batch.sid, 0.0):
            return
        try:
            act()
        except NotFound:
            log.info("%s: deleted meanwhile", batch.key)
        except Changed as error:
            log.info("%s: %s", batch.key, error.message)
        except HandlerError as error:
            log.error("%s: %s", batch.key, sentence(error.message, error.hint))
            if isinstance(error, AccessDenied) or not error.retryable:
                self._trouble[batch.sid] += 1
                if self._trouble[batch.sid] >= self._settings.max_attempts:
                    self._hopeless[batch.sid] = error.to_detail()
            self._later(batch)
        except Exception:
            log.exception("%s: an error of ours; looked at again later", batch.key)
            self._later(batch)

    def _later(self, batch: Source) -> None:
        self._not_before[batch.sid] = self._clock.monotonic() + AGAIN_SECONDS
