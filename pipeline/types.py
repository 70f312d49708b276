"""The data that travels between stages and from the engine to the handler. Frozen; seconds, samples and shapes are
stated.

Knows nothing of models, numpy or buckets: the handler imports this module too.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import ErrorDetail

SAMPLE_RATE = 16_000  # Hz; what Whisper, Silero VAD, NeMo and pocketsphinx all take

FORMAT = 1  # version of every document below

Unit = Annotated[float, Field(ge=0, le=1)]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MediaInfo(Frozen):
    """What decoding learned. ``duration`` in seconds of audio actually decoded; ``channels`` as in the recording."""

    duration: float = Field(ge=0)
    channels: int = Field(ge=1)
    container: str
    codec: str


class Span(Frozen):
    """A stretch of one channel, in seconds from the recording's start; end > start."""

    start: float = Field(ge=0)
    end: float


class SpeechWindow(Span):
    """A stretch for a recogniser to hear at once. ``speech``: where in it somebody speaks, in order."""

    speech: tuple[Span, ...]


class Word(Frozen):
    """One word. ``text`` as the backend wrote it, without spaces around it (``country,`` from one that punctuates)."""

    text: str
    start: float = Field(ge=0)
    end: float
    confidence: Unit
    speaker: int | None = None
    speaker_confidence: Unit | None = None
    language: str | None = None


class ChannelTranscript(Frozen):
    """The words of one channel (or of the mono mix), in order of their start. Words may overlap once speakers do."""

    words: tuple[Word, ...]
    language: str | None = None
    language_confidence: Unit | None = None


class Warning(Frozen):
    """One entry of Deepgram's ``metadata.warnings``."""

    parameter: str
    type: str
    message: str


class ModelInfo(Frozen):
    """One entry of Deepgram's ``metadata.model_info``; ``revision`` is the digest that goes into the stage's recipe."""

    name: str
    version: str
    arch: str
    revision: str


class Transcript(Frozen):
    """Artifact of the stages ``transcribing`` and ``aligning``. One channel, or one for each of the recording's with
    ``multichannel``.

    ``punctuated``: the words have case and punctuation. ``diarizer``: what found the words' speakers, None where
    nothing did, or each channel is a speaker. ``companions``: the other models beside the recogniser that had a part.
    """

    format: Literal[1] = 1
    media: MediaInfo
    channels: tuple[ChannelTranscript, ...]
    punctuated: bool
    model: ModelInfo
    diarizer: ModelInfo | None = None
    companions: tuple[ModelInfo, ...] = ()
    warnings: tuple[Warning, ...] = ()


class Facts(Frozen):
    """What a result's ``metadata`` needs from the pipeline; kept in the job's record beside the results' digest.
    ``models``: all that had a part, the recogniser first.
    """

    duration: float
    channels: int
    models: tuple[ModelInfo, ...]
    diarizer: ModelInfo | None = None
    warnings: tuple[Warning, ...] = ()


# ── the engine's side of the pipe ────────────────────────────────────────────────────────────────────────────────────


class Ready(Frozen):
    """The engine can take a job."""

    type: Literal["ready"] = "ready"
    pid: int
    versions: dict[str, str] = {}


class Media(Frozen):
    """The source could be opened; ``duration`` (seconds) is the container's claim, None if it makes none."""

    type: Literal["media"] = "media"
    duration: float | None
    channels: int


class Progress(Frozen):
    """``percent`` of the stage, 0…100; ``done``, ``total``: audio seconds; ``partial``: the transcript's tail; ``eta``:
    seconds until the stage is over, ``job_eta`` until the job is, from measured rates; None where nothing is known yet.
    Stages side by side each tell of themselves.
    """

    type: Literal["progress"] = "progress"
    stage: str
    percent: float
    done: float | None = None
    total: float | None = None
    partial: str | None = None
    eta: float | None = None
    job_eta: float | None = None


class StageDone(Frozen):
    """A stage is over. ``artifact``: what it leaves in the work directory; empty where it made nothing that is kept,
    because there was nothing to do, it was there already, or ``degraded`` says why it is poorer than asked for.

    ``facts`` comes with the last stage, ``generating_output``, whose artifact is the ``results`` part of the answer.
    """

    type: Literal["stage_done"] = "stage_done"
    stage: str
    artifact: str
    seconds: float
    degraded: str | None = None
    facts: Facts | None = None


class Done(Frozen):
    """Every stage's artifact lies in the work directory. ``resident``: bytes of memory the engine holds now, 0 where
    the system does not say.
    """

    type: Literal["done"] = "done"
    resident: int = 0


class Failed(Frozen):
    """The job failed; the engine itself goes on."""

    type: Literal["failed"] = "failed"
    error: ErrorDetail


Event = Annotated[Ready | Media | Progress | StageDone | Done | Failed, Field(discriminator="type")]


class JobRequest(Frozen):
    """What the handler writes to the engine's stdin, one line a job. The work directory holds the source and any
    cached artifacts.

    ``prepared``: the folder of an earlier `PrepareRequest`, whose work the job may use. One that this engine does not
    know, that failed or that was made with other parameters is no error: the job decodes for itself.
    """

    type: Literal["job"] = "job"
    work: str
    source: str  # file name inside ``work``
    options: dict[str, Any]  # pipeline.options.Options, dumped
    model: dict[str, Any]  # pipeline.catalog.Model, dumped
    companions: dict[str, Any] = {}  # pipeline.companions.Companions, dumped; empty: there are none
    seed: str  # a digest, from which the utterances' ids are made
    max_duration: float | None = None  # seconds
    prepared: str | None = None


class PrepareRequest(Frozen):
    """Asks the engine to decode a recording ahead of its job, and to find the speech in it, beside the job under way.

    ``source``: absolute path of the recording; ``folder``: absolute path of an empty folder for what is decoded, the
    handler's to remove. Never answered, and its failures are silent: the job itself meets them again.
    """

    type: Literal["prepare"] = "prepare"
    folder: str
    source: str
    per_channel: bool
    max_duration: float | None = None  # seconds


class ExportRequest(Frozen):
    """Asks for captions and text of a finished job. ``results``: the file inside ``work`` with the results part.

    ``names``: of speakers, as in a ``speakers.json``; ``file``: what the recording is called. Answered with `Done` or
    `Failed`; the files then lie in ``work``, see `pipeline.export`.
    """

    type: Literal["export"] = "export"
    work: str
    results: str
    kinds: tuple[str, ...]
    names: dict[str, str] = {}
    file: str = ""


Request = Annotated[JobRequest | PrepareRequest | ExportRequest, Field(discriminator="type")]
