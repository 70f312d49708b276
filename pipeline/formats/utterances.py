"""Utterances: a channel's words in groups between pauses, by the rule observed in Deepgram's responses.

Takes `ResultWord`s in order of their start. Knows nothing of channels, ids or JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipeline.formats.numbers import float32
from pipeline.formats.text import join
from pipeline.formats.words import ResultWord


class Utterance(NamedTuple):
    """Words ``first`` up to, not including, ``stop`` of the channel. Times in seconds."""

    first: int
    stop: int
    start: float
    end: float
    confidence: float
    transcript: str
    speaker: int | None


def utterances(words: Sequence[ResultWord], utt_split: float) -> Iterator[Utterance]:
    """Every word is in exactly one utterance. ``utt_split`` in seconds."""
    first = 0
    for stop in range(1, len(words) + 1):
        if stop == len(words) or splits(words[stop - 1], words[stop], utt_split):
            yield _utterance(words, first, stop)
            first = stop


def splits(before: ResultWord, after: ResultWord, utt_split: float) -> bool:
    """Whether a pause lies between two neighbours. Observed: from start to start, in float32; speakers play no part."""
    return float32(after.start - before.start) > float32(utt_split)


def _utterance(words: Sequence[ResultWord], first: int, stop: int) -> Utterance:
    own = words[first:stop]
    return Utterance(
        first=first,
        stop=stop,
        start=own[0].start,
        end=max(word.end for word in own),
        confidence=_mean([word.confidence for word in own]),
        transcript=join(word.text for word in own),
        speaker=Counter(word.speaker for word in own).most_common(1)[0][0],
    )


def _mean(values: Sequence[float]) -> float:
    """Summed up one by one in float32, which is what reproduces the observed digits."""
    total = 0.0
    for value in values:
        total = float32(total + value)
    return float32(total / len(values))
