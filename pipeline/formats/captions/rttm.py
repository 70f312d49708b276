"""RTTM: who speaks when, a line a turn: ``SPEAKER file 1 onset duration <NA> <NA> name <NA> <NA>``, in seconds.

A turn is one voice's words without a silence of half a second or more. Channels are counted from 1; without speakers,
each channel is one. Takes words, gives the file's text.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from operator import itemgetter

from pipeline.formats.captions.spoken import Channels, Label, Labels, Spoken, runs

PAUSE = 500  # milliseconds


def rttm(channels: Channels, labels: Labels, file: str) -> Iterator[str]:
    """``file``: the recording's name, for the second field. Turns of all channels in order of their onset."""
    name = _field(file) or "recording"
    for start, end, words in heapq.merge(*(_turns(words) for words in channels), key=itemgetter(0)):
        voice = words[0].voice
        who = _field((labels(voice) or Label("Speaker 0", given=False)).text)
        seconds = max(1, end - start)  # readers refuse a turn of no length
        yield f"SPEAKER {name} {voice.channel + 1} {start / 1000:.3f} {seconds / 1000:.3f} <NA> <NA> {who} <NA> <NA>\n"


def _turns(words: Sequence[Spoken]) -> Iterator[tuple[int, int, Sequence[Spoken]]]:
    for run in runs(words, PAUSE):
        yield run[0].start, max(word.end for word in run), run


def _field(text: str) -> str:
    """Fields end at white space."""
    return "_".join(text.split())
