"""For tests: an engine with scripted words instead of a recogniser (but the real work directory, artifacts and
formats), and a clock for a worker whose heart beats in virtual time.

They ship with the package, as the in-memory store does, so that anyone can test what they build on dropscribe. They
run in-process and keep their state per instance.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from handler.clock import VirtualClock
from handler.errors import EngineDied
from pipeline.errors import ErrorDetail
from pipeline.export import export
from pipeline.formats.deepgram import facts, results_part
from pipeline.options import Options
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING, artifact_name
from pipeline.types import (
    ChannelTranscript,
    Done,
    Event,
    ExportRequest,
    Failed,
    JobRequest,
    Media,
    MediaInfo,
    ModelInfo,
    PrepareRequest,
    Progress,
    StageDone,
    Transcript,
    Word,
)


class OwnedClock(VirtualClock):
    """Virtual time that only the thread which made the clock moves. A `wait` in any other thread, such as a lease's
    heart, ends when that time has come, or with its event: with a `VirtualClock` each of its waits would move time on.
    """

    _LOOK_SECONDS = 0.001  # of real time

    def __init__(self, start: float = 1_700_000_000.0, seed: int = 0) -> None:
        super().__init__(start, seed)
        self._owner = threading.get_ident()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if threading.get_ident() == self._owner:
            return super().wait(event, seconds)
        until = self.monotonic() + seconds
        while not event.wait(self._LOOK_SECONDS):
            if self.monotonic() >= until:
                return False
        return True


class ScriptedEngine:
    """Says the SHA-256 of the recording, a few hexadecimal digits a word: equal content gives equal words, other
    content others.

    ``failures``: errors to answer with, one a job, before any job succeeds; None among them lets the process die
    instead. ``between``: called with the stage's name before its artifact is written; may raise, advance a clock, or
    kill. ``ran``: the stages that were really run, in order, over all jobs; ``exported``: the kinds of output.
    ``export_failures``: as ``failures``, one an export. ``prepared``: what it was asked to decode ahead, of which it
    only takes note; ``used``: the folders of these that jobs named.
    """

    def __init__(
        self,
        *,
        failures: Sequence[ErrorDetail | None] = (),
        between: Callable[[str], None] | None = None,
        duration: float = 60.0,
        export_failures: Sequence[ErrorDetail | None] = (),
    ) -> None:
        self._failures = list(failures)
        self._between = between or (lambda stage: None)
        self._duration = duration
        self._export_failures = list(export_failures)
        self.ran: list[str] = []
        self.exported: list[str] = []
        self.prepared: list[PrepareRequest] = []
        self.used: list[str] = []
        self.jobs = 0
        self.closed = False

    def run(
        self, request: JobRequest, *, time_limit: Callable[[float | None], float], poll: float
    ) -> Iterator[Event | None]:
        self.jobs += 1
        if request.prepared is not None:
            self.used.append(request.prepared)
        work, options = Path(request.work), Options.model_validate(request.options)
        if self._failures:
            failure = self._failures.pop(0)
            if failure is None:
                raise EngineDied("the engine ended by signal SIGKILL (out of memory?): it said nothing")
            yield Failed(error=failure)
            return
        kept = work / artifact_name(TRANSCRIBING)
        if not kept.exists():
            yield Media(duration=self._duration, channels=1)
            yield Progress(
                stage=TRANSCRIBING, percent=50, done=self._duration / 2, total=self._duration, partial="so far"
            )
            yield None
            self._between(TRANSCRIBING)
            kept.write_text(self._transcript(work / request.source, request).model_dump_json(), encoding="utf-8")
            self.ran.append(TRANSCRIBING)
            yield StageDone(stage=TRANSCRIBING, artifact=kept.name, seconds=1.0)
        transcript = Transcript.model_validate_json(kept.read_bytes())
        self._between(GENERATING_OUTPUT)
        results = work / artifact_name(GENERATING_OUTPUT)
        results.write_bytes(results_part(transcript, options, request.seed))
        self.ran.append(GENERATING_OUTPUT)
        yield StageDone(stage=GENERATING_OUTPUT, artifact=results.name, seconds=0.1, facts=facts(transcript, options))
        yield Done()

    def prepare(self, request: PrepareRequest) -> None:
        self.prepared.append(request)

    def export(self, request: ExportRequest, *, seconds: float) -> ErrorDetail | None:
        if self._export_failures:
            failure = self._export_failures.pop(0)
            if failure is None:
                raise EngineDied("the engine ended by signal SIGKILL (out of memory?): it said nothing")
            return failure
        self._between("exporting")
        export(request)
        self.exported += request.kinds
        return None

    def close(self) -> None:
        self.closed = True

    def _transcript(self, source: Path, request: JobRequest) -> Transcript:
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        texts = [digest[place : place + 8] for place in range(0, 64, 8)]
        words = tuple(
            Word(text=text, start=float(place), end=place + 0.5, confidence=0.9) for place, text in enumerate(texts)
        )
        return Transcript(
            media=MediaInfo(duration=self._duration, channels=1, container="wav", codec="pcm_s16le"),
            channels=(ChannelTranscript(words=words, language="en"),),
            punctuated=True,
            model=ModelInfo(
                name=str(request.model["name"]),
                version=str(request.model["version"]),
                arch=str(request.model["arch"]),
                revision=str(request.model["revision"]),
            ),
        )
