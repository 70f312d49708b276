"""Plain text to read: a line for each paragraph, with its time and who speaks: ``[00:05] Speaker 0: …``.

Paragraphs are made from the words, by the rule of `pipeline.formats.paragraphs`, so that a result without any reads the
same as one with them. Takes words, gives the file's text.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from operator import itemgetter

from pipeline.formats.captions.layout import ends_sentence
from pipeline.formats.captions.spoken import Channels, Labels, Spoken
from pipeline.formats.text import join

SENTENCES = 5  # in a paragraph
PAUSE = 800  # milliseconds; it ends a sentence where nothing is punctuated


def text(channels: Channels, labels: Labels) -> Iterator[str]:
    """Paragraphs of all channels in order of their start."""
    found = heapq.merge(*(_paragraphs(words) for words in channels), key=itemgetter(0))
    for start, words in found:
        label = labels(words[0].voice)
        name = "" if label is None else f"{label.text}: "
        yield f"[{clock(start)}] {name}{join(word.text for word in words)}\n"


def _paragraphs(words: Sequence[Spoken]) -> Iterator[tuple[int, Sequence[Spoken]]]:
    punctuated = any(ends_sentence(word.text) for word in words)
    first = sentences = 0
    for stop in range(1, len(words) + 1):
        last, after = words[stop - 1], words[stop] if stop < len(words) else None
        if punctuated:
            sentences += ends_sentence(last.text)
        else:
            sentences += after is not None and after.start - last.end >= PAUSE
        if after is None or after.voice != last.voice or sentences == SENTENCES:
            yield words[first].start, words[first:stop]
            first, sentences = stop, 0


def clock(milliseconds: int) -> str:
    """Minutes and seconds; hours before them from the first one on."""
    seconds = milliseconds // 1000
    hours = f"{seconds // 3600:02}:" if seconds >= 3600 else ""
    return f"{hours}{seconds // 60 % 60:02}:{seconds % 60:02}"
