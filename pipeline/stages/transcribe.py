"""Sound and windows of speech in, a `Transcript` out: track after track, window after window, in order.

Knows the recogniser only as a protocol and the sound only as samples; nothing of decoding, speech detection, formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from pipeline.models.base import LONGEST_WINDOW, Recogniser, Request, Samples, Window
from pipeline.types import SAMPLE_RATE, ChannelTranscript, MediaInfo, Span, Transcript, Warning, Word

PARTIAL_CHARACTERS = 1_000

Report = Callable[[float, float, str], None]
"""Seconds of speech done, seconds of speech in all tracks, and the transcript's last 1,000 characters."""


class Audio(Protocol):
    """Decoded sound. ``samples``: the length of each track at 16 kHz."""

    @property
    def info(self) -> MediaInfo: ...
    @property
    def tracks(self) -> int: ...
    @property
    def samples(self) -> int: ...
    @property
    def warnings(self) -> tuple[Warning, ...]: ...
    def read(self, track: int, start: int, stop: int, /) -> Samples:
        """Samples [start, stop) of one track, shape (stop - start,), in [-1, 1]."""


def transcribe(
    audio: Audio,
    windows_per_track: Sequence[Sequence[Span]],
    recogniser: Recogniser,
    request: Request,
    report: Report,
) -> Transcript:
    """The words of every track. ``windows_per_track``: for each track its windows, ordered and apart.

    Raises `OptionsError` before any sound is read if the recogniser cannot do what is asked. The transcript carries the
    warnings of the sound and of the request; those of the model's choice are the asker's, not the artifact's.
    """
    if len(windows_per_track) != audio.tracks:
        raise ValueError(f"windows for {len(windows_per_track)} tracks, but there are {audio.tracks}")
    hints = recogniser.check(request)
    pieces = [list(_pieces(spans, audio.samples)) for spans in windows_per_track]
    progress = _Progress(report, total=sum(stop - start for track in pieces for start, stop in track) / SAMPLE_RATE)
    channels = tuple(_channel(audio, track, spans, recogniser, request, progress) for track, spans in enumerate(pieces))
    return Transcript(
        media=audio.info,
        channels=channels,
        punctuated=recogniser.punctuates,
        model=recogniser.model.info(),
        warnings=(*audio.warnings, *hints),
    )


class _Progress:
    """What has been done so far, over all tracks."""

    def __init__(self, report: Report, total: float) -> None:
        self._report = report
        self._total = total
        self._done = 0.0
        self._tail = ""

    def add(self, seconds: float, words: Sequence[Word]) -> None:
        self._done = min(self._total, self._done + seconds)
        self._tail = " ".join([self._tail, *(word.text for word in words)]).strip()[-PARTIAL_CHARACTERS:]
        self._report(self._done, self._total, self._tail)


def _channel(
    audio: Audio,
    track: int,
    pieces: Sequence[tuple[int, int]],
    recogniser: Recogniser,
    request: Request,
    progress: _Progress,
) -> ChannelTranscript:
    words: list[Word] = []
    language: str | None = None
    confidence: float | None = None
    windows = (Window(start / SAMPLE_RATE, audio.read(track, start, stop)) for start, stop in pieces)
    for batch in recogniser.transcribe(windows, request):
        words += batch.words
        language, confidence = batch.language, batch.language_confidence
        progress.add(batch.seconds, batch.words)
    return ChannelTranscript(words=tuple(words), language=language, language_confidence=confidence)


def _pieces(spans: Sequence[Span], samples: int) -> Iterator[tuple[int, int]]:
    """The windows as (start, stop) samples inside the track, none longer than a recogniser takes."""
    for span in spans:
        start, stop = round(span.start * SAMPLE_RATE), min(round(span.end * SAMPLE_RATE), samples)
        for first in range(start, stop, LONGEST_WINDOW):
            yield first, min(first + LONGEST_WINDOW, stop)
