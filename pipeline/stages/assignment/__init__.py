"""Words and who speaks when, to words with speakers.

Takes words and a diarizer's answer, posteriors or turns; gives every word a speaker and a confidence. The diarizer's
posteriors are averaged over each word (`presence`); Viterbi over the words finds the likeliest row of speakers, where
a change costs least at pauses and after sentences (`path`); speakers above the number that a person gave are merged
(`ghosts`). Work is linear in words, frames and turns. Knows nothing of models, sound or files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.hints import Hints
from pipeline.stages.assignment.ghosts import merged, rowed
from pipeline.stages.assignment.path import Row, costs
from pipeline.stages.assignment.presence import (
    RASTER,
    UNHEARD,
    Floats,
    Frames,
    Turn,
    presence,
    rasterised,
    with_nearest,
)
from pipeline.types import Word

__all__ = ["Turn", "from_posteriors", "from_turns"]

_SHORTEST = 1e-3  # s; a word without length is looked at for as long


def from_posteriors(
    words: Sequence[Word], posteriors: Frames, step: float, hints: Hints | None = None
) -> tuple[Word, ...]:
    """The words, each with a speaker and a ``speaker_confidence``; speakers are numbered from 0 in the order of their
    first words. ``words`` are in order of their start.

    ``posteriors``: shape (frames, speakers), in [0, 1], a frame every ``step`` seconds from the recording's start. Two
    who speak at once are both high in a frame. The confidence is the mean posterior of the word's speaker over the
    word, shared with whoever else is heard in it: two who are both certain have 0.5 each. A word in which nobody is
    heard is the nearest speaker's, with a confidence near 0; if nobody is ever heard, all are speaker 0's, with 0.
    """
    return _assigned(words, (posteriors[:, speaker] for speaker in range(posteriors.shape[1])), step, hints or Hints())


def from_turns(words: Sequence[Word], turns: Iterable[Turn], hints: Hints | None = None) -> tuple[Word, ...]:
    """As `from_posteriors`, from a diarizer that only says who speaks from when to when: turns in any order, which may
    overlap. Their edges are taken to be soft.
    """
    until = max((word.end for word in words), default=0.0)
    return _assigned(words, rasterised(turns, until), RASTER, hints or Hints())


def _assigned(words: Sequence[Word], columns: Iterable[Frames], step: float, hints: Hints) -> tuple[Word, ...]:
    if not words:
        return ()
    starts = np.array([word.start for word in words])
    ends = np.maximum([word.end for word in words], starts + _SHORTEST)
    heard = [presence(column, step, starts, ends) for column in columns]
    if not heard:
        return _marked(words, [0] * len(words), [0.0] * len(words))
    # Into an order that has nothing to do with the diarizer's numbers, so that ties do not depend on them.
    heard.sort(key=lambda one: (one.mean.tolist(), one.distance.tolist()), reverse=True)
    mean = np.stack([one.mean for one in heard], axis=1)
    evidence = with_nearest(mean, np.stack([one.distance for one in heard], axis=1))
    least, most = hints.bounds
    prices = costs(words, starts, ends)
    row = rowed(evidence, prices, least)
    if most:
        evidence, row = merged(evidence, prices, ends - starts, row, most)
    return _marked(words, row.tolist(), _confidence(evidence, mean, row).tolist())


def _confidence(evidence: Floats, mean: Floats, row: Row) -> Floats:
    """Of each word's speaker, shape (n,)."""
    own = evidence[np.arange(len(row)), row]
    # What the nearest turn counts as is no sign that the word was heard in it.
    sure = np.where(mean.max(axis=1) < UNHEARD, mean.max(axis=1), own)
    return np.asarray(sure / np.maximum(1.0, evidence.sum(axis=1)))


def _marked(words: Sequence[Word], row: Sequence[int], confidence: Sequence[float]) -> tuple[Word, ...]:
    """Speakers numbered anew, in the order of their first words."""
    numbers: dict[int, int] = {}
    return tuple(
        word.model_copy(update={"speaker": numbers.setdefault(speaker, len(numbers)), "speaker_confidence": sure})
        for word, speaker, sure in zip(words, row, confidence, strict=True)
    )
