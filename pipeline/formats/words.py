"""The words of one channel as a result shows them: bare and punctuated text, float32 times, speakers from 0.

Takes `pipeline.types.Word`s in order, gives `ResultWord`s. Utterances, paragraphs and the JSON are made from these
alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.formats.numbers import float32
from pipeline.formats.text import bare
from pipeline.types import Word


class ResultWord(NamedTuple):
    """Times (seconds) and confidences hold float32 values; ``punctuated`` is None in unformatted mode."""

    word: str
    punctuated: str | None
    start: float
    end: float
    confidence: float
    speaker: int | None = None
    speaker_confidence: float | None = None
    language: str | None = None

    @property
    def text(self) -> str:
        """The word as it stands in a transcript."""
        return self.word if self.punctuated is None else self.punctuated


def result_words(words: Iterable[Word], formatted: bool, with_speakers: bool = False) -> list[ResultWord]:
    """``formatted``: keep case and punctuation, beside the bare word. Words without any text are left out.

    Speakers become integers by first appearance. If any word has one, every word gets one, because consumers index
    it: a word without one gets its neighbour's. ``with_speakers``: every word gets one in any case, because those of
    another channel have some, and consumers go by the first that they see.
    """
    kept = [(word, text) for word in words if (text := word.text.strip())]
    speakers = _speakers([word for word, _ in kept], with_speakers)
    return [
        ResultWord(
            word=bare(text),
            punctuated=text if formatted else None,
            start=float32(word.start),
            end=float32(max(word.start, word.end)),
            confidence=float32(word.confidence),
            speaker=speaker,
            speaker_confidence=None if word.speaker_confidence is None else float32(word.speaker_confidence),
            language=word.language,
        )
        for (word, text), speaker in zip(kept, speakers, strict=True)
    ]


def _speakers(words: Sequence[Word], all_of_them: bool) -> list[int | None]:
    renumbered: dict[int, int] = {}
    found: list[int | None] = []
    last = None
    for word in words:
        if word.speaker is not None:
            last = renumbered.setdefault(word.speaker, len(renumbered))
        found.append(last)
    if renumbered or all_of_them:  # words before the first one with a speaker: that first speaker is 0
        found = [0 if speaker is None else speaker for speaker in found]
    return found


def median_confidence(words: Sequence[ResultWord]) -> float:
    """An alternative's confidence: that of the word of median rank (observed, to within one rank); 0 for no words."""
    ranked = sorted(word.confidence for word in words)
    return ranked[len(ranked) // 2] if ranked else 0.0
