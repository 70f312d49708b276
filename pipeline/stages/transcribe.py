"""Sound and windows of speech in, a `Transcript` out: track after track, window after window, in order.

Knows the recogniser only as a protocol and the sound only as samples; nothing of decoding, speech detection, formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, overload

from pipeline.models.base import LONGEST_WINDOW, Recogniser, Request, Samples, Window
from pipeline.types import SAMPLE_RATE, ChannelTranscript, MediaInfo, Span, SpeechWindow, Transcript, Warning, Word

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
    pieces = [_Windows(audio, track, spans) for track, spans in enumerate(windows_per_track)]
    progress = _Progress(report, total=sum(track.seconds for track in pieces))
    channels = tuple(_channel(track, recogniser, request, progress) for track in pieces)
    return Transcript(
        media=audio.info,
        channels=channels,
        punctuated=recogniser.punctuates,
        model=recogniser.model.info(),
        warnings=(*audio.warnings, *hints, *recogniser.warnings()),
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


class _Windows(Sequence[Window]):
    """One track's windows; the sound of each is read when it is asked for. None is longer than a recogniser takes."""

    def __init__(self, audio: Audio, track: int, spans: Sequence[Span]) -> None:
        self._audio = audio
        self._track = track
        self._pieces = list(_pieces(spans, audio.samples))

    @property
    def seconds(self) -> float:
        return sum(stop - start for start, stop, _ in self._pieces) / SAMPLE_RATE

    def __len__(self) -> int:
        return len(self._pieces)

    @overload
    def __getitem__(self, index: int) -> Window: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Window]: ...
    def __getitem__(self, index: int | slice) -> Window | Sequence[Window]:
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        start, stop, speech = self._pieces[index]
        return Window(start / SAMPLE_RATE, self._audio.read(self._track, start, stop), speech)


def _channel(windows: _Windows, recogniser: Recogniser, request: Request, progress: _Progress) -> ChannelTranscript:
    words: list[Word] = []
    language: str | None = None
    confidence: float | None = None
    for batch in recogniser.transcribe(windows, request):
        words += batch.words
        language, confidence = batch.language, batch.language_confidence
        progress.add(batch.seconds, batch.words)
    return ChannelTranscript(words=tuple(words), language=language, language_confidence=confidence)


def _pieces(spans: Sequence[Span], samples: int) -> Iterator[tuple[int, int, tuple[tuple[float, float], ...]]]:
    """The windows as (start, stop) samples inside the track, and the stretches of speech in each, in seconds."""
    for span in spans:
        start, stop = round(span.start * SAMPLE_RATE), min(round(span.end * SAMPLE_RATE), samples)
        speech = span.speech if isinstance(span, SpeechWindow) else (span,)
        for first in range(start, stop, LONGEST_WINDOW):
            last = min(first + LONGEST_WINDOW, stop)
            low, high = first / SAMPLE_RATE, last / SAMPLE_RATE
            clipped = ((max(low, one.start), min(high, one.end)) for one in speech)
            yield first, last, tuple((begin, end) for begin, end in clipped if end > begin)
