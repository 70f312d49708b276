"""The likeliest row of speakers for a row of words: Viterbi, where a change of speaker has a price.

Takes how much of each speaker is in each word, and what a change would cost before it; gives a speaker for each word.
Knows nothing of frames or turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.stages.assignment.presence import Floats
from pipeline.types import Word

Row: TypeAlias = NDArray[np.intp]  # a speaker for each word

FLOOR = 0.02  # added to a mean posterior before its logarithm: certainty is worth log(1.02 / 0.02) = 3.9 nats
CHANGE = 1.2  # nats; a change in the middle of a sentence. One certain word is worth the two changes around it
PAUSE = 0.3  # s; after as long a pause a change costs half
AFTER_SENTENCE, AFTER_CLAUSE = 0.25, 0.6  # what is left of the cost after these

_ROUNDING = 1e-9  # nats; sums that differ by less are equal

_SENTENCE_ENDS, _CLAUSE_ENDS = frozenset(".?!…。？！؟।"), frozenset(",;:、，；—–")
_CLOSING = "\"'”’»)]"


def costs(words: Sequence[Word], starts: Floats, ends: Floats) -> Floats:
    """What a change of speaker before each word costs, in nats, shape (n,): less after pauses and clauses."""
    pauses = np.maximum(0.0, starts[1:] - ends[:-1])
    left = [_left_after(word.text.rstrip(_CLOSING)[-1:]) for word in words[:-1]]
    return np.concatenate([[0.0], CHANGE * np.array(left) / (1.0 + pauses / PAUSE)])


def _left_after(mark: str) -> float:
    return AFTER_SENTENCE if mark in _SENTENCE_ENDS else AFTER_CLAUSE if mark in _CLAUSE_ENDS else 1.0


def likeliest(evidence: Floats, prices: Floats) -> Row:
    """``evidence``: shape (n, speakers), n > 0, in [0, 1], not normalised: two who speak at once may both be high.
    ``prices``: shape (n,). Of equally likely rows the one that changes late.
    """
    gains = np.log(evidence + FLOOR)
    reached = np.empty_like(gains)
    reached[0] = gains[0]
    for nth in range(1, len(gains)):
        before = reached[nth - 1]
        np.maximum(before, before.max() - prices[nth], out=reached[nth])
        reached[nth] += gains[nth]
    row = np.empty(len(gains), dtype=np.intp)
    row[-1] = reached[-1].argmax()
    for nth in range(len(gains) - 1, 0, -1):
        before = reached[nth - 1]
        top = before.argmax()
        row[nth - 1] = row[nth] if before[row[nth]] > before[top] - prices[nth] + _ROUNDING else top
    return row
