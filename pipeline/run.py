"""One job: the stages in the order of the flow, each skipped when its artifact already lies in the work directory.

Takes a work directory and a `JobRequest`, leaves the artifacts there and tells what happens as events. Knows the stages
and hands the output of one to the next; no stage knows another. Nothing of buckets, caches or jobs' identities.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from pipeline.catalog import Model
from pipeline.errors import EngineFailure
from pipeline.formats.deepgram import facts, results_part
from pipeline.options import Options
from pipeline.plan import DIARIZING, GENERATING_OUTPUT, SEPARATING, TRANSCRIBING, artifact_name
from pipeline.stages.speakers import by_channel
from pipeline.types import Event, JobRequest, Media, Progress, StageDone, Transcript, Warning
from pipeline.wording import reword

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.models import Models
    from pipeline.models.base import Request

Emit = Callable[[Event], None]

# Where decoding, speech detection and recognition end in the percent of the stage `transcribing`, in shares of 1.
_DECODED, _HEARD = 0.08, 0.12
NO_SEPARATOR = (
    "Voices were not taken out of music: this version has no separator. Do the recording again once one is there."
)

_LEAST_SECONDS = 0.25  # between two progress events: a reader wants no more, and each costs a line on the pipe


def run_job(work: Path, request: JobRequest, models: Models, emit: Emit) -> None:
    """Leave every artifact of the job in ``work``; what is there already is believed. Raises `PipelineError`s and
    OSError.
    """
    options = Options.model_validate(request.options)
    lacking = _without_separation(options, emit)
    kept = work / artifact_name(TRANSCRIBING)
    if not kept.exists():
        started = time.monotonic()
        transcript = _transcribed(work, request, options, models, emit)
        _keep(kept, transcript.model_dump_json().encode())
        emit(StageDone(stage=TRANSCRIBING, artifact=kept.name, seconds=time.monotonic() - started))
    else:
        transcript = _read(kept)
    if options.diarize:
        transcript, reason = by_channel(transcript)
        lacking += _lacking(DIARIZING, "diarize", reason, emit)
    results = work / artifact_name(GENERATING_OUTPUT)
    started = time.monotonic()
    emit(Progress(stage=GENERATING_OUTPUT, percent=0.0))
    transcript = reword(transcript, options)
    _keep(results, results_part(transcript, options, request.seed))
    told = facts(transcript, options, lacking)
    emit(StageDone(stage=GENERATING_OUTPUT, artifact=results.name, seconds=time.monotonic() - started, facts=told))


def _without_separation(options: Options, emit: Emit) -> tuple[Warning, ...]:
    """Said before transcription: what is made of the unseparated sound is no other job's transcript."""
    if options.stemming == "false":
        return ()
    return _lacking(SEPARATING, "stemming", NO_SEPARATOR, emit)


def _lacking(stage: str, option: str, reason: str | None, emit: Emit) -> tuple[Warning, ...]:
    """The job goes on without a stage; its record and the result's reader are told. Nothing if there is no reason."""
    if reason is None:
        return ()
    emit(StageDone(stage=stage, artifact="", seconds=0.0, degraded=reason))
    return (Warning(parameter=option, type="degraded", message=reason),)


def _transcribed(work: Path, request: JobRequest, options: Options, models: Models, emit: Emit) -> Transcript:
    # Imported here: a job whose transcript is cached needs neither PyAV nor onnxruntime.
    from pipeline.stages.decode import decode
    from pipeline.stages.transcribe import transcribe
    from pipeline.stages.vad import speech, windows

    model = Model.model_validate(request.model)
    asked = _request(options)
    recogniser = models.get(model)
    recogniser.check(asked)  # before minutes are spent on decoding
    progress = _Progress(emit, shown=not (options.redact or options.profanity_filter))
    with _scratch(work / "audio") as folder:
        audio = decode(
            work / request.source,
            folder,
            per_channel=options.multichannel,
            max_duration=request.max_duration,
            report=lambda done, claimed: progress.share(0.0, _DECODED, done, claimed),
            opened=lambda claimed, channels: emit(Media(duration=claimed, channels=channels)),
        )
        emit(Media(duration=audio.info.duration, channels=audio.info.channels))
        step = (_HEARD - _DECODED) / audio.tracks
        heard = []
        for track in range(audio.tracks):
            begin = _DECODED + step * track
            spans = speech(audio, track, partial(progress.share, begin, begin + step))
            heard.append(windows(spans) if recogniser.fills_windows else spans)
        return transcribe(audio, heard, recogniser, asked, progress.words)


def _request(options: Options) -> Request:
    from pipeline.models.base import Request

    named = options.detect_language if isinstance(options.detect_language, tuple) else ()
    return Request(
        language=options.language,
        detect=bool(options.detect_language),
        candidates=named,
        task=options.task,
        initial_prompt=options.initial_prompt,
        hotwords=options.hotwords,
        suppress_numerals=options.suppress_numerals,
        batch_size=options.batch_size,
    )


class _Progress:
    """The stage `transcribing` as a person sees it: decoding and speech detection are its first percents."""

    def __init__(self, emit: Emit, *, shown: bool) -> None:
        self._emit = emit
        self._shown = shown  # otherwise the partial transcript would tell what is masked in the result
        self._told = float("-inf")

    def share(self, begin: float, end: float, done: float, total: float | None) -> None:
        """``done`` of ``total`` seconds of a part that goes from ``begin`` to ``end``; an unknown total shows no
        motion.
        """
        share = min(1.0, done / total) if total else 0.0
        self._tell(Progress(stage=TRANSCRIBING, percent=100 * (begin + (end - begin) * share)), last=False)

    def words(self, done: float, total: float, partial: str) -> None:
        """Seconds of speech recognised, of all there are, and the tail of the transcript."""
        share = done / total if total else 1.0
        percent = 100 * (_HEARD + (1 - _HEARD) * share)
        tail = partial if self._shown else None
        event = Progress(stage=TRANSCRIBING, percent=percent, done=done, total=total, partial=tail)
        self._tell(event, last=done >= total)

    def _tell(self, event: Progress, *, last: bool) -> None:
        now = time.monotonic()
        if last or now - self._told >= _LEAST_SECONDS:
            self._told = now
            self._emit(event)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """An empty folder that is gone afterwards: the decoded sound is never kept."""
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _keep(path: Path, body: bytes) -> None:
    """Whole or not at all: an artifact that is there is believed."""
    temp = path.with_name(f"{path.name}.tmp")
    temp.write_bytes(body)
    temp.replace(path)


def _read(path: Path) -> Transcript:
    try:
        return Transcript.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise EngineFailure(f"the artifact {path.name} is not a transcript: {error.errors()[0]['msg']}") from error
