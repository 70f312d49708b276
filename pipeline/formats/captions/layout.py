"""How wide a text is on the screen, and where a caption may be broken into lines.

A column is one ordinary character; full-width ones (Han, kana, Hangul, emoji) take two, combining marks none. Takes
words' texts, gives columns and lines. Knows nothing of times.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from pipeline.formats.text import join

COLUMNS = 42  # in a line
LINES = 2

_STOPS = (".", "?", "!", "…", "。", "？", "！", "؟", "।", "۔")
_CLAUSES = (",", ";", ":", "–", "—", "、", "，", "；", "：", "،", "؛")
_CLOSERS = "\"'”’»)]}」』）"


def width(text: str) -> int:
    """Columns."""
    if text.isascii():
        return len(text)
    return sum(_columns(sign) for sign in text)


def _columns(sign: str) -> int:
    if sign < "\u0300":
        return 1
    if unicodedata.category(sign) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in ("W", "F") else 1


def ends_sentence(text: str) -> bool:
    return text.rstrip(_CLOSERS).endswith(_STOPS)


def ends_clause(text: str) -> bool:
    return text.rstrip(_CLOSERS).endswith(_CLAUSES)


class Row:
    """Words side by side, for questions on stretches ``first`` up to, not including, ``stop`` of them.

    ``lead``: columns that the first line of each caption keeps free, for a name.
    """

    def __init__(self, texts: Sequence[str], lead: int = 0) -> None:
        self.texts = texts
        self.lead = lead
        self._gaps = [0, *(_gap(before, after) for before, after in pairwise(texts))]
        self._until = [0]
        for text, gap in zip(texts, self._gaps, strict=True):
            self._until.append(self._until[-1] + gap + width(text))

    def width(self, first: int, stop: int) -> int:
        """Columns of a stretch on one line."""
        return self._until[stop] - self._until[first] - self._gaps[first] if stop > first else 0

    def limit(self, first: int) -> int:
        """How far a caption from ``first`` on may reach; one word at the least, however wide it is."""
        stop = first
        for line in range(LINES):
            room = COLUMNS - self.lead if line == 0 else COLUMNS
            if stop < len(self.texts):
                stop = max(stop, bisect_right(self._until, self._until[stop] + self._gaps[stop] + room) - 1)
        return max(stop, first + 1)

    def lines(self, first: int, stop: int, lead: int) -> tuple[tuple[int, int], ...]:
        """The stretch as one line if it fits behind ``lead`` columns, else as two, broken at the best place where both
        fit. The first may be empty where a name alone takes it.
        """
        if lead + self.width(first, stop) <= COLUMNS:
            return ((first, stop),)
        best: tuple[float, int] | None = None
        for place in range(first if lead else first + 1, stop):
            above, below = lead + self.width(first, place), self.width(place, stop)
            if below <= COLUMNS and (above <= COLUMNS or place == first):
                uneven = abs(above - below) / COLUMNS + (0.05 if above > below else 0.0)
                ugly = 2.0 if place == first else uneven - breaking_well(self.texts[place - 1])
                best = min(best or (ugly, place), (ugly, place))
        return ((first, stop),) if best is None else ((first, best[1]), (best[1], stop))

    def text(self, first: int, stop: int) -> str:
        return join(self.texts[first:stop])


def breaking_well(text: str) -> float:
    """How good a break after this word is, 0…1: a full stop before a comma before anything else."""
    if ends_sentence(text):
        return 0.6
    return 0.35 if ends_clause(text) else 0.0


def _gap(before: str, after: str) -> int:
    """Columns between two words: none beside a script that is written without spaces."""
    if before.isascii() and after.isascii():
        return 1
    return len(join((before[-1], after[0]))) - len(before[-1]) - len(after[0])
