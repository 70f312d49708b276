"""One job: its steps, declared in the order of the flow, each skipped when its artifact already lies in the work
directory.

Takes a work directory and a `JobRequest`, leaves the artifacts there and tells what happens as events. Knows the stages
and hands the output of one to the next; no stage knows another. Nothing of buckets, caches or jobs' identities.
"""

from __future__ import annotations

import shutil
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import keep, read
from pipeline.catalog import Model
from pipeline.companions import Companions
from pipeline.conversation import Conversation
from pipeline.course import Course, Emit, Part
from pipeline.flow import Given, Made, Report, run_flow
from pipeline.formats.deepgram import facts, results_part
from pipeline.options import Options
from pipeline.plan import (
    ALIGNING,
    DECODING,
    DIARIZING,
    GENERATING_OUTPUT,
    POST_PROCESSING,
    SEPARATING,
    TRANSCRIBING,
    artifact_name,
    punctuator_for,
    stages_of,
)
from pipeline.preparing import Ahead, heard
from pipeline.rates import Rates
from pipeline.speaking import Speakers
from pipeline.types import JobRequest, Media, Transcript, Warning
from pipeline.wording import reword

if TYPE_CHECKING:
    from pipeline.models import Models
    from pipeline.models.base import Recogniser, Request
    from pipeline.stages.audio import Audio

# Steps that keep nothing, beside the stages of the plan.
HEARING = "hearing"  # where somebody speaks
RESTORING = "restoring"  # punctuation
JOINING = "joining"  # words and speakers

# Seconds of work for a second of sound on a processor's core, by orders of magnitude: see `Part.cost`.
_COST = {
    DECODING: 0.004, SEPARATING: 1.0, HEARING: 0.0025, TRANSCRIBING: 0.05, ALIGNING: 0.02, DIARIZING: 0.05,
    RESTORING: 0.002, JOINING: 0.0001, GENERATING_OUTPUT: 0.0005,
}  # fmt: skip

# What asked for a step, or what it is about: named when it degrades.
_PARAMETER = {SEPARATING: "stemming", ALIGNING: "alignment", DIARIZING: "diarize", RESTORING: "punctuate"}


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
    job.folder.mkdir()
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
        companions = Companions.model_validate(request.companions)
        self._stages = stages_of(self._options, companions)
        self._restores = punctuator_for(self._options, companions) is not None
        self._beside = Conversation(work, self._options, companions, models)
        self._speakers = Speakers(work, self._options, companions, models)
        self._listener: tuple[Recogniser, Request] | None = None
        self._by = ""
        self._transcript = work / artifact_name(TRANSCRIBING)
        self._results = work / artifact_name(GENERATING_OUTPUT)

    def parts(self) -> tuple[Part, ...]:
        """The steps in the order of the flow."""
        beside = self._beside
        separated = (SEPARATING,) if SEPARATING in self._stages else ()
        sound = (DECODING, *separated)
        found = [self._part(DECODING, self._first_stage(), run=self._decode, known=self._decoded)]
        if separated:
            found.append(self._stage(SEPARATING, needs=(DECODING,), run=self._separate, lacking=beside.no_separator()))
        stage = TRANSCRIBING if self._heard_words is None else DIARIZING
        found.append(self._part(HEARING, stage, needs=sound, run=self._hear, known=self._heard))
        found.append(self._stage(TRANSCRIBING, needs=(*sound, HEARING), run=self._transcribe, known=self._kept))
        words = TRANSCRIBING
        if ALIGNING in self._stages:
            lacking = beside.no_aligner()
            needs = (*sound, TRANSCRIBING)
            found.append(self._stage(ALIGNING, needs=needs, run=self._align, known=self._aligned, lacking=lacking))
            words = TRANSCRIBING if lacking is not None else ALIGNING
        if self._restores:
            found.append(self._part(RESTORING, POST_PROCESSING, needs=(words,), run=self._restore))
            words = RESTORING
        if DIARIZING in self._stages:
            lacking, needs = self._speakers.no_diarizer(), (*sound, HEARING)
            known = self._diarized
            found.append(self._stage(DIARIZING, needs=needs, run=self._diarize, known=known, lacking=lacking))
            if lacking is None:
                found.append(self._part(JOINING, POST_PROCESSING, needs=(words, DIARIZING), run=self._join))
                words = JOINING
        found.append(self._stage(GENERATING_OUTPUT, needs=(words,), run=self._write))
        return tuple(found)

    def _stage(self, name: str, **rest: Any) -> Part:
        by = self._by if name == TRANSCRIBING else self._beside.by(name) if name in _PARAMETER else ""
        return self._part(name, name, by=by, artifact=artifact_name(name), **rest)

    def _part(self, name: str, stage: str, **rest: Any) -> Part:
        return Part(name=name, stage=stage, cost=_COST[name], **rest)

    def _first_stage(self) -> str:
        """The first one that needs the sound: decoding counts for it."""
        if SEPARATING in self._stages and self._beside.no_separator() is None and not self._beside.stem.exists():
            return SEPARATING
        if self._heard_words is None:
            return TRANSCRIBING
        return ALIGNING if ALIGNING in self._stages and not self._beside.aligned.exists() else DIARIZING

    @cached_property
    def _heard_words(self) -> Transcript | None:
        """The transcript that is there already, aligned or not."""
        for path in (self._beside.aligned, self._transcript):
            if path.exists():
                return read(path, Transcript)
        return None

    def load(self) -> None:
        """The recogniser, if there is something for it to do. Before minutes are spent on decoding it is asked whether
        it can do what is wanted.
        """
        if self._heard_words is not None:
            return
        from pipeline.models.base import Request

        model = Model.model_validate(self._request.model)
        self._listener = self._models.get(model), Request.of(self._options)
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

        folder = self.folder / "decoded"
        folder.mkdir()
        audio = decode(
            self._source,
            folder,
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

    @property
    def _source(self) -> Path:
        return self._work / self._request.source

    def _separate(self, given: Given, report: Report) -> Made:
        folder = self.folder / "voices"
        most = self._request.max_duration
        return self._beside.separate(self._source, given[DECODING], folder, report, max_duration=most)

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
        transcript = read(self._transcript, Transcript)
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
        transcript = self._beside.heard_by(transcript, given.values.get(SEPARATING))
        keep(self._transcript, transcript.model_dump_json().encode())
        return Made(transcript)

    def _aligned(self) -> Made | None:
        if not self._beside.aligned.exists():
            return None
        transcript = read(self._beside.aligned, Transcript)
        self.course.heard_of(transcript.media.duration)
        return Made(transcript)

    def _align(self, given: Given, report: Report) -> Made:
        return self._beside.align(given[TRANSCRIBING], _sound(given), report)

    def _diarized(self) -> Made | None:
        return self._speakers.diarization(self._heard_words)

    def _diarize(self, given: Given, report: Report) -> Made:
        return self._speakers.diarize(_sound(given), given[HEARING][0], report)

    def _restore(self, given: Given, report: Report) -> Made:
        (transcript,) = given.values.values()
        return self._beside.restore(transcript, report)

    def _join(self, given: Given, report: Report) -> Made:
        values = dict(given.values)
        diarization = values.pop(DIARIZING)
        (words,) = values.values()
        return Made(self._speakers.join(words, diarization))

    def _write(self, given: Given, report: Report) -> Made:
        lacking = tuple(
            Warning(parameter=_PARAMETER[step], type="degraded", message=reason)
            for step, reason in given.degraded.items()
        )
        (transcript,) = given.values.values()
        transcript = reword(transcript, self._options)
        keep(self._results, results_part(transcript, self._options, self._request.seed))
        return Made(facts(transcript, self._options, lacking))


def _sound(given: Given) -> Audio:
    """The voices, where they were separated, or the recording as it is."""
    voices: Audio | None = given.values.get(SEPARATING)
    decoded: Audio = given[DECODING]
    return decoded if voices is None else voices
