"""Where a transcript's punctuation is missing, and how what a model restores is put in.

Takes words, gives stretches of them, so that a model is asked only there; takes the model's marks, gives words. Knows
nothing of models. Whisper writes punctuation itself, but sometimes stops for minutes; a recogniser that never does has
none anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from pipeline.types import Word

LONGEST_SENTENCE = 60  # words; more without a full stop are no sentence
LONGEST_CLAUSE = 30  # words; more without any mark are no clause

_SENTENCE_ENDS = frozenset(".?!…。？！؟।")
_MARKS = _SENTENCE_ENDS | frozenset(",;:、，；：—–-")
_CLOSING = "\"'”’»)]』」"


def missing(words: Sequence[Word], *, punctuated: bool = True) -> tuple[tuple[int, int], ...]:
    """The stretches [first, stop) whose punctuation should be restored: in order, apart, each from a sentence's start
    to a sentence's end or the transcript's. ``punctuated``: the recogniser writes it; else all is one stretch.
    """
    if not punctuated:
        return ((0, len(words)),) if words else ()
    marks = [_mark(word) for word in words]
    ends = [0, *(nth + 1 for nth, mark in enumerate(marks) if mark in _SENTENCE_ENDS), len(words)]
    found: list[tuple[int, int]] = []
    for first, stop in pairwise(ends):
        if stop - first > LONGEST_SENTENCE or any(length > LONGEST_CLAUSE for length in _clauses(marks[first:stop])):
            # Two such sentences in a row are one stretch: the full stop between them is as doubtful as the rest.
            adjoins = bool(found) and found[-1][1] == first
            found.append((found.pop()[0] if adjoins else first, stop))
    return tuple(found)


def restored(words: Sequence[Word], first: int, marks: Sequence[str]) -> tuple[Word, ...]:
    """The words, with ``marks[n]`` (``""``, ``","``, ``"?"``) behind word ``first + n`` unless a mark is there, and a
    capital after each new sentence end, where the script has capitals. Nothing else of a word changes.

    A stretch begins a sentence, so its first word gets a capital, too. ValueError if there are more marks than words.
    """
    if first < 0 or first + len(marks) > len(words):
        raise ValueError(f"{len(marks)} marks from word {first} on, but there are {len(words)} words")
    found = list(words)
    begins = True
    for nth, mark in enumerate(marks, start=first):
        text = found[nth].text
        if begins and text.islower():  # iPhone stays
            text = text[0].upper() + text[1:]
        if mark and _mark(found[nth]) not in _MARKS:
            text += mark
        begins = _last(text) in _SENTENCE_ENDS
        if text != found[nth].text:
            found[nth] = found[nth].model_copy(update={"text": text})
    return tuple(found)


def _clauses(marks: Sequence[str]) -> Iterator[int]:
    """How many words there are up to each mark, and behind the last one."""
    length = 0
    for mark in marks:
        length += 1
        if mark in _MARKS:
            yield length
            length = 0
    yield length


def _mark(word: Word) -> str:
    return _last(word.text)


def _last(text: str) -> str:
    """The last character, closing quotes and brackets aside."""
    return text.rstrip(_CLOSING)[-1:]
