"""Fetching ahead: while the engine is at one job, the recording of the next likely one is downloaded, and the engine
asked to decode it.

Takes the inputs that are likely to come next, in the order of whoever knows (a listing, messages in hand); fills the
worker's `Hand`. Nothing is claimed: no lease, no record, no manifest. Another worker may take that job at any time, and
all that is lost is a download. Its troubles are nobody's: the job itself meets them again, and tells.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from shutil import disk_usage

from pydantic import ValidationError

from handler.child import Engine
from handler.clock import Clock
from handler.errors import HandlerError, NotFound
from handler.layout import Layout
from handler.settings import Settings
from handler.store.base import Store
from handler.types import Content, JobRecord
from handler.watch import Asked, Candidate
from handler.worker.beside import Beside
from handler.worker.intake import Intake, Noticed
from handler.worker.recording import Fetch, Hand, Recording, bring
from pipeline.errors import PipelineError
from pipeline.options import Parsed
from pipeline.plan import made_of, stage_plans
from pipeline.types import PrepareRequest

log = logging.getLogger(__name__)

_MOST_LOOKS = 3  # inputs that are looked at during one job, until one is worth fetching
_FREE_SHARE = 0.1  # of the scratch disk, which the job under way may need
_FREE_BYTES = 4 << 30  # a tenth of a large disk is more than any job needs; this is 37 hours of sound
_DECODED = 2  # times the recording's size that stays free beside: sound takes more room once it is decoded
_LAST_SECONDS = 2.0  # for a download that was told to end: what is not over then ends with the process


@dataclass(frozen=True, slots=True)
class Upcoming:
    """An input that is likely to be next. ``key`` in the store; ``sid``: the version, where a listing showed it.
    ``options``: as in `OptionsFinder`. ``sure``: nobody else has it, and it is this worker's next.
    """

    key: str
    sid: str | None = None
    asked: Asked | None = None
    options: Set[str] | None = None
    sure: bool = False

    @classmethod
    def listed(cls, candidate: Candidate, options: Set[str]) -> Upcoming:
        return cls(candidate.info.key, candidate.sid, candidate.asked, options)

    @property
    def name(self) -> str:
        """As `see` and `see_key` of the worker's inputs name it."""
        return self.sid or self.key


class _GivenUp(Exception):
    """Nobody wants it any more."""


class Ahead:
    """``beside``: where it fetches; None: never. All but that is done in the worker's thread."""

    def __init__(
        self,
        store: Store,
        layout: Layout,
        clock: Clock,
        settings: Settings,
        scratch: Path,
        engine: Engine,
        *,
        intake: Intake,
        hand: Hand,
        stop: threading.Event,
        beside: Beside | None,
    ) -> None:
        self._store = store
        self._layout = layout
        self._clock = clock
        self._settings = settings
        self._scratch = scratch
        self._engine = engine
        self._intake = intake
        self._hand = hand
        self._stop = stop
        self._beside = beside
        self._looked: set[str] = set()  # at these during the present job

    def job_begins(self) -> None:
        """What was not worth fetching may be now."""
        self._looked.clear()

    def meanwhile(self, upcoming: Callable[[], Iterable[Upcoming]]) -> None:
        """A job is under way that takes longer. Called again and again; cheap as a rule, and raises nothing."""
        if self._beside is None or self._stop.is_set() or len(self._looked) >= _MOST_LOOKS:
            return
        fetch = self._hand.fetch
        coming = list(islice(upcoming(), _MOST_LOOKS))
        if fetch is not None:
            sure = {one.name for one in coming if one.sure}
            if not fetch.failed and fetch.name in (sure or {*self._looked, *(one.name for one in coming)}):
                self._looked.add(fetch.name)  # it may have been fetched during an earlier job
                return
            self._hand.drop()
        following = next((one for one in coming if one.name not in self._looked), None)
        if following is not None:
            self._begin(self._beside, following)

    def close(self) -> None:
        """Nothing is fetched any more, and nothing is left."""
        fetch = self._hand.drop()
        if fetch is not None and self._beside is not None:
            self._clock.wait(fetch.over, _LAST_SECONDS)

    def _begin(self, beside: Beside, following: Upcoming) -> None:
        self._looked.add(following.name)
        fetch = self._hand.fetch = Fetch(following.name, following.key)
        try:
            beside(partial(self._run, fetch, following))
        except RuntimeError as error:  # no more threads
            log.debug("fetching ahead: %s", error)
            fetch.end(None)

    def _run(self, fetch: Fetch, following: Upcoming) -> None:
        recording = None
        try:
            recording = self._fetched(fetch, following)
        except _GivenUp:
            pass
        except (HandlerError, PipelineError, OSError) as error:
            log.debug("%s is not fetched ahead: %s", following.key, error)
        except Exception:
            log.exception("%s is not fetched ahead: an error of ours", following.key)
        finally:
            fetch.end(recording)

    def _fetched(self, fetch: Fetch, following: Upcoming) -> Recording | None:
        """None if it is not worth it."""
        noticed = self._intake.notice(following.key, following.asked)
        if following.sid not in (None, noticed.sid):  # replaced: the next listing shows it
            return None
        fetch.info = noticed.info
        self._intake.check(noticed)
        parsed, _ = self._intake.options(noticed, following.options)
        if self._is_done(noticed, parsed):
            return None
        if not self._has_room(noticed.info.size):
            log.debug("%s is not fetched ahead: too little of the disk would stay free", noticed.source.key)
            return None
        go_on = partial(self._go_on, fetch)
        go_on()
        recording = bring(self._store, self._clock, self._scratch, noticed.info, go_on)
        log.debug("%s is fetched ahead", noticed.source.key)
        return self._prepared(fetch, recording, per_channel=parsed.options.multichannel)

    def _prepared(self, fetch: Fetch, recording: Recording, *, per_channel: bool) -> Recording:
        """The same, which the engine decodes from now on, if it can."""
        folder = recording.path.with_name(f"{recording.path.name}.prepared")
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700)
            self._engine.prepare(
                PrepareRequest(
                    folder=str(folder),
                    source=str(recording.path),
                    per_channel=per_channel,
                    max_duration=self._settings.max_duration_seconds,
                )
            )
        return Recording(recording.path, recording.sha256, prepared=folder, ahead=True)

    def _go_on(self, fetch: Fetch) -> None:
        if fetch.given_up or self._stop.is_set():
            raise _GivenUp

    def _is_done(self, noticed: Noticed, parsed: Parsed) -> bool:
        """Whether somebody has, or had, the job that this input is, or its transcript is kept: then the recording is
        hardly needed. Only content whose hash is known already can be told to be so.
        """
        info = noticed.info
        known = self._intake.known(noticed.source.sid)
        if known is None and info.sha256 is not None:
            known = Content(sha256=info.sha256, size=info.size)
        if known is None:
            return False
        work = self._intake.identify(noticed, parsed, noticed.subscriber, known)
        jid = work.identity.jid
        with contextlib.suppress(NotFound, ValidationError):
            record = JobRecord.model_validate_json(self._store.get(self._layout.job_key(jid)).body)
            if record.state in ("running", "done", "dead"):
                return True
        plans = stage_plans(known.sha256, work.options, work.model, jid, work.companions)
        try:
            for plan in made_of(plans):
                self._store.head(self._layout.stage_key(plan.digest))
        except NotFound:
            return False
        return True

    def _has_room(self, size: int) -> bool:
        total, _, free = disk_usage(self._scratch)
        return free - size >= max(min(total * _FREE_SHARE, _FREE_BYTES), size * _DECODED)
