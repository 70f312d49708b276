"""What can go wrong between a recording and its transcript.

    PipelineError
    ├── MediaError            the recording itself: never retried
    │   ├── EmptyMedia        no bytes
    │   ├── UnreadableMedia   not a recording, or one that is damaged beyond reading
    │   ├── NoAudio           a picture, or a video without sound
    │   ├── TooLong           over the duration limit
    │   └── TooManyChannels   more channels than the contract allows
    ├── OptionsError          an option that is unknown, impossible or refused: never retried
    ├── NotAResult            what should be turned into captions is no Deepgram result: never retried
    ├── ModelUnavailable      weights or a package that are not here (yet): retried
    │   └── WeightsChanged    … others than those that were chosen: chosen anew, and retried
    ├── OutOfSpace            the work directory's disk is full: retried
    ├── OutOfMemory           too little memory for the smallest piece of work, on every device: retried
    ├── DeviceLost            the GPU failed in the middle of a job, and the engine ends with it: retried
    └── EngineFailure         anything else inside the engine: retried

Every error carries ``message`` (what happened), ``hint`` (what a person can do) and ``retryable``; `to_detail` is the
form that travels from the engine to the handler and into ``errors/<key>.json``.
"""

from __future__ import annotations

import errno

from pydantic import BaseModel, ConfigDict


def sentence(message: str, hint: str = "") -> str:
    """The two as running text; messages come without a full stop."""
    if not hint:
        return message
    return f"{message}{'' if message.endswith(('.', '!', '?')) else '.'} {hint}"


class ErrorDetail(BaseModel):
    """An error as data. ``error_class`` is the Python class's name, ``code`` Deepgram's ``err_code``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    error_class: str
    code: str
    message: str
    hint: str = ""
    retryable: bool = False


class Explained(Exception):
    """An error for people, the base of both halves' trees. ``code``: Deepgram's ``err_code``, or ours alike."""

    code = "INTERNAL_SERVER_ERROR"
    retryable = False
    default_hint = ""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint

    def to_detail(self) -> ErrorDetail:
        return ErrorDetail(
            error_class=type(self).__name__,
            code=self.code,
            message=self.message,
            hint=self.hint,
            retryable=self.retryable,
        )


class PipelineError(Explained):
    """Base of the pipeline's tree."""


class MediaError(PipelineError):
    code = "Bad Request"


class EmptyMedia(MediaError):
    default_hint = "Upload the recording again: what arrived has no bytes."


class UnreadableMedia(MediaError):
    default_hint = "Check that the file plays; convert it (for example with ffmpeg) and upload it again."


class NoAudio(MediaError):
    default_hint = "Upload a recording that has a sound track."


class TooLong(MediaError):
    default_hint = "Split the recording; or raise DROPSCRIBE_MAX_DURATION_SECONDS and run `dropscribe retry`."


class TooManyChannels(MediaError):
    default_hint = "Mix the recording down, or leave out multichannel."


class OptionsError(PipelineError):
    code = "Bad Request"
    default_hint = "See the table of options in docs/options.md."


class NotAResult(PipelineError):
    code = "Bad Request"


class ModelUnavailable(PipelineError):
    code = "MODEL_UNAVAILABLE"
    retryable = True
    default_hint = "Run `python -m pipeline fetch MODEL`, or point DROPSCRIBE_MODELS at the folder that has it."


class WeightsChanged(ModelUnavailable):
    """An attempt of the job, not the worker's end: the next attempt finds the weights as they are now."""

    code = "WEIGHTS_CHANGED"
    default_hint = "Put other weights into a new folder, and keep the old one while workers run."


class OutOfSpace(PipelineError):
    code = "OUT_OF_SPACE"
    retryable = True
    default_hint = "Free disk space, or point DROPSCRIBE_WORK_DIR at a larger disk."

    @staticmethod
    def explains(error: OSError) -> bool:
        """Whether an OSError means that the disk (or the user's share of it) is full."""
        return error.errno in (errno.ENOSPC, errno.EDQUOT)


class OutOfMemory(PipelineError):
    code = "OUT_OF_MEMORY"
    retryable = True
    default_hint = (
        "Free memory, use a smaller model, or a machine with more; see “Out of memory” in docs/operations.md."
    )


class DeviceLost(PipelineError):
    """A CUDA context does not recover, so the process that meets this has to end."""

    code = "DEVICE_LOST"
    retryable = True
    default_hint = "Look at the GPU with nvidia-smi and in the kernel's log (Xid); `dropscribe doctor` tries it out."


class EngineFailure(PipelineError):
    retryable = True
    default_hint = "See the worker's log; `dropscribe retry` runs the job again."
