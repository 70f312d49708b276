"""What every rewording is made of: a word's edges, where words may not be merged, merging, leaving out.

Takes and gives `pipeline.types.Word`s in order of their start. Knows no rule of any option.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from pipeline.formats.numbers import float32
from pipeline.formats.text import EDGE
from pipeline.types import Word

MASK = "****"  # of one length, whatever is under it

_STOPS = (".", "?", "!", "…")
_OPENING = "\"'“‘«‹([{„‚¿¡"
_CLOSING = "\"'”’»›)]}“‘"


class Token(NamedTuple):
    """A word in three: ``lead`` and ``trail`` are the punctuation at its edges; ``core`` is never empty.

    ``low``: the core in lower case. ``apart``: it may not be merged with the word before it.
    """

    lead: str
    core: str
    trail: str
    low: str
    apart: bool


class Edit(NamedTuple):
    """Words ``start`` up to, not including, ``stop`` become the one word ``text`` (the edges are kept apart)."""

    start: int
    stop: int
    text: str


def wordset(text: str) -> frozenset[str]:
    """The words of a text that has nothing but words."""
    return frozenset(text.split())


@lru_cache(maxsize=1 << 14)
def edges(text: str) -> tuple[str, str, str]:
    """(lead, core, trail); what is nothing but punctuation is all core."""
    if text.isalnum():
        return "", text, ""
    rest = text.lstrip(EDGE)
    core = rest.rstrip(EDGE)
    if not core:
        return "", text, ""
    return text[: len(text) - len(rest)], core, rest[len(core) :]


def tokens(words: Sequence[Word], utt_split: float) -> list[Token]:
    """One for each word. Apart are words of two speakers or languages, with punctuation between them, or with a
    silence longer than ``utt_split`` seconds.

    Silence is from end to start, unlike an utterance's pause, so that a word that was merged stays beside the next.
    """
    found: list[Token] = []
    before: Word | None = None
    trail = ""
    for word in words:
        text = word.text
        apart = (
            before is None
            or trail != ""
            or word.start - before.end > utt_split
            or word.speaker != before.speaker
            or word.language != before.language
        )
        token = _token(text, apart)
        if token.lead and not apart:
            token = _token(text, True)
        found.append(token)
        before, trail = word, token.trail
    return found


@lru_cache(maxsize=1 << 14)  # speech repeats itself: most tokens are there already
def _token(text: str, apart: bool) -> Token:
    lead, core, trail = edges(text.strip())
    return Token(lead, core, trail, core.lower(), apart)


def applied(words: Sequence[Word], parts: Sequence[Token], edits: Iterable[Edit]) -> list[Word]:
    """The words with every edit made. ``edits``: in order, not overlapping."""
    made: list[Word] = []
    done = 0
    for start, stop, text in edits:
        made += words[done:start]
        made.append(merged(words[start:stop], parts[start].lead + text + parts[stop - 1].trail))
        done = stop
    made += words[done:]
    return made


def merged(words: Sequence[Word], text: str) -> Word:
    """One word in place of several neighbours of one speaker: first start, last end, mean confidences in float32."""
    first = words[0]
    if len(words) == 1:
        return reworded(first, text)
    sure = [word.speaker_confidence for word in words if word.speaker_confidence is not None]
    return Word.model_construct(
        text=text,
        start=first.start,
        end=max(word.end for word in words),
        confidence=_mean([word.confidence for word in words]),
        speaker=first.speaker,
        speaker_confidence=_mean(sure) if sure else None,
        language=first.language,
    )


def reworded(word: Word, text: str) -> Word:
    """The same word with another text."""
    return Word.model_construct(
        text=text,
        start=word.start,
        end=word.end,
        confidence=word.confidence,
        speaker=word.speaker,
        speaker_confidence=word.speaker_confidence,
        language=word.language,
    )


def without(words: Sequence[Word], gone: Collection[int]) -> list[Word]:
    """The words less those at the places in ``gone``.

    A sentence keeps its ends: the full stop and the closing quote of a word that goes pass to the one before it, its
    capital and its opening quote to the one after it, if the speaker is the same. An ellipsis ends no sentence unless
    another begins behind it.
    """
    if not gone:
        return list(words)
    kept: list[Word] = []
    left = _Left()
    for place, word in enumerate(words):
        if place in gone:
            if left.any and left.speaker != word.speaker:
                left.pass_back(kept, None)
                left = _Left()
            left.take(word, kept)
            continue
        if left.any:
            left.pass_back(kept, word)
            word = left.passed_on(word)
            left = _Left()
        kept.append(word)
    if left.any:
        left.pass_back(kept, None)
    return kept


class _Left:
    """What neighbours of one speaker that are left out leave to those around them."""

    def __init__(self) -> None:
        self.any = False
        self.speaker: int | None = None
        self._capital = False
        self._opened = ""  # quotes and brackets that are still open
        self._closed = ""  # those that were open before
        self._stop = ""

    def take(self, word: Word, kept: Sequence[Word]) -> None:
        lead, core, trail = edges(word.text)
        if not self.any:
            opens = not kept or _closed(kept[-1].text)[0].endswith(_STOPS) or kept[-1].speaker != word.speaker
            self._capital = core[:1].isupper() and (opens or lead != "")
        self.any, self.speaker = True, word.speaker
        self._opened += "".join(sign for sign in lead if sign in _OPENING)
        for sign in trail:
            if sign not in _CLOSING:
                continue
            if self._opened:
                self._opened = self._opened[:-1]
            else:
                self._closed += sign
        stop = "".join(sign for sign in trail if sign in _STOPS)
        if stop and (not self._stop or _hesitates(self._stop)):
            self._stop = stop

    def pass_back(self, kept: list[Word], after: Word | None) -> None:
        """The stop and the closing signs, to the last word before; ``after``: the next one."""
        if not kept or kept[-1].speaker != self.speaker:
            return
        bare, closed = _closed(kept[-1].text)
        goes_on = after is not None and after.speaker == self.speaker and not _begins(after)
        if self._stop and not bare.endswith(_STOPS) and not (_hesitates(self._stop) and goes_on):
            bare = stopped(bare, self._stop)
        if bare + closed + self._closed != kept[-1].text:
            kept[-1] = reworded(kept[-1], bare + closed + self._closed)

    def passed_on(self, word: Word) -> Word:
        """The next word with the capital and the opening signs."""
        if word.speaker != self.speaker:
            return word
        word = capitalised(word) if self._capital else word
        return reworded(word, self._opened + word.text) if self._opened else word


def _hesitates(stop: str) -> bool:
    return "…" in stop or ".." in stop


def _begins(word: Word) -> bool:
    """Whether a sentence seems to begin with the word: "I" has its capital anywhere."""
    core = edges(word.text)[1]
    return core[:1].isupper() and re.match(r"I\b", core) is None


def _closed(text: str) -> tuple[str, str]:
    """A word, and the closing quotes and brackets behind it."""
    bare = text.rstrip(_CLOSING) or text
    return bare, text[len(bare) :]


def stopped(text: str, stop: str) -> str:
    """``text`` with ``stop`` behind it, in place of a comma or the like."""
    return (text.rstrip(",;:-–—") or text) + stop


def capitalised(word: Word) -> Word:
    """The same word with a capital at its beginning."""
    lead, core, trail = edges(word.text)
    return reworded(word, lead + core[:1].upper() + core[1:] + trail)


def _mean(values: Sequence[float]) -> float:
    total = 0.0
    for value in values:
        total = float32(total + value)
    return min(1.0, float32(total / len(values)))
