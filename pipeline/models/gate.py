"""The quality gate: is what a decoder says of a window believable?

Takes what was decoded, its measures and where speech was detected; gives a verdict. Pure and cheap: no model, no sound.
faster-whisper's batched mode takes Whisper's thresholds as arguments and ignores them; the first three rules are those
(A. Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 4.5), the others are for what they let
through.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipeline.models.base import Rough


class Fault(StrEnum):
    UNLIKELY = "unlikely"  # the decoder did not believe it itself
    REPETITIVE = "repetitive"  # it compresses too well
    LOOP = "loop"  # the same words again and again, in a text too short for compression to show it
    DENSE = "dense"  # more text than anybody can say in the time
    MISSING = "missing"  # speech, and next to no text
    OUTSIDE = "outside"  # words where nobody speaks


@dataclass(frozen=True, slots=True)
class Evidence:
    """``words``: seconds from the window's start. ``logprob``: mean natural logarithm over the tokens; ``no_speech``:
    probability in [0, 1]. ``speech``: where speech was detected, seconds from the window's start; None: not known.
    """

    text: str
    words: tuple[Rough, ...]
    logprob: float
    no_speech: float
    speech: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """``silent``: nobody speaks, and whatever was decoded is made up. ``faults``: why it is not believed; ``empty``:
    nothing was decoded.
    """

    silent: bool
    faults: tuple[Fault, ...]
    logprob: float
    empty: bool = False

    @property
    def passed(self) -> bool:
        return not self.faults

    @property
    def repeats(self) -> bool:
        return Fault.REPETITIVE in self.faults or Fault.LOOP in self.faults

    @property
    def rank(self) -> tuple[bool, bool, int, float]:
        """Larger is better: without a repetition first, then with something said, with fewer faults, likelier."""
        return not self.repeats, not self.empty, -len(self.faults), self.logprob


@dataclass(frozen=True, slots=True)
class Gate:
    """Thresholds. Times in seconds, rates in characters (without spaces) per second of speech.

    Speech as detected is a little longer than speech as spoken, because of the padding, so rates come out low. The
    fastest speakers reach 25 characters a second; a slow one with long breaths still 3, in Chinese 1.5.
    """

    least_logprob: float = -1.0
    most_compression: float = 2.4  # bytes of the text over bytes of it compressed
    most_no_speech: float = 0.6
    most_rate: float = 30.0
    impossible_rate: float = 60.0
    least_rate: float = 1.0
    least_speech: float = 4.0  # less of it may be a cough, and no text right
    least_text: int = 12  # characters; rates of shorter texts say nothing
    margin: float = 0.5  # word times are that wrong
    most_outside: float = 0.3  # share of the characters

    def judge(self, found: Evidence) -> Verdict:
        """The verdict on one attempt at a window."""
        unlikely = found.logprob < self.least_logprob
        silent = found.speech == () or (found.no_speech > self.most_no_speech and (unlikely or not found.text))
        if silent:
            return Verdict(True, (), found.logprob, empty=True)
        rules = {
            Fault.UNLIKELY: unlikely and bool(found.text),
            Fault.REPETITIVE: compression(found.text) > self.most_compression,
            Fault.LOOP: loop([word.text for word in found.words]) is not None,
            Fault.DENSE: self._dense(found, self.most_rate),
            Fault.MISSING: self._missing(found),
            Fault.OUTSIDE: self.outside(found) > self.most_outside,
        }
        faults = tuple(fault for fault, broken in rules.items() if broken)
        return Verdict(False, faults, found.logprob, empty=not found.text)

    def invented(self, found: Evidence) -> bool:
        """No more can be said for it: nobody can have said this, or nobody spoke where it is placed."""
        return self._dense(found, self.impossible_rate) or (
            self.outside(found) > 1 - self.most_outside and found.no_speech > self.most_no_speech
        )

    def outside(self, found: Evidence) -> float:
        """The share of the characters in words of which no moment lies within ``margin`` of speech."""
        if found.speech is None or not found.text:
            return 0.0
        lengths = [(len(word.text.strip()), self._is_outside(word, found.speech)) for word in found.words]
        total = sum(length for length, _ in lengths)
        return sum(length for length, out in lengths if out) / total if total else 0.0

    def _is_outside(self, word: Rough, speech: Sequence[tuple[float, float]]) -> bool:
        return not any(word.start < end + self.margin and start - self.margin < word.end for start, end in speech)

    def _dense(self, found: Evidence, most: float) -> bool:
        if found.speech is None or _characters(found.text) < self.least_text:
            return False
        return _characters(found.text) > most * _seconds(found.speech)

    def _missing(self, found: Evidence) -> bool:
        if found.speech is None or (spoken := _seconds(found.speech)) < self.least_speech:
            return False
        return _characters(found.text) < self.least_rate * spoken


GATE = Gate()

# How often a block of so many words must follow itself to be a loop; people do say "no, no, no, no".
_REPEATS = {1: 8, 2: 5, 3: 4, 4: 4, 5: 4, 6: 4, 7: 3, 8: 3}


def compression(text: str) -> float:
    """Bytes of the text over bytes of it compressed, as Whisper reckons it; 0 for no text."""
    body = text.encode()
    return len(body) / len(zlib.compress(body)) if body else 0.0


def loop(words: Sequence[str]) -> tuple[int, int, int] | None:
    """The first run of words that repeats itself: where it begins, words in a block, blocks. None if there is none."""
    plain = [word.strip().strip(".,!?;:。，！？").casefold() for word in words]
    for size, least in _REPEATS.items():
        same = 0  # words so far that are what was ``size`` words earlier
        for place in range(size, len(plain)):
            same = same + 1 if plain[place] == plain[place - size] else 0
            if same == size * (least - 1):
                start = place - same - size + 1
                end = place + 1
                while end < len(plain) and plain[end] == plain[end - size]:
                    end += 1
                return start, size, (end - start) // size
    return None


def without_loops(words: Sequence[Rough]) -> tuple[Rough, ...]:
    """Each block of a run that repeats itself once: the first, which is where it was said if it was said."""
    kept = list(words)
    while (found := loop([word.text for word in kept])) is not None:
        start, size, count = found
        del kept[start + size : start + size * count]
    return tuple(kept)


def _characters(text: str) -> int:
    return sum(not letter.isspace() for letter in text)


def _seconds(speech: Sequence[tuple[float, float]]) -> float:
    return sum(end - start for start, end in speech)
