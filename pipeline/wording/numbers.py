"""Numbers in words, found by text2num: where they are and what they are in digits.

Takes `Token`s of one language. Knows nothing of currencies, dates or what a number counts: see `smart`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from text_to_num import find_numbers

from pipeline.wording.tokens import Token, wordset

# What text2num reads, beside English; with numbers only, as Deepgram has it for languages other than English.
OTHERS = frozenset({"da", "de", "es", "fr", "it", "nl", "pt"})
SMALL = 9  # numbers up to this one stay in words where nothing speaks for digits (observed: "Two switches")

_UNITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_TEENS = ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
ORDINALS = wordset(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth thirtieth fortieth fiftieth sixtieth "
    "seventieth eightieth ninetieth hundredth thousandth"
)
DIGITS = frozenset(_UNITS)
MAGNITUDES = frozenset({"million", "billion", "trillion"})
_MULTIPLIERS = {"hundred": 0, "thousand": 1}
_SIMPLE = frozenset([*_UNITS, *_TEENS, *_TENS])
_PARTS = _SIMPLE | ORDINALS
_OH = ("oh", "o")
_POSSESSIVES = wordset("my your his her its our their")
_LITERAL = re.compile(r"\d[\d,]*(\.\d+)?")
_NOTHING = "·"  # a word that is no part of a number


class Number(NamedTuple):
    """Words ``start`` up to, not including, ``stop``; ``text``: in digits, an ordinal with its ending.

    ``spelled``: it stands in words; otherwise the backend wrote digits. ``ordinal``: first, 21st.
    """

    start: int
    stop: int
    text: str
    spelled: bool
    ordinal: bool

    @property
    def small(self) -> bool:
        """One word for a number below ten."""
        return self.spelled and self.stop - self.start == 1 and int(re.sub(r"\D", "", self.text)) <= SMALL


class _Heard:
    """A token as text2num takes them."""

    __slots__ = ("_apart", "_text")

    def __init__(self, text: str, apart: bool) -> None:
        self._text = text
        self._apart = apart

    def text(self) -> str:
        return self._text

    def nt_separated(self, previous: object) -> bool:
        return self._apart

    def not_a_number_part(self) -> bool:
        return self._text == _NOTHING


class _Piece(NamedTuple):
    """A word, or one part of a word with hyphens, which is ``place`` of the tokens."""

    text: str
    place: int
    apart: bool


def english_numbers(parts: Sequence[Token], lead: frozenset[str] = frozenset()) -> list[Number]:
    """Every number below a million, spelled or written in digits, in order; millions and above are no part of it.

    ``lead``: words (months) after which an ordinal is one of theirs: ``second`` counts only where it cannot be a time.
    """
    pieces = _pieces(parts)
    heard = [piece.text for piece in pieces]
    _choose_ohs(heard, pieces)
    _choose_seconds(heard, pieces, parts, lead)
    cuts = _cuts(heard, pieces)
    spoken = [
        _Heard(text, piece.apart or nth in cuts) for nth, (text, piece) in enumerate(zip(heard, pieces, strict=True))
    ]
    found = []
    for one in find_numbers(spoken, "en", -1.0):
        start, last = pieces[one.start].place, pieces[one.end - 1].place
        # one that ends inside a word (one-two, twenty-second) is left
        if not _inside(pieces, one.start) and not _inside(pieces, one.end):
            found.append(Number(start, last + 1, one.text, spelled=True, ordinal=one.is_ordinal))
    literal = [
        Number(place, place + 1, part.core, spelled=False, ordinal=False)
        for place, part in enumerate(parts)
        if part.core[0:1].isdigit() and _LITERAL.fullmatch(part.core)
    ]
    found = _dotted(found, parts)
    return sorted([*found, *literal]) if literal else found


def other_numbers(parts: Sequence[Token], language: str, least: int = SMALL) -> list[Number]:
    """The spelled numbers of another language, which is one of `OTHERS`; isolated ones only above ``least``."""
    spoken = [_Heard(part.low or _NOTHING, part.apart) for part in parts]
    return [
        Number(one.start, one.end, one.text, spelled=True, ordinal=one.is_ordinal)
        for one in find_numbers(spoken, language, float(least))
    ]


def is_number_word(low: str) -> bool:
    """Whether a bare English word names a number."""
    return low in MAGNITUDES or all(_number_word(_part(piece)) or piece in MAGNITUDES for piece in low.split("-"))


def is_cardinal(low: str) -> bool:
    """Whether a bare English word names a number of things: no ordinal."""
    return is_number_word(low) and low.rpartition("-")[2] not in ORDINALS


def _part(low: str) -> str:
    if low in _PARTS or low in _MULTIPLIERS or low in ("and", "point") or low in _OH:
        return low
    if "-" in low and all(piece in _PARTS or piece in _MULTIPLIERS for piece in low.split("-")):
        return low
    return _NOTHING


def _number_word(heard: str) -> bool:
    return heard != _NOTHING and heard not in ("and", "point") and heard not in _OH


def _pieces(parts: Sequence[Token]) -> list[_Piece]:
    pieces: list[_Piece] = []
    for place, part in enumerate(parts):
        heard = _part(part.low)
        if "-" not in heard:
            pieces.append(_Piece(heard, place, part.apart))
            continue
        for nth, text in enumerate(heard.split("-")):
            pieces.append(_Piece(text, place, part.apart and nth == 0))
    return pieces


def _inside(pieces: Sequence[_Piece], nth: int) -> bool:
    """Whether a word goes on from the piece before the ``nth`` to the ``nth``."""
    return 0 < nth < len(pieces) and pieces[nth].place == pieces[nth - 1].place


def _choose_ohs(heard: list[str], pieces: Sequence[_Piece]) -> None:
    """``oh`` is a zero between numbers, and only there."""
    nth = 0
    while nth < len(heard):
        after = nth + 1
        if heard[nth] in _OH:
            while after < len(heard) and heard[after] in _OH and not pieces[after].apart:
                after += 1
            before = nth > 0 and not pieces[nth].apart and _number_word(heard[nth - 1])
            follows = after < len(heard) and not pieces[after].apart and _number_word(heard[after])
            heard[nth:after] = ["zero" if before and follows else _NOTHING] * (after - nth)
        nth = after


def _choose_seconds(heard: list[str], pieces: Sequence[_Piece], parts: Sequence[Token], lead: frozenset[str]) -> None:
    """``a twenty second delay`` is no 22nd: a compound with ``second`` needs a month, or ``the`` and nothing behind.

    Where it may be either ("the twenty second delay"), both words are left.
    """
    for nth, text in enumerate(heard):
        if text != "second" or nth == 0 or pieces[nth].apart or heard[nth - 1] not in _TENS:
            continue
        first, after = pieces[nth - 1].place, pieces[nth].place + 1
        before = parts[first - 1].low if first and not parts[first].apart else ""
        if before in lead or (before == "the" and (_ends(parts, after) or _of_one(parts, after, lead))):
            continue
        heard[nth] = _NOTHING
        if before == "the" or before in _POSSESSIVES:
            heard[nth - 1] = _NOTHING


def _ends(parts: Sequence[Token], place: int) -> bool:
    return place >= len(parts) or parts[place].apart


def _of_one(parts: Sequence[Token], place: int, names: frozenset[str]) -> bool:
    return parts[place].low == "of" and not _ends(parts, place + 1) and parts[place + 1].low in names


def _cuts(heard: list[str], pieces: Sequence[_Piece]) -> set[int]:
    """Where a number begins anew: ``one hundred and two hundred`` are two, not 102 and 100.

    Takes out of ``heard`` what may be divided in two ways ("one hundred twenty five hundred").
    """
    cuts: set[int] = set()
    begun = 0  # where the words without a gap begin
    last: set[int] = set()  # the ranks of its multipliers that nothing larger has followed
    for nth, text in enumerate(heard):
        if text == _NOTHING or pieces[nth].apart:
            begun, last = nth, set()
        if text == "and" and (nth == 0 or heard[nth - 1] not in _MULTIPLIERS):  # fifty and one hundred
            cuts.update((nth, nth + 1))
            last = set()
        rank = _MULTIPLIERS.get(text)
        if rank is None:
            continue
        if nth and heard[nth - 1] == "and":  # a hundred and thousands
            cuts.update((nth - 1, nth))
        elif rank in last:
            least, most = _group(heard, nth)
            if least != most:
                end = nth + 1
                while end < len(heard) and heard[end] != _NOTHING and not pieces[end].apart:
                    end += 1
                heard[begun:end] = [_NOTHING] * (end - begun)
            cuts.update((most - 1, most) if heard[most - 1] == "and" else (most,))
            last = set()
        last = {known for known in last if known > rank} | {rank}
        singles = heard[nth + 1 : nth + 4]
        if len(singles) == 3 and DIGITS.issuperset(singles) and not any(p.apart for p in pieces[nth + 1 : nth + 4]):
            cuts.add(nth + 1)  # eight hundred, five five five: digits are said one by one
    return cuts


def _group(heard: Sequence[str], multiplier: int) -> tuple[int, int]:
    """Where what is multiplied may begin, at the latest and at the earliest: "five hundred ten" of a thousand."""
    start = multiplier - 1
    if heard[start] == "hundred":
        start = max(0, start - 1)
        return start, start - 1 if heard[start] in DIGITS and start and heard[start - 1] in _TENS else start
    least = start
    if heard[start] in DIGITS and start and heard[start - 1] in _TENS:
        start -= 1
    before = start - 1 - (start > 0 and heard[start - 1] == "and")
    if heard[multiplier] == "thousand" and before > 0 and heard[before] == "hundred":
        start = before - 1
    return least, start


def _dotted(numbers: list[Number], parts: Sequence[Token]) -> list[Number]:
    """``two point one point three``: a version, not a number and a rest."""
    made: list[Number] = []
    for number in numbers:
        last = made[-1] if made else None
        point = last.stop if last is not None else 0
        if (
            last is not None
            and "." in last.text
            and number.start == point + 1
            and parts[point].low == "point"
            and not (number.ordinal or parts[point].apart or parts[point + 1].apart)
        ):
            made[-1] = Number(last.start, number.stop, f"{last.text}.{number.text}", spelled=True, ordinal=False)
        else:
            made.append(number)
    return made
