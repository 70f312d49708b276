"""One input seen to its end, or as far as it goes now: noticed and identified here, then claimed, run, published.

Takes a candidate (from the scan) or a notice's key; says whether that input is settled. Remembers between calls which
inputs need not be looked at yet. Knows nothing of when or in which order inputs come, nor of what a claim leads to.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Set
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from handler.child import Engine
from handler.clock import Clock
from handler.errors import AccessDenied, Changed, HandlerError, NotFound, StoreError
from handler.exports import Exporter
from handler.job import Jobs
from handler.layout import Layout, is_recording
from handler.lease import Lease
from handler.models.companions import ChosenUnavailable
from handler.observer import Observer
from handler.publish import Herald, Publisher
from handler.settings import Settings
from handler.speakers import SpeakerNames
from handler.store.base import Store
from handler.types import Content, Member
from handler.watch import Candidate
from handler.worker.ahead import Ahead, Upcoming
from handler.worker.beside import Beside, answered
from handler.worker.claims import Claims, Errand
from handler.worker.endings import Endings
from handler.worker.heart import Heart
from handler.worker.intake import Intake, Noticed
from handler.worker.lookout import Interrupted
from handler.worker.memory import LOOK_AGAIN_SECONDS, Memory
from handler.worker.recording import Hand
from handler.worker.scratch import Scratch
from handler.worker.troubles import Troubles
from handler.worker.wanted import Wanted
from pipeline.catalog import leaves_choice
from pipeline.errors import ModelUnavailable, PipelineError, sentence

log = logging.getLogger(__name__)

STALE_SECONDS = 1.0  # after so long, what a listing said of a marker is asked again
LONG_SECONDS = 5.0  # of a download, after which it counts as long for the message that asked for it
_SMALL_BYTES = 4 << 20  # recordings that are fetched while the settled marker is asked for, the first time


@dataclass(frozen=True, slots=True)
class _Look:
    """At the settled marker: the answer, and this machine's monotonic seconds at which it was asked for."""

    settled: Future[bool]
    at: float


class Inputs:
    def __init__(
        self,
        store: Store,
        layout: Layout,
        settings: Settings,
        clock: Clock,
        engine: Engine,
        scratch: Scratch,
        *,
        name: str,
        stop: threading.Event,
        heart: Heart,
        beside: Beside,
        observer: Observer,
        ahead: Beside | None = None,
        herald: Herald | None = None,
    ) -> None:
        self._observer = observer
        self._layout = layout
        self._settings = settings
        self._clock = clock
        self._stop = stop
        self._beside = beside
        jobs = Jobs(store, layout, clock, settings, name)
        self._hand = Hand(clock)
        self._intake = Intake(store, layout, clock, settings, scratch.path, self._go_on, beside, self._hand)
        self._ahead = Ahead(
            store, layout, clock, settings, scratch.path, engine,
            intake=self._intake, hand=self._hand, stop=stop, beside=ahead,
        )  # fmt: skip
        exporter = Exporter(engine, SpeakerNames(store, layout, clock), clock, settings, scratch.path)
        self._publisher = Publisher(store, layout, clock, exporter, herald)
        self._wanted = Wanted(jobs, self._publisher, clock)
        self.memory = Memory()
        self._claims = Claims(
            store, layout, settings, clock, engine, scratch.path,
            jobs=jobs, intake=self._intake, publisher=self._publisher, wanted=self._wanted, memory=self.memory,
            stop=stop, heart=heart, observer=observer, meanwhile=lambda: self._ahead.meanwhile(self.upcoming),
        )  # fmt: skip
        self._troubles = Troubles(self.memory, settings, self._intake, self._claims, later=self.later)
        self.upcoming: Callable[[], Iterable[Upcoming]] = tuple  # what is likely to be next, as the loop knows it
        self.listed_at = float("inf")  # this machine's monotonic seconds of the listing that candidates come from
        self._errand = Errand()  # the present one
        self._since = clock.monotonic()  # when it began

    @property
    def lease(self) -> Lease | None:
        """Of the job under way, or of the last one."""
        return self._claims.lease

    @property
    def endings(self) -> Endings:
        return self._claims.endings

    @property
    def taken(self) -> int:
        """Looks at inputs that turned out to be in other hands, or settled by them."""
        return self.memory.taken

    def keep_only(self, unsettled: Set[str]) -> None:
        """Forget what a scan does not show any more. Who was deleted or replaced between two attempts is cancelled."""
        for sid, subscriber in self.memory.between.items():
            if sid not in unsettled:
                self.endings.gone(self._wanted.cancel_if_gone(subscriber))
        self.memory.keep_only(unsettled)

    def wait_for(self, sid: str) -> float:
        """Seconds until it makes sense to look at this input again; 0 when it does now."""
        return max(0.0, self.memory.not_before.get(sid, 0.0) - self._clock.monotonic())

    def due_in(self) -> float:
        """Seconds until one of those inputs is due again that a scan found, and nobody else has; infinite if none."""
        return min((self.wait_for(sid) for sid in self.memory.found), default=float("inf"))

    def see(self, candidate: Candidate, options: Set[str]) -> bool:
        """An input as a listing shows it; everything that is its own affair is caught. True when it is settled."""
        sid, taken = candidate.sid, self.taken
        self._observer.looks_at_input()
        self._ahead.job_begins()
        settled = self._troubles.safely(candidate.source.key, sid, lambda: self.handle(candidate, options))
        self._hand.drop(sid)  # its turn is over
        if settled:
            self._observer.settled(sid)
        if settled or self.taken > taken:  # who has it looks at it again
            self.memory.found.discard(sid)
        else:
            self.memory.found.add(sid)
        return settled

    def see_key(self, key: str, errand: Errand) -> tuple[bool, float]:
        """An input that a message names, by its key in the store. True when there is nothing left to do for it, else in
        how many seconds to come again.
        """
        if not self.is_recording(key):
            return True, 0.0
        self._observer.looks_at_input()
        self._ahead.job_begins()
        try:
            return self._see_key(key, errand)
        finally:
            self._hand.drop(key)  # its turn is over

    def is_recording(self, key: str) -> bool:
        """Whether that is an input's key in the store."""
        return key.startswith(self._layout.input) and is_recording(key.removeprefix(self._layout.input))

    def close(self) -> None:
        """Nothing is fetched ahead any more."""
        self._ahead.close()

    def _see_key(self, key: str, errand: Errand) -> tuple[bool, float]:
        try:
            noticed = self._intake.notice(key)
        except NotFound:
            return True, 0.0
        except StoreError as error:  # one that may not be read is the scan's to report
            log.error("%s: %s", key, sentence(error.message, error.hint))
            return False, LOOK_AGAIN_SECONDS
        sid = noticed.sid
        self._errand, self._since = errand, self._clock.monotonic()
        try:
            settled = self._troubles.safely(noticed.source.key, sid, lambda: self._told(noticed, errand))
        finally:
            self._errand = Errand()
        if settled:
            self._observer.settled(sid)
        return settled, 0.0 if settled else self.wait_for(sid)

    def _told(self, noticed: Noticed, errand: Errand) -> bool:
        asked = self._beside(partial(self._intake.settled, noticed.sid))
        # Of a storm of messages about one input, one at most leads to a download in vain, and to a small one.
        wait = noticed.info.size > _SMALL_BYTES or not self.memory.is_new(noticed.sid)
        if (wait or asked.done()) and asked.result():
            return True
        if self.wait_for(noticed.sid):
            return False
        # Somebody may have hashed it already, but hardly in the first seconds of its life.
        fresh = not errand.again and noticed.info.store_time - noticed.info.modified < self._settings.lease_seconds
        known = None if fresh else self._intake.known(noticed.source.sid)
        return self._take(noticed, known, None, errand, _Look(asked, noticed.at))

    def handle(self, candidate: Candidate, options: Set[str] | None = None) -> bool:
        """See one input to its end, or as far as it goes now. True when it is settled. ``options``: as in
        `OptionsFinder`.
        """
        # The earliest trace that an input leaves is asked for first: a new one costs no look at its settled marker, and
        # one that was settled since the listing (or is heard of twice) costs no more than these two requests.
        known, listed_at = self._intake.known(candidate.source.sid), self.listed_at
        if known is not None or self._is_long_ago(listed_at):
            listed_at = self._clock.monotonic()
            if self._intake.settled(candidate.sid):
                self.memory.taken += 1
                return True
        try:
            noticed = self._intake.notice(candidate.info.key, candidate.asked)
        except AccessDenied as error:
            unread = self._intake.unread(candidate.info, candidate.asked)
            return self._troubles.refuse(unread, unread.subscriber, error)
        if noticed.source.sid != candidate.source.sid:
            raise Changed(f"{noticed.source.key} is another version than the listing showed")
        member = noticed.subscriber.member
        if member is not None and not self._is_asked_for(member):
            raise Changed(f"{member.batch_key} was cancelled, deleted or replaced")  # the next scan ends it
        return self._take(noticed, known, options, Errand(), _Look(answered(False), listed_at))

    def _take(
        self, noticed: Noticed, known: Content | None, options: Set[str] | None, errand: Errand, look: _Look
    ) -> bool:
        subscriber, own_model = noticed.subscriber, True
        try:
            parsed, subscriber = self._intake.options(noticed, options)  # first: an error has its callback, too
            self._intake.check(noticed)
            own_model = leaves_choice(parsed.options.model)
            work = self._intake.identify(noticed, parsed, subscriber, known)
        except ModelUnavailable as error:
            if own_model or isinstance(error, ChosenUnavailable):
                raise
            return self._troubles.refuse(noticed, subscriber, error)
        except AccessDenied as error:
            return self._troubles.refuse(noticed, subscriber, error)
        except (StoreError, Interrupted):
            raise
        except (HandlerError, PipelineError) as error:
            return self._troubles.refuse(noticed, subscriber, error)
        try:
            settled = look.settled.result()
            if settled or (self._is_long_ago(look.at) and self._intake.settled(noticed.sid)):  # a long download
                self.memory.taken += 1
                return True
            return self._claims.see(noticed, work, errand)
        finally:
            if work.recording is not None:
                work.recording.remove()

    def _is_asked_for(self, member: Member) -> bool:
        """Whether the batch that asked still lies there, and is open."""
        lies_there = self._publisher.holds(member.batch_key, member.batch_sid)
        return lies_there and not self._intake.settled(member.batch_sid)

    def _is_long_ago(self, asked_at: float) -> bool:
        return self._clock.monotonic() - asked_at > STALE_SECONDS

    def _go_on(self) -> None:
        """Called again and again during a download."""
        if self._stop.is_set():
            raise Interrupted("the worker is stopping")
        if self._clock.monotonic() - self._since > LONG_SECONDS:
            self._errand.begun()  # its message stays hidden, and those behind it are others' to take

    def later(self, sid: str, seconds: float) -> None:
        """Do not look at this input for so long."""
        self.memory.not_before[sid] = self._clock.monotonic() + seconds
