"""A worker's models beside the recogniser: what jobs are planned with, brought to this machine when one needs it.

Takes settings, a clock and, where models come from a bucket, its mirror; gives `pipeline.companions.Companions` for a
job's options. What a bucket has is known from its records, so a job's identity costs no download; what the job uses is
brought before it is claimed. Folders are looked at every few seconds at most, however many recordings there are. Knows
nothing of jobs beyond their options.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from handler.clock import Clock
from handler.errors import NotFound
from handler.models.mirror import Mirror
from handler.settings import Settings
from pipeline.aligners import AlignerModel
from pipeline.beside import ROLES, Companion, Problem, kind_of, look
from pipeline.companions import Choice, Companions, companions_in
from pipeline.errors import ModelUnavailable
from pipeline.options import Options
from pipeline.plan import aligners_for, diarizer_for
from pipeline.records import Record

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0  # between two looks at the folders
SPOILT_SECONDS = 60.0  # for which what could not be brought is done without, before it is tried again


class ChosenUnavailable(ModelUnavailable):
    """A model that the operator named is not there: jobs wait for it, whatever recogniser they ask for."""


def choice_of(settings: Settings) -> Choice:
    return Choice(separator=settings.separator, aligner=settings.aligner, diarizer=settings.diarizer)


class Beside:
    """``remote``: gives the mirror of the bucket that models come from, or None; asked when it is first needed."""

    def __init__(self, settings: Settings, clock: Clock, remote: Callable[[], Mirror | None]) -> None:
        self._settings = settings
        self._clock = clock
        self._remote = remote
        self._seen: tuple[float, Companions] | None = None
        self._spoilt: dict[str, tuple[float, Problem]] = {}
        self._lock = threading.Lock()

    def all(self) -> Companions:
        """What there is, brought or not. `ChosenUnavailable`, and of a bucket `StoreError`."""
        with self._lock:
            return self._all()

    def for_job(self, options: Options) -> Companions:
        """The same, with what a job with these options uses on this machine. `OutOfSpace`, too, and what the mirror's
        check raises. What is damaged in the bucket is done without, and told among the problems.
        """
        with self._lock:
            found = self._all()
            while missing := [one for one in used(options, found) if not Path(one.folder).is_dir()]:
                found = self._brought(missing[0])
            return found

    def _all(self) -> Companions:
        now = self._clock.monotonic()
        if self._seen is None or now - self._seen[0] >= LOOK_SECONDS:
            self._seen = now, self._look()
        return self._seen[1]

    def _look(self) -> Companions:
        settings, remote = self._settings, self._remote()
        elsewhere = _Bucket(remote, self._spoilt_now()) if remote is not None else None
        try:
            return companions_in(settings.models, settings.home, choice_of(settings), elsewhere)
        except ModelUnavailable as error:
            raise ChosenUnavailable(error.message, error.hint) from error

    def _brought(self, wanted: Companion | AlignerModel) -> Companions:
        name, remote = wanted.info.name, self._remote()
        assert remote is not None  # or everything would be here
        try:
            place = remote.bring(name, None)
            one = look(place, name)
            if isinstance(one, Problem) or one is None:
                raise ModelUnavailable(one.message if one is not None else f"there is no model in {place}")
        except (ModelUnavailable, NotFound) as error:
            log.warning("%s is done without: %s", name, error.message)
            role = ROLES[kind_of(wanted)]
            problem = Problem(role=role, name=name, folder="", message=error.message, hint=error.hint)
            self._spoilt[name] = self._clock.monotonic() + SPOILT_SECONDS, problem
        self._seen = self._clock.monotonic(), self._look()
        return self._seen[1]

    def _spoilt_now(self) -> dict[str, Problem]:
        now = self._clock.monotonic()
        self._spoilt = {name: (until, why) for name, (until, why) in self._spoilt.items() if now < until}
        return {name: why for name, (_, why) in self._spoilt.items()}


class _Bucket:
    """See `pipeline.companions.Elsewhere`."""

    def __init__(self, mirror: Mirror, spoilt: dict[str, Problem]) -> None:
        self._mirror = mirror
        self._spoilt = spoilt

    def names(self) -> tuple[str, ...]:
        return tuple(self._mirror.names())

    def spoilt(self, name: str) -> Problem | None:
        return self._spoilt.get(name)

    def record(self, name: str) -> Record:
        try:
            found = self._mirror.known(name)
        except NotFound as error:  # gone since the listing
            raise ModelUnavailable(f"{name} is gone from the bucket") from error
        assert isinstance(found, Record)  # of this mirror's sort
        return found

    def place(self, name: str, record: Record) -> Path:
        return self._mirror.place(name, record)


def used(options: Options, companions: Companions) -> tuple[Companion | AlignerModel, ...]:
    """Those that a job with these options may have to do with."""
    found: list[Companion | AlignerModel | None] = []
    if options.stemming != "false":
        found.append(companions.separator)
    if options.task != "translate":
        found += aligners_for(options, companions)
    if options.diarize:
        found.append(diarizer_for(options, companions))
    return tuple(one for one in found if one is not None)
