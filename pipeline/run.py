"""One job: its steps, declared in the order of the flow, each skipped when its artifact already lies in the work
directory.

Takes a work directory and a `JobRequest`, leaves the artifacts there and tells what happens as events. Knows the stages
and hands the output of one to the next; no stage knows another. Nothing of buckets, caches or jobs' identities.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pipeline.catalog import Model
from pipeline.course import Course, Emit, Part
from pipeline.errors import EngineFailure
from pipeline.flow import Given, Made, Report, run_flow
from pipeline.formats.deepgram import facts, results_part
from pipeline.options import Options
from pipeline.plan import DECODING, DIARIZING, GENERATING_OUTPUT, SEPARATING, TRANSCRIBING, artifact_name
from pipeline.preparing import Ahead, heard
from pipeline.rates import Rates
from pipeline.stages.speakers import NO_DIARIZER, by_channel
from pipeline.types import JobRequest, Media, Transcript, Warning
from pipeline.wording import reword

if TYPE_CHECKING:
    from pipeline.models import Models
    from pipeline.models.base import Recogniser, Request
    from pipeline.stages.audio import Audio

# Steps that keep nothing, beside the stages of the plan.
HEARING = "hearing"  # where somebody speaks
JOINING = "joining"  # words and speakers

NO_SEPARATOR = (
    "Voices were not taken out of music: this version has no separator. Do the recording again once one is there."
)

# Seconds of work for a second of sound on a processor's core, by orders of magnitude: see `Part.cost`.
_COST = {
    DECODING: 0.004, SEPARATING: 1.0, HEARING: 0.0025, TRANSCRIBING: 0.05, DIARIZING: 0.05, JOINING: 0.0001,
    GENERATING_OUTPUT: 0.0005,
}  # fmt: skip

_OPTION = {SEPARATING: "stemming", JOINING: "diarize"}  # what asked for a step: named when it degrades


def run_job(
    work: Path,
    request: JobRequest,
    models: Models,
    emit: Emit,
    *,
    rates: Rates | None = None,
    ahead: Ahead | None = None,
) -> None:
    """Leave every artifact of the job in ``work``; what is there already is believed. ``rates``: what earlier jobs
    took, and learns from this one; ``ahead``: what was prepared for it. Raises `PipelineError`s and OSError.
    """
    job = _Job(work, request, models, emit, ahead)
    job.load()
    parts = job.parts()
    course = job.course = Course(parts, emit, rates or Rates())
    shutil.rmtree(job.folder, ignore_errors=True)  # of a run that was killed
    try:
        run_flow(parts, course)
    finally:
        shutil.rmtree(job.folder, ignore_errors=True)  # the decoded sound is never kept


class _Job:
    """What the steps share. A step's method takes what its needs gave, and gives what it makes of that."""

    course: Course

    def __init__(self, work: Path, request: JobRequest, models: Models, emit: Emit, ahead: Ahead | None) -> None:
        self.folder = work / "audio"
        self._work = work
        self._request = request
        self._models = models
        self._emit = emit
        self._ahead = ahead
        self._options = Options.model_validate(request.options)
        self._listener: tuple[Recogniser, Request] | None = None
        self._by = ""
        self._transcript = work / artifact_name(TRANSCRIBING)
        self._results = work / artifact_name(GENERATING_OUTPUT)

    def parts(self) -> tuple[Part, ...]:
        """The steps in the order of the flow."""
        options = self._options
        separated = (SEPARATING,) if options.stemming != "false" else ()
        sound = (DECODING, *separated)
        found = [_part(DECODING, TRANSCRIBING, run=self._decode, known=self._decoded)]
        if separated:
            found.append(_part(SEPARATING, needs=(DECODING,), lacking=NO_SEPARATOR))
        found.append(_part(HEARING, TRANSCRIBING, needs=sound, run=self._hear, known=self._heard))
        found.append(
            _part(
                TRANSCRIBING,
                needs=(*sound, HEARING),
                run=self._transcribe,
                known=self._kept,
                by=self._by,
                artifact=self._transcript.name,
            )
        )
        if options.diarize:
            found.append(_part(DIARIZING, needs=sound, lacking=NO_DIARIZER))
            found.append(_part(JOINING, DIARIZING, needs=(TRANSCRIBING, DIARIZING), run=self._join))
        words = JOINING if options.diarize else TRANSCRIBING
        found.append(_part(GENERATING_OUTPUT, needs=(words,), run=self._write, artifact=self._results.name))
        return tuple(found)

    def load(self) -> None:
        """The recogniser, if there is something for it to do. Before minutes are spent on decoding it is asked whether
        it can do what is wanted.
        """
        if self._transcript.exists():
            return
        model = Model.model_validate(self._request.model)
        self._listener = self._models.get(model), _request(self._options)
        recogniser, asked = self._listener
        recogniser.check(asked)
        self._by = f"{model.backend} {model.revision} {self._models.place(model)}"

    # ── the sound ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _decoded(self) -> Made | None:
        """What was prepared, if that is done."""
        if self._ahead is None or not self._ahead.ready or self._ahead.audio is None:
            return None
        audio = self._ahead.audio
        self._is_decoded(audio)
        return Made(audio, own=False)

    def _decode(self, given: Given, report: Report) -> Made:
        if self._ahead is not None:
            audio = self._ahead.wait(report, self._is_open)
            if audio is not None:
                self._is_decoded(audio)
                return Made(audio, own=False)
        from pipeline.stages.decode import decode  # here: a job whose transcript is cached needs no PyAV

        self.folder.mkdir()
        audio = decode(
            self._work / self._request.source,
            self.folder,
            per_channel=self._options.multichannel,
            max_duration=self._request.max_duration,
            report=report,
            opened=self._is_open,
        )
        self._is_decoded(audio)
        return Made(audio)

    def _is_open(self, claimed: float | None, channels: int) -> None:
        self.course.heard_of(claimed)
        self._emit(Media(duration=claimed, channels=channels))

    def _is_decoded(self, audio: Audio) -> None:
        self.course.heard_of(audio.info.duration)
        self._emit(Media(duration=audio.info.duration, channels=audio.info.channels))

    def _heard(self) -> Made | None:
        """The speech in the recording as it is, if that was prepared. Where voices are separated, `_hear` decides."""
        if self._ahead is None or not self._ahead.ready or self._options.stemming != "false":
            return None
        return Made(self._ahead.speech, own=False)

    def _hear(self, given: Given, report: Report) -> Made:
        audio = _sound(given)
        if self._ahead is not None and audio is self._ahead.audio:
            return Made(self._ahead.speech, own=False)
        return Made(heard(audio, report))

    # ── the words ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _kept(self) -> Made | None:
        if not self._transcript.exists():
            return None
        transcript = _read(self._transcript)
        self.course.heard_of(transcript.media.duration)
        return Made(transcript)

    def _transcribe(self, given: Given, report: Report) -> Made:
        from pipeline.stages.transcribe import transcribe
        from pipeline.stages.vad import windows

        assert self._listener is not None
        recogniser, asked = self._listener
        spans = given[HEARING]
        pieces = [windows(track) for track in spans] if recogniser.fills_windows else spans
        # Otherwise the partial transcript would tell what is masked in the result.
        shown = not (self._options.redact or self._options.profanity_filter)

        def told(done: float, total: float, partial: str) -> None:
            report(done, total, partial if shown else None)

        transcript = transcribe(_sound(given), pieces, recogniser, asked, told)
        _keep(self._transcript, transcript.model_dump_json().encode())
        return Made(transcript)

    def _join(self, given: Given, report: Report) -> Made:
        transcript, reason = by_channel(given[TRANSCRIBING])
        return Made(transcript, degraded=reason)

    def _write(self, given: Given, report: Report) -> Made:
        lacking = tuple(
            Warning(parameter=_OPTION[step], type="degraded", message=reason)
            for step, reason in given.degraded.items()
            if step in _OPTION
        )
        (transcript,) = given.values.values()
        transcript = reword(transcript, self._options)
        _keep(self._results, results_part(transcript, self._options, self._request.seed))
        return Made(facts(transcript, self._options, lacking))


def _part(name: str, stage: str = "", **rest: Any) -> Part:
    return Part(name=name, stage=stage or name, cost=_COST[name], **rest)


def _sound(given: Given) -> Audio:
    """The voices, where they were separated, or the recording as it is."""
    voices: Audio | None = given.values.get(SEPARATING)
    decoded: Audio = given[DECODING]
    return decoded if voices is None else voices


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
