"""A transcript and its sound in, the same transcript with better times out: the stage ``aligning``.

Cuts each channel's words into stretches at the widest pauses, hears each stretch with an aligner, and has
`pipeline.stages.alignment` find the words in what was heard. The recogniser's own times choose the stretches, and stay
where there is nothing better. Knows aligners only as a protocol: nothing of models, folders or devices.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from pipeline.errors import ModelUnavailable, OutOfMemory
from pipeline.models.aligner import Columns
from pipeline.stages.alignment import Alphabet, Unaligned, align
from pipeline.stages.alignment.sweep import Scores
from pipeline.types import SAMPLE_RATE, Transcript, Warning, Word

# Seconds.
LONGEST = 30.0  # that an aligner hears at once
CONTEXT = 1.0  # heard to either side of a stretch, and not used: a model is unsure where its sound begins and ends
REACH = 1.0  # how far outside the recogniser's times the first and the last word of a stretch are looked for
APART = 5.0  # a pause that no stretch reaches over: nobody has to hear it

Report = Callable[[float, float], None]
"""Seconds of sound aligned, and seconds of all there is to align."""


class Sound(Protocol):
    """Decoded sound. ``samples``: the length of each track at 16 kHz."""

    @property
    def tracks(self) -> int: ...
    @property
    def samples(self) -> int: ...
    def read(self, track: int, start: int, stop: int, /) -> Scores:
        """Samples [start, stop) of one track, shape (stop - start,), in [-1, 1]."""


class Aligner(Protocol):
    """A CTC model. ``batch``: pieces heard at once; ``step``: seconds a frame; ``delay``: seconds by which it hears
    words later than they are said.
    """

    @property
    def batch(self) -> int: ...
    @property
    def columns(self) -> Columns: ...
    @property
    def step(self) -> float: ...
    @property
    def delay(self) -> float: ...
    def emissions(self, pieces: Sequence[Scores], /) -> Sequence[Scores]:
        """Log-probabilities of each piece of up to `LONGEST` seconds, shape (frames, columns). `OutOfMemory`."""


Find = Callable[[str | None], Aligner]
"""The aligner for a language, loaded. `ModelUnavailable`, `OutOfMemory`."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """``lacking``: why some or all words were not aligned although they could be, with a model or memory that is not
    here now; None if nothing is. What no other run would do better is a warning in the transcript instead.
    """

    transcript: Transcript
    lacking: str | None = None


def aligned(transcript: Transcript, sound: Sound, find: Find, report: Report) -> Aligned:
    """The transcript with the times at which its words were heard. Texts, their order and the rest stay.

    A channel's words are in order; they come out in order and apart wherever they came so. One channel's sound is one
    track's; ValueError if their numbers differ. `DeviceLost` ends it; a missing aligner or too little memory does not.
    """
    if len(transcript.channels) != sound.tracks:
        raise ValueError(f"a transcript of {len(transcript.channels)} channels, but there are {sound.tracks} tracks")
    run = _Run([list(channel.words) for channel in transcript.channels], sound, report)
    stretches = [
        stretch
        for track, channel in enumerate(transcript.channels)
        for stretch in _stretches(channel.words, channel.language, track, sound.samples / SAMPLE_RATE)
    ]
    run.total = sum(stretch.seconds for stretch in stretches)
    reasons: dict[str, None] = {}  # in order, each once
    # Language by language: where they take turns, the aligners would be loaded over and over.
    for language in dict.fromkeys(stretch.language for stretch in stretches):
        mine = [stretch for stretch in stretches if stretch.language == language]
        try:
            run.hear(mine, find(language))
        except (ModelUnavailable, OutOfMemory) as error:
            reasons[_explained(error)] = None
    channels = tuple(
        channel.model_copy(update={"words": tuple(words)})
        for channel, words in zip(transcript.channels, run.words, strict=True)
    )
    update = {"channels": channels, "warnings": (*transcript.warnings, *run.warnings())}
    lacking = f"Words keep the recogniser's own times: {'; '.join(reasons)}" if reasons else None
    return Aligned(transcript.model_copy(update=update), lacking)


def _explained(error: ModelUnavailable | OutOfMemory) -> str:
    return f"{error.message}. {error.hint}".removesuffix(".").strip()


# ── where to look ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The words [first, stop) of a track, which are looked for in [begin, end), seconds into the recording."""

    track: int
    language: str | None
    first: int
    stop: int
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return max(0.0, self.end - self.begin)


def _stretches(words: Sequence[Word], language: str | None, track: int, duration: float) -> Iterator[_Stretch]:
    """All words of a track, each in one stretch, whose sound no two stretches share."""
    for spoken, run in groupby(range(len(words)), key=lambda nth: words[nth].language or language):
        members = list(run)
        first, stop = members[0], members[-1] + 1
        while first < stop:
            upto = _cut(words, first, stop)
            begin = max(words[first].start - REACH, _border(words, first, duration))
            end = min(words[upto - 1].end + REACH, _border(words, upto, duration))
            yield _Stretch(track, spoken, first, upto, begin, min(end, begin + LONGEST - 2 * CONTEXT))
            first = upto


def _cut(words: Sequence[Word], first: int, stop: int) -> int:
    """Where the stretch that begins with the word ``first`` ends: as many words as fit, cut at the widest pause of its
    second half.
    """
    room = words[first].start + LONGEST - 2 * (CONTEXT + REACH)
    upto = first + 1
    while upto < stop and words[upto].end <= room:
        if words[upto].start - words[upto - 1].end >= APART:
            return upto
        upto += 1
    if upto == stop:
        return stop
    half = (words[first].start + room) / 2
    places = [nth for nth in range(first + 1, upto + 1) if words[nth].start >= half]
    return max(places, key=lambda nth: (words[nth].start - words[nth - 1].end, nth), default=upto)


def _border(words: Sequence[Word], nth: int, duration: float) -> float:
    """Between the word ``nth`` and the one before it."""
    if nth == 0:
        return 0.0
    return duration if nth == len(words) else (words[nth - 1].end + words[nth].start) / 2


# ── what is heard there ─────────────────────────────────────────────────────────────────────────────────────────────


class _Run:
    """The words as far as they are aligned, by track, and why some are not."""

    def __init__(self, words: list[list[Word]], sound: Sound, report: Report) -> None:
        self.words = words
        self.total = 0.0
        self._sound = sound
        self._report = report
        self._done = 0.0
        self._left: Counter[Unaligned] = Counter()

    def hear(self, stretches: Sequence[_Stretch], aligner: Aligner) -> None:
        """A batch at a time, so that memory does not grow with the recording."""
        columns = aligner.columns
        alphabet = Alphabet(columns.labels, columns.blank, columns.separator, columns.pieces)
        reached = 0
        while reached < len(stretches):
            batch = stretches[reached : reached + max(1, aligner.batch)]
            pieces = [self._piece(stretch) for stretch in batch]
            # In digital silence nothing can be heard, whatever a model makes of it.
            audible = [nth for nth, piece in enumerate(pieces) if piece.any()]
            heard = aligner.emissions([pieces[nth] for nth in audible])
            for nth, emissions in zip(audible, heard, strict=True):
                self._place(batch[nth], emissions, aligner, alphabet)
            for nth in set(range(len(batch))).difference(audible):
                self._left[Unaligned.UNHEARD] += batch[nth].stop - batch[nth].first
            reached += len(batch)
            self._done += sum(stretch.seconds for stretch in batch)
            self._report(min(self._done, self.total), self.total)

    def warnings(self) -> tuple[Warning, ...]:
        """One for all that no aligner could have done."""
        if not self._left:
            return ()
        why = "; ".join(f"{reason.value} ({count:,})" for reason, count in self._left.most_common())
        count, all_words = sum(self._left.values()), sum(map(len, self.words))
        message = f"{count:,} of {all_words:,} words keep the recogniser's own times: {why}."
        return (Warning(parameter="alignment", type="degraded", message=message),)

    def _piece(self, stretch: _Stretch) -> Scores:
        start, stop = _heard_span(stretch)
        return self._sound.read(stretch.track, start, stop)

    def _place(self, stretch: _Stretch, heard: Scores, aligner: Aligner, alphabet: Alphabet) -> None:
        """Write down where the stretch's words were heard. The frames of the context are cut off, and the first one
        that is left tells its own time: it begins a little after the stretch.
        """
        heard_from = _heard_span(stretch)[0] / SAMPLE_RATE - aligner.delay
        skipped = max(0, math.ceil((stretch.begin - heard_from) / aligner.step - 1e-6))
        start = heard_from + skipped * aligner.step
        old = self.words[stretch.track][stretch.first : stretch.stop]
        new = align(old, start, stretch.end - start, heard[skipped:], alphabet, aligner.step)
        if isinstance(new, Unaligned):
            self._left[new] += len(old)
        else:
            self.words[stretch.track][stretch.first : stretch.stop] = new


def _heard_span(stretch: _Stretch) -> tuple[int, int]:
    """The samples that the aligner hears for a stretch."""
    start = max(0, math.floor((stretch.begin - CONTEXT) * SAMPLE_RATE))
    return start, max(start, math.ceil((stretch.end + CONTEXT) * SAMPLE_RATE))
