"""``search``: where terms were said in a channel, found in its words.

Deepgram compares sounds; this compares letters, so it is an approximation: a term is found where the words say it, or
something that is spelled much like it ("epistomology"). Takes `ResultWord`s in order, so what was masked in them can
be neither found nor shown. Knows nothing of channels or JSON.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from pipeline.formats.numbers import float32
from pipeline.formats.text import bare, join
from pipeline.formats.words import ResultWord

LEAST = 0.7  # likeness of a hit, over the whole term
MOST_ALIKE = 10  # hits that are not exact, for each term
_LEAST_WORD = 0.5  # likeness of each of its words
_SHARED = 0.4  # of the pairs of letters, below which words are not compared closely


class Hit(NamedTuple):
    """Times in seconds. ``confidence``: 1 for what says the term exactly, otherwise how alike it is spelled."""

    confidence: float
    start: float
    end: float
    snippet: str


class Index:
    """The words of one channel, made ready once for any number of terms."""

    def __init__(self, words: Sequence[ResultWord]) -> None:
        self._words = words
        self._places: dict[str, list[int]] = defaultdict(list)
        for place, word in enumerate(words):
            self._places[word.word].append(place)
        self._with_pair: dict[str, list[str]] = defaultdict(list)
        self._pairs: dict[str, int] = {}
        for spelled in self._places:
            pairs = set(_pairs(spelled))
            self._pairs[spelled] = len(pairs)
            for pair in pairs:
                self._with_pair[pair].append(spelled)

    def hits(self, term: str) -> list[Hit]:
        """Those of one term, the surest first, then in order of time; no two of them share a word."""
        sought = [bare(word) for word in term.split()]
        if not sought:
            return []
        alike = [self._alike(word) for word in sought]
        found = sorted(self._found(sought, alike), key=lambda one: (-one[0], one[1]))
        taken: set[int] = set()
        kept: list[Hit] = []
        others = 0
        for likeness, first in found:
            places = range(first, first + len(sought))
            if not taken.isdisjoint(places) or (likeness < 1.0 and others == MOST_ALIKE):
                continue
            taken.update(places)
            others += likeness < 1.0
            kept.append(self._hit(likeness, first, first + len(sought)))
        return kept

    def _found(self, sought: Sequence[str], alike: Sequence[dict[str, float]]) -> Iterator[tuple[float, int]]:
        """(likeness, place of the first word) of everything that is alike enough."""
        rarest = min(range(len(sought)), key=lambda nth: sum(len(self._places[word]) for word in alike[nth]))
        letters = sum(map(len, sought))
        for word in alike[rarest]:
            for place in self._places[word]:
                first = place - rarest
                if first < 0 or first + len(sought) > len(self._words):
                    continue
                total = 0.0
                for nth, own in enumerate(sought):
                    likeness = alike[nth].get(self._words[first + nth].word)
                    if likeness is None:
                        break
                    total += likeness * len(own)
                else:
                    if total >= LEAST * letters:
                        yield total / letters, first

    def _alike(self, word: str) -> dict[str, float]:
        """The channel's words that are spelled like one, and how much: 1 for itself alone."""
        shared: Counter[str] = Counter()
        own = set(_pairs(word))
        for pair in own:
            shared.update(self._with_pair.get(pair, ()))
        close = [other for other, count in shared.items() if count >= _SHARED * max(len(own), self._pairs[other])]
        found = {other: _likeness(word, other) for other in close}
        return {other: likeness for other, likeness in found.items() if likeness >= _LEAST_WORD}

    def _hit(self, likeness: float, first: int, stop: int) -> Hit:
        own = self._words[first:stop]
        end = max(word.end for word in own)
        return Hit(float32(likeness), own[0].start, end, join(word.text for word in own))


def _likeness(word: str, other: str) -> float:
    if word == other:
        return 1.0
    return min(0.99, SequenceMatcher(None, word, other, autojunk=False).ratio())


def _pairs(word: str) -> list[str]:
    """Neighbouring letters, the edges counted as letters."""
    edged = f"\n{word}\n"
    return [edged[nth : nth + 2] for nth in range(len(edged) - 1)]
