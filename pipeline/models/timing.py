"""Word times out of Whisper's cross-attention, mended where the method is known to be wrong.

Takes the alignment that faster-whisper reads out of the decoder, gives words. The two rules are those of OpenAI's
whisper (``timing.py``, add_word_timestamps), for a window by itself: what was before it is a pause.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from faster_whisper.transcribe import merge_punctuations

from pipeline.models.base import Rough

PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"
SENTENCE_ENDS = ".。!！?？"
LONGEST_MEDIAN = 0.7  # seconds


def timed(alignment: Sequence[dict[str, Any]]) -> tuple[Rough, ...]:
    """The words of a window. ``alignment``: for each word ``word``, ``tokens``, ``start``, ``end``, ``probability``; it
    is written to.
    """
    median = _median(alignment)
    longest = 2 * median
    _shorten_at_sentence_ends(alignment, longest)
    merge_punctuations(alignment, PREPENDED, APPENDED)
    words = [
        Rough(one["word"], round(float(one["start"]), 2), round(float(one["end"]), 2), float(one["probability"]))
        for one in alignment
        if one["word"]
    ]
    return tuple(_shorten_the_first(words, longest))


def _median(alignment: Sequence[dict[str, Any]]) -> float:
    """The median of the words' lengths in seconds, of those that have one."""
    lengths = [length for one in alignment if (length := one["end"] - one["start"]) != 0]
    return min(LONGEST_MEDIAN, float(np.median(lengths))) if lengths else 0.0


def _shorten_at_sentence_ends(alignment: Sequence[dict[str, Any]], longest: float) -> None:
    """A full stop takes the pause behind it, or the first word of a sentence the pause before it."""
    for before, one in pairwise(alignment):
        if one["end"] - one["start"] > longest:
            if one["word"] in SENTENCE_ENDS:
                one["end"] = one["start"] + longest
            elif before["word"] in SENTENCE_ENDS:
                one["start"] = one["end"] - longest


def _shorten_the_first(words: list[Rough], longest: float) -> list[Rough]:
    """The first word takes the silence before it: it, or it and the second, last too long."""
    if not words:
        return words
    first, *others = words
    second = others[0] if others else None
    if first.end - first.start > longest or (second is not None and second.end - first.start > 2 * longest):
        if second is not None and second.end - second.start > longest:
            edge = max(second.end / 2, second.end - longest)
            first, others[0] = first._replace(end=edge), second._replace(start=edge)
        first = first._replace(start=max(0.0, first.end - longest))
    return [first, *others]
