"""The next job's recording, decoded and listened to while a job runs.

Takes `PrepareRequest`s, one at a time: what nobody has asked for gives way to the next one. Gives `Ahead`s, which a job
waits for and takes its sound from. A preparation is worth its time and nothing more: whatever goes wrong in it is
logged, and the job does the work itself. Knows nothing of jobs and recognisers.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.flow import Report, Stopped
from pipeline.types import PrepareRequest, Span

if TYPE_CHECKING:
    from pipeline.stages.audio import Audio

log = logging.getLogger(__name__)

Opened = Callable[[float | None, int], None]

_LOOK_SECONDS = 0.1  # how often a job that waits looks whether it is to stop
_NICE = 10  # of the preparing thread: a tenth of the processor where a job wants all of it, all where none does


class Ahead:
    """One preparation. ``audio`` and ``speech`` (spans of each track) are there, or not, once ``over`` is set."""

    def __init__(self, request: PrepareRequest) -> None:
        self.request = request
        self.over = threading.Event()
        self.audio: Audio | None = None
        self.speech: tuple[tuple[Span, ...], ...] = ()
        self.claimed = False
        self.stopping = threading.Event()
        self._opened: tuple[float | None, int] | None = None
        self._done: tuple[float, float | None] = (0.0, None)
        self._source = _linked(request)

    @property
    def ready(self) -> bool:
        return self.over.is_set() and self.audio is not None

    def wait(self, report: Report, opened: Opened) -> Audio | None:
        """Until it is over; tells what decoding tells meanwhile. None if it failed. Raises what ``report`` raises."""
        told = False
        while True:
            over = self.over.wait(_LOOK_SECONDS)
            if self._opened is not None and not told:
                told = True
                opened(*self._opened)
            if over:
                return self.audio
            report(*self._done)

    def run(self) -> None:
        """In the preparing thread."""
        from pipeline.stages.decode import decode

        folder = Path(self.request.folder)
        try:
            self._check()
            audio = decode(
                self._source or Path(self.request.source),
                folder,
                per_channel=self.request.per_channel,
                max_duration=self.request.max_duration,
                report=self._decoded,
                opened=self._was_opened,
            )
            self.speech = heard(audio, lambda done, total, partial=None: self._check())
            self.audio = audio
        except Stopped:
            _empty(folder)
        except Exception as error:
            log.info("not prepared, the job will do it: %s: %s", type(error).__name__, error)
            _empty(folder)
        finally:
            if self._source is not None:
                self._source.unlink(missing_ok=True)
            self.over.set()

    def _was_opened(self, claimed: float | None, channels: int) -> None:
        self._opened = claimed, channels

    def _decoded(self, done: float, total: float | None) -> None:
        self._check()
        self._done = done, total

    def _check(self) -> None:
        if self.stopping.is_set():
            raise Stopped


def heard(audio: Audio, report: Report) -> tuple[tuple[Span, ...], ...]:
    """The speech in each track. ``report``: seconds of all tracks."""
    from pipeline.stages.vad import speech

    whole = audio.info.duration * audio.tracks

    def of_track(track: int) -> tuple[Span, ...]:
        return speech(audio, track, lambda done, total: report(track * audio.info.duration + done, whole))

    return tuple(of_track(track) for track in range(audio.tracks))


class Preparing:
    """The preparations of an engine. `ask` and `claim` are called in the order in which requests come in."""

    def __init__(self, prepare: Callable[[Ahead], None] = Ahead.run) -> None:
        self._prepare = prepare
        self._changed = threading.Condition()
        self._waiting: list[Ahead] = []
        self._known: dict[str, Ahead] = {}  # by folder; until the job is over, or another one is asked for
        self._thread: threading.Thread | None = None

    def ask(self, request: PrepareRequest) -> None:
        """Begin, now or when what a job waits for is done."""
        with self._changed:
            for folder in [folder for folder, ahead in self._known.items() if not ahead.claimed]:
                self._forget(folder)
            ahead = Ahead(request)
            self._known[request.folder] = ahead
            self._waiting.append(ahead)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="preparing", daemon=True)
                self._thread.start()
            self._changed.notify()

    def claim(self, folder: str) -> None:
        """A job that has been asked for wants it: no later preparation takes its place."""
        with self._changed:
            if folder in self._known:
                self._known[folder].claimed = True

    def find(self, folder: str, *, per_channel: bool, max_duration: float | None) -> Ahead | None:
        """The preparation, finished or not, if it is known and was made as the job wants it."""
        with self._changed:
            ahead = self._known.get(folder)
        if ahead is None or (ahead.request.per_channel, ahead.request.max_duration) != (per_channel, max_duration):
            return None
        return ahead

    def forget(self, folder: str) -> None:
        """Its job is over. What is under way is stopped."""
        with self._changed:
            self._forget(folder)

    def _forget(self, folder: str) -> None:
        ahead = self._known.pop(folder, None)
        if ahead is not None:
            ahead.stopping.set()

    def _run(self) -> None:
        _step_back()
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                ahead = self._waiting.pop(0)
            self._prepare(ahead)


def _linked(request: PrepareRequest) -> Path | None:
    """A second name of the recording: whoever sends the job moves the first one away while it is being read."""
    source = Path(request.source)
    link = Path(request.folder) / f"source{source.suffix}"  # some containers are told apart by it alone
    with contextlib.suppress(OSError, ValueError):  # then the recording is read where it is
        link.hardlink_to(source)
        return link
    return None


def _empty(folder: Path) -> None:
    """Half of a recording's sound is no use to anybody."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            path.unlink()


def _step_back() -> None:
    """Let a job's threads go first. On Linux a thread has a niceness of its own, which its children take over."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
