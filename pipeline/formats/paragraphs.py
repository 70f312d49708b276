"""Sentences and paragraphs, by the rules observed in Deepgram's responses.

A sentence ends at ``.``, ``?``, ``!`` or where the speaker changes; a paragraph ends where the speaker changes or
after five sentences. Takes `ResultWord`s in order of their start. Knows nothing of channels or JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipeline.formats.text import join
from pipeline.formats.utterances import splits
from pipeline.formats.words import ResultWord

SENTENCES = 5  # in a paragraph

_STOPS = (".", "?", "!", "…", "。", "？", "！", "؟", "।")
_CLOSERS = "\"'”’»)]}」』）"


class Sentence(NamedTuple):
    """Times in seconds."""

    text: str
    start: float
    end: float


class Paragraph(NamedTuple):
    """One speaker's sentences, one to five. Times in seconds."""

    sentences: tuple[Sentence, ...]
    speaker: int | None
    num_words: int
    start: float
    end: float


def paragraphs(words: Sequence[ResultWord], pause: float | None = None) -> Iterator[Paragraph]:
    """Every word is in exactly one sentence.

    ``pause`` (seconds) is for words without punctuation, where no full stop ends a sentence: a gap of an utterance
    does then.
    """
    own: list[Sentence] = []
    num_words = first = 0
    for stop in range(1, len(words) + 1):
        last, following = words[stop - 1], words[stop] if stop < len(words) else None
        turn = following is None or following.speaker != last.speaker
        if not turn and not _ends_sentence(last, following, pause):
            continue
        own.append(_sentence(words[first:stop]))
        num_words += stop - first
        first = stop
        if turn or len(own) == SENTENCES:
            end = max(sentence.end for sentence in own)
            yield Paragraph(tuple(own), last.speaker, num_words, own[0].start, end)
            own, num_words = [], 0


def transcript(found: Sequence[Paragraph]) -> str:
    """The paragraphs as one text, ``Speaker N:`` where the speaker changes. Begins with a newline, as Deepgram's."""
    parts, speaker = [], None
    for paragraph in found:
        label = f"Speaker {paragraph.speaker}: " if paragraph.speaker != speaker else ""
        parts.append(label + join(sentence.text for sentence in paragraph.sentences))
        speaker = paragraph.speaker
    return "\n" + "\n\n".join(parts)


def _ends_sentence(word: ResultWord, following: ResultWord | None, pause: float | None) -> bool:
    if pause is not None:
        return following is None or splits(word, following, pause)
    return word.text.rstrip(_CLOSERS).endswith(_STOPS)


def _sentence(words: Sequence[ResultWord]) -> Sentence:
    return Sentence(join(word.text for word in words), words[0].start, max(word.end for word in words))
