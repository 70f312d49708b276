"""Who speaks when in a recording: which diarizer is asked, and what it is told.

Takes `Audio`, where somebody speaks in it and how many people the person says there are; gives a `Diarization`. Up to
four people are Sortformer's, which hears two at once; more are for clustering. One person, and a channel for each,
need no model. Merging speakers that were made up is left to whoever joins speakers and words. Knows nothing of words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelUnavailable
from pipeline.hints import Hints
from pipeline.stages.audio import Audio
from pipeline.stages.turns import Diarization, diarization
from pipeline.types import SAMPLE_RATE, ModelInfo, Span, Warning

STEP = 0.08  # s; of what is known without a model
NO_MODEL = "Words have no speakers: no diarizer is configured."
TOO_MANY = (
    "At most four speakers are told apart: there may be more, but the model of voices that it takes is not configured."
)
NO_OVERLAP = "Of two who speak at once one is found: the model that hears both is not configured."

Route = Literal["nobody", "one", "channels", "sortformer", "clustering"]
Report = Callable[[float, float | None], None]
Posteriors = NDArray[np.float16]


class Diarizer(Protocol):
    """A model that is loaded when it begins a job. ``step``: seconds from one frame of its posteriors to the next;
    ``below``: the rungs below the first that it was computed on.
    """

    @property
    def info(self) -> ModelInfo: ...
    @property
    def step(self) -> float: ...
    @property
    def below(self) -> Sequence[Any]: ...
    def begin(self) -> None: ...


class Few(Diarizer, Protocol):
    """For up to `pipeline.hints.FEW` people; see `pipeline.models.sortformer`."""

    def posteriors(self, samples: int, read: Callable[[int, int], Any], report: Report, /) -> Posteriors: ...


class Many(Diarizer, Protocol):
    """For any number; see `pipeline.models.clustering`."""

    def posteriors(
        self,
        samples: int,
        read: Callable[[int, int], Any],
        spans: Sequence[tuple[float, float]],
        report: Report,
        /,
        *,
        least: int,
        most: int | None,
    ) -> Posteriors: ...


def route(tracks: int, spans: Sequence[Span], hints: Hints) -> Route:
    """What a recording takes, whichever models there are."""
    if tracks > 1:
        return "channels"
    if not spans:
        return "nobody"
    if hints.alone:
        return "one"
    return "clustering" if hints.many else "sortformer"


def diarize(
    audio: Audio, spans: Sequence[Span], hints: Hints, few: Few | None, many: Many | None, report: Report
) -> Diarization | None:
    """Who speaks when in the recording's one track; None if it has several, each of which is a speaker.

    ``spans``: of speech. ``few``, ``many``: the diarizers, None where none is configured; the other then does what it
    can, with a warning. `ModelUnavailable` if there is neither, or what is there cannot be loaded; `OutOfMemory`,
    `DeviceLost`; what ``report`` raises.
    """
    wanted = route(audio.tracks, spans, hints)
    if wanted == "channels":
        return None
    if wanted in ("nobody", "one"):
        return diarization(_spoken(audio, spans if wanted == "one" else ()), STEP, None)
    if few is None and many is None:
        raise ModelUnavailable(NO_MODEL, "Configure a Sortformer, or a model of voices.")
    if many is not None and (wanted == "clustering" or few is None):
        return _by_voice(
            audio, spans, hints, many, () if few or wanted == "clustering" else (_warning(NO_OVERLAP),), report
        )
    assert few is not None
    few.begin()
    found = few.posteriors(audio.samples, _reader(audio), report)
    lacking = (_warning(TOO_MANY),) if wanted == "clustering" else ()
    return diarization(found, few.step, few.info, (*lacking, *_slower(few.below)))


def _by_voice(
    audio: Audio, spans: Sequence[Span], hints: Hints, many: Many, lacking: tuple[Warning, ...], report: Report
) -> Diarization:
    many.begin()
    least, most = hints.bounds
    pairs = [(span.start, span.end) for span in spans]
    found = many.posteriors(audio.samples, _reader(audio), pairs, report, least=least, most=most)
    return diarization(found, many.step, many.info, (*lacking, *_slower(many.below)))


def _spoken(audio: Audio, spans: Sequence[Span]) -> NDArray[np.float32]:
    """One speaker, in all of the speech."""
    frames = np.zeros((-(-audio.samples // round(STEP * SAMPLE_RATE)), 1 if spans else 0), np.float32)
    for span in spans:
        frames[int(span.start / STEP) : int(np.ceil(span.end / STEP))] = 1.0
    return frames


def _reader(audio: Audio) -> Callable[[int, int], Any]:
    return lambda start, stop: audio.read(0, start, stop)


def _warning(message: str) -> Warning:
    return Warning(parameter="diarize", type="degraded", message=message)


def _slower(below: Sequence[Any]) -> tuple[Warning, ...]:
    """What was computed elsewhere than it should have been: a reader may wonder about the time it took."""
    return tuple(_warning(f"Speakers were found on the {one.rung.device.upper()}: {one.why}.") for one in below)
