"""Forced alignment: words of a window and what a CTC model heard in it, to the same words with better times.

Takes words and log-probabilities; `viterbi` finds the frames. Knows nothing of models, sound or where windows come
from. Where a text cannot be aligned the reason comes back, and the words' old times stay what they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

import numpy as np

from pipeline.stages.alignment.spelling import WILDCARD, Alphabet, Spelt
from pipeline.stages.alignment.sweep import Scores, Tokens
from pipeline.stages.alignment.timing import extent, longest, shared
from pipeline.stages.alignment.viterbi import needed, viterbi
from pipeline.types import Word

__all__ = ["Alphabet", "Unaligned", "align", "viterbi"]

# What a second inside a wildcard costs (nats). A letter that nothing in the text explains costs a blank about 3 to 10,
# so a wildcard reaches over all of "nineteen eighty-four", and not into the silence around it.
WILDCARD_COST = 5.0

FOREIGN_SHARE = 0.5  # of a window's letters; with more of them unknown the times would be made up


class Unaligned(StrEnum):
    """Why a window's words keep the times they had."""

    FOREIGN = "the aligner's alphabet lacks most of the text's letters"
    CROWDED = "there is more text than the sound has room for"
    UNHEARD = "the aligner heard nothing that could be this text"


def align(
    words: Sequence[Word], start: float, seconds: float, emissions: Scores, alphabet: Alphabet, step: float
) -> tuple[Word, ...] | Unaligned:
    """The words with the times at which they were heard, in the same order, apart, each inside the window.

    The window begins at ``start`` (seconds into the recording) and lasts ``seconds``; ``emissions``: log-probabilities,
    shape (T, V), a frame every ``step`` seconds, the first at ``start``. Frames past the window's end are not used.
    The words' old times matter only among neighbours none of which the alphabet can spell.
    """
    if not words:
        return ()
    spelt = [alphabet.spell(word.text) for word in words]
    if sum(word.unknown for word in spelt) > FOREIGN_SHARE * sum(word.letters for word in spelt):
        return Unaligned.FOREIGN
    heard = emissions[: max(0, min(len(emissions), round(seconds / step)))]
    text = _Text.of(spelt, alphabet.separator)
    tokens = np.array(text.tokens, dtype=np.int32)
    if len(heard) < needed(tokens):
        return Unaligned.CROWDED
    if WILDCARD in text.tokens:
        tokens[tokens == WILDCARD] = heard.shape[1]
        heard = _with_wildcard(heard, WILDCARD_COST * step)
    frames = viterbi(heard, tokens, alphabet.blank)
    if frames is None:
        return Unaligned.UNHEARD
    times = _times(words, spelt, text, frames, start, seconds, step)
    return tuple(
        word.model_copy(update={"start": round(start + begin, 7), "end": round(start + end, 7)})
        for word, (begin, end) in zip(words, times, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Text:
    """Tokens of a window's words, and for each group of words, [first, stop) of the words and of their tokens."""

    tokens: list[int]
    groups: list[tuple[int, int, int, int]]

    @classmethod
    def of(cls, spelt: Sequence[Spelt], separator: int | None) -> _Text:
        """A word is a group of its own, but words in a row that have no letters are one: nothing parts them."""
        tokens: list[int] = []
        groups: list[tuple[int, int, int, int]] = []
        reached = 0
        for wild, run in groupby(spelt, key=lambda word: word.wild):
            members = list(run)
            for group in [members] if wild else [[word] for word in members]:
                if tokens and separator is not None:
                    tokens.append(separator)
                groups.append((reached, reached + len(group), len(tokens), len(tokens) + len(group[0].tokens)))
                tokens += group[0].tokens
                reached += len(group)
        return cls(tokens, groups)


def _with_wildcard(emissions: Scores, cost: float) -> Scores:
    """A last column for sounds that have no letter: as likely as whatever is likeliest, less ``cost`` for every frame.

    The blank counts among the likeliest, so that a wildcard can reach across the blanks between letters.
    torchaudio's column is 0 and costs nothing, so it takes the silence too; the likeliest letter without the blank,
    whisperX's, ends a wildcard after the first letter.
    """
    return np.concatenate([emissions, emissions.max(axis=1, keepdims=True) - np.float32(cost)], axis=1)


def _times(
    words: Sequence[Word],
    spelt: Sequence[Spelt],
    text: _Text,
    frames: Tokens,
    start: float,
    seconds: float,
    step: float,
) -> list[tuple[float, float]]:
    """Seconds from the window's start for each word."""
    times: list[tuple[float, float]] = []
    for first, stop, begin, end in text.groups:
        allowed = int(longest(spelt[first:stop]) / step)
        early, late = extent(frames[begin:end], max(1, allowed))
        times += shared(words[first:stop], start, early * step, min(late * step, seconds))
    return times
