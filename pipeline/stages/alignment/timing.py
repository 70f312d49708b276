"""From tokens' frames to words' times: what one word's tokens span, no longer than a word can be said.

Takes frames and seconds, gives seconds from the window's start. Knows nothing of emissions or texts but how many
letters a word has.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from pipeline.stages.alignment.spelling import Spelt
from pipeline.stages.alignment.sweep import Tokens
from pipeline.types import Word

# The longest that a word is believed to last: drawn out, but said. A figure is a word or two of its own.
LONGEST, PER_LETTER, PER_FIGURE = 2.0, 0.25, 0.6  # seconds


def longest(words: Sequence[Spelt]) -> float:
    """Seconds that these words can last in all."""
    letters, figures = sum(word.letters for word in words), sum(word.figures for word in words)
    return LONGEST * len(words) + PER_LETTER * letters + PER_FIGURE * figures


def extent(spans: Tokens, allowed: int) -> tuple[int, int]:
    """The frames [start, stop) of a word whose tokens have ``spans``, shape (n, 2), of no more than ``allowed``.

    A word that lasts too long has strayed: a letter or two were heard in noise far from the rest. It is cut at its
    widest blank, and the side with more letters stays (the first, of two that have equally many). Whatever is still too
    long ends early.
    """
    while len(spans) > 1 and spans[-1, 1] - spans[0, 0] > allowed:
        gaps = spans[1:, 0] - spans[:-1, 1]
        widest = int(np.argmax(gaps)) + 1
        if not gaps[widest - 1]:
            break
        spans = spans[:widest] if 2 * widest >= len(spans) else spans[widest:]
    return int(spans[0, 0]), min(int(spans[-1, 1]), int(spans[0, 0]) + allowed)


def shared(words: Sequence[Word], offset: float, start: float, end: float) -> list[tuple[float, float]]:
    """The stretch [start, end) among words whose sound nobody knows: where one ends the next begins.

    Their old times (less ``offset``) say where, if that leaves each a tenth of an even share; else the lengths of their
    texts do.
    """
    middles = [(one.end + other.start) / 2 - offset for one, other in pairwise(words)]
    edges = np.clip([start, *middles, end], start, end)
    if np.diff(edges).min() < 0.1 * (end - start) / len(words):
        lengths = np.cumsum([0, *(max(1, len(word.text)) for word in words)])
        edges = start + (end - start) * lengths / lengths[-1]
    return [(float(one), float(other)) for one, other in pairwise(edges)]
