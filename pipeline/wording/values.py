"""Numbers that stand side by side, read together: digit strings, telephone numbers, years, times of day, fractions.

Takes the `Number`s of a stretch of English, gives `Value`s, none overlapping. Knows nothing of the words around them
but whether a time is likely there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

from pipeline.wording.measurements import FIRST_WORDS as UNITS
from pipeline.wording.numbers import DIGITS, MAGNITUDES, Number
from pipeline.wording.tokens import Token, wordset

CURRENCIES = {"dollar": "$", "dollars": "$", "euro": "€", "euros": "€", "yen": "¥", "yuan": "¥", "rupees": "₹"}
PERCENT = frozenset({"percent", "%"})
CENTS = frozenset({"cent", "cents"})

MERIDIEM = frozenset({"am", "pm", "a", "p"})  # ``a`` and ``p`` before an ``m``
_BEFORE_TIME = frozenset({"at", "by", "until", "till", "around", "about", "before", "after", "from", "since"})
_BEFORE_YEAR = frozenset({"in", "since", "of", "year"})
_BEFORE_CENTURY = frozenset({"the", "early", "mid", "late", "mid-"})
_DECADES = {
    f"{tens}ties": 10 * value
    for value, tens in enumerate(["twen", "thir", "for", "fif", "six", "seven", "eigh", "nine"], 2)
}
_PHONES = {7: (3, 4), 10: (3, 3, 4), 11: (1, 3, 3, 4)}  # digits, and how they are grouped
_CENTURIES = range(16, 21)
_OLD_CENTURIES = range(10, 16)  # need a word before them: fourteen ninety two
_LEAST_STRING = 3  # digits one by one that are written as one, numbers that count
_COUNTED = wordset("people men women children feet")  # what is counted, beside all that ends like a plural
_NO_PLURALS = wordset("is was this his its us as has does yes always perhaps sometimes besides")
_STREETS = wordset("street avenue road boulevard drive lane highway")
_OH = ("oh", "o")
_STREET_REACH = 5  # words behind a house number


class Kind(Enum):
    NUMBER = "number"
    FIXED = "fixed"  # a year, a time, a telephone number: written as it is, whatever follows
    WORDS = "words"  # a fraction, or what may be read in two ways: left in words


class Value(NamedTuple):
    """Words ``start`` up to, not including, ``stop``, and their ``text`` in digits."""

    start: int
    stop: int
    text: str
    kind: Kind
    spelled: bool = True
    ordinal: bool = False
    small: bool = False  # stays in words where nothing speaks for digits


def read(numbers: Sequence[Number], parts: Sequence[Token], smart: bool) -> list[Value]:
    """``smart``: with telephone numbers, strings of digits and times of day, not years alone."""
    found: list[Value] = []
    for chain in _chains(numbers, parts):
        time = _pair(chain[0], chain[1], parts, smart) if len(chain) == 2 else None
        string = _string(chain, parts) if smart else None
        if time is not None and (":" in time.text or time.kind is Kind.WORDS):
            made = [time]
        elif string is not None:
            made = [Value(chain[0].start, chain[-1].stop, string, Kind.FIXED)]
        else:
            made = _settled(chain, list(_one_by_one(chain, parts, smart)), parts)
        if found and touches(found[-1], made[0], parts) and made[0].kind is Kind.NUMBER:
            # in words beside digits (twenty 5): which of them belong together is not known
            found[-1] = _words(found[-1]) if found[-1].spelled else found[-1]
            made[0] = _words(made[0]) if made[0].spelled else made[0]
        found += made
    return found


def touches(one: Value, other: Value, parts: Sequence[Token]) -> bool:
    """Whether no word, pause or comma is between two values, of which neither is a year, a time or the like."""
    return one.stop == other.start and not parts[other.start].apart and one.kind is not Kind.FIXED


def _words(value: Value) -> Value:
    return Value(value.start, value.stop, "", Kind.WORDS)


def _settled(chain: Sequence[Number], values: list[Value], parts: Sequence[Token]) -> list[Value]:
    """``ten twenty dollars``, ``zero one two three``: in words where it is not known which numbers belong together."""
    plain = [value for value in values if value.kind is Kind.NUMBER and not value.ordinal]
    unsure = len(plain) > 1 and _amount(parts, chain[-1].stop) and touches(plain[-2], plain[-1], parts)
    zeros = _counts(chain) and any(len(one.text) > 1 and one.text.startswith("0") for one in chain)
    if not (unsure or zeros):
        return values
    return [_words(one) if zeros or (one.kind is Kind.NUMBER and not one.ordinal) else one for one in values]


def ampm(parts: Sequence[Token], place: int) -> int:
    """How many words at ``place`` say am or pm: 0, 1 or, letter by letter, 2."""
    if place >= len(parts) or parts[place].apart or parts[place].low not in MERIDIEM:
        return 0
    after = parts[place + 1] if place + 1 < len(parts) else None
    if parts[place].low in ("am", "pm"):
        return 0 if after is not None and after.low == "i" and not after.apart else 1
    return 2 if after is not None and after.low == "m" and not after.apart else 0


def _chains(numbers: Sequence[Number], parts: Sequence[Token]) -> Iterator[list[Number]]:
    """Spelled numbers without a word between them; one that is in digits already is alone."""
    chain: list[Number] = []
    for number in numbers:
        joins = chain and chain[-1].stop == number.start and not parts[number.start].apart
        if chain and not (joins and number.spelled and chain[-1].spelled):
            yield chain
            chain = []
        chain.append(number)
    if chain:
        yield chain


def _string(chain: Sequence[Number], parts: Sequence[Token]) -> str | None:
    """Digits said one by one, as one string; a number of seven, ten or eleven digits is a telephone's."""
    if not all(one.spelled and one.text.isdigit() for one in chain) or _amount(parts, chain[-1].stop):
        return None
    spoken = [[parts[place].low for place in range(one.start, one.stop)] for one in chain]
    if not all(
        _one_after_another(one, words) or _code(nth, chain, words)
        for nth, (one, words) in enumerate(zip(chain, spoken, strict=True))
    ):
        return None
    words = [word for own in spoken for word in own]
    alone = sum(word in DIGITS or word in _OH for word in words)
    text = "".join(one.text for one in chain)
    if alone < _LEAST_STRING or (_counts(chain) and not _on_a_street(parts, chain[-1].stop)):
        return None
    groups = _PHONES.get(len(text))
    if groups is not None and (len(text) < 11 or text[0] == "1"):
        pieces, done = [], 0
        for length in groups:
            pieces.append(text[done : done + length])
            done += length
        return "-".join(pieces)
    return text if alone == len(words) else None


def _one_after_another(one: Number, words: Sequence[str]) -> bool:
    """Digits, or one number of two."""
    return all(word in DIGITS or word in _OH for word in words) or int(one.text) < 100


def _code(nth: int, chain: Sequence[Number], words: Sequence[str]) -> bool:
    """The ``eight hundred`` of 800-555-1212, with or without a one before it."""
    hundred = len(words) == 2 and words[0] in DIGITS and words[1] == "hundred"
    return hundred and (nth == 0 or (nth == 1 and chain[0].text == "1"))


def _counts(chain: Sequence[Number]) -> bool:
    """``one two three``, ``three two one``: somebody counts."""
    if not all(one.text.isdigit() for one in chain):
        return False
    values: list[int] = []
    for one in chain:  # zero one is one number of two digits
        values += map(int, one.text) if one.text.startswith("0") else [int(one.text)]
    steps = {after - before for before, after in pairwise(values)}
    return len(values) >= _LEAST_STRING and steps in ({1}, {-1})


def _on_a_street(parts: Sequence[Token], place: int) -> bool:
    """``one two three southeast main street``."""
    for part in parts[place : place + _STREET_REACH]:
        if part.apart:
            return False
        if part.low in _STREETS:
            return True
    return False


def _following(parts: Sequence[Token], place: int) -> str:
    """The bare word at ``place`` if it goes on from the one before it, otherwise nothing."""
    return parts[place].low if place < len(parts) and not parts[place].apart else ""


def _amount(parts: Sequence[Token], place: int) -> bool:
    """Whether the numbers before ``place`` are one of money, per cent, or a large one."""
    after = _following(parts, place)
    if after == "per":
        return _following(parts, place + 1) == "cent"
    return after in CURRENCIES or after in CENTS or after in PERCENT or after in MAGNITUDES


def _how_many(parts: Sequence[Token], place: int) -> bool:
    """Whether what stands at ``place`` is counted, or measured."""
    after = _following(parts, place)
    plural = after.endswith("s") and not after.endswith("ss") and after not in _NO_PLURALS
    return plural or _measured(parts, place)


def _measured(parts: Sequence[Token], place: int) -> bool:
    """The same, without plurals: the nineteen ninety nine models."""
    after = _following(parts, place)
    return _amount(parts, place) or after in UNITS or after in _COUNTED


def _one_by_one(chain: Sequence[Number], parts: Sequence[Token], smart: bool) -> Iterator[Value]:
    place = 0
    alone = all(one.small for one in chain) and len(chain) < _LEAST_STRING
    counts = _counts(chain)
    while place < len(chain):
        one = chain[place]
        after = chain[place + 1] if place + 1 < len(chain) and not counts else None
        ends = place + 2 == len(chain) or len(chain[place + 2].text) != 2 if after is not None else False
        if after is not None and ends and (pair := _pair(one, after, parts, smart, alone=len(chain) == 2)) is not None:
            yield pair
            place += 2
            continue
        decade = _decade(one, parts) if after is None else None
        yield decade or Value(
            one.start, one.stop, one.text, Kind.NUMBER, one.spelled, one.ordinal, one.small and (alone or one.ordinal)
        )
        place += 1


def _pair(one: Number, after: Number, parts: Sequence[Token], smart: bool, alone: bool = False) -> Value | None:
    """Two numbers side by side: a time, a year, or left in words; None if they have nothing to do with each other.

    ``alone``: no third number is beside them.
    """
    words = Value(one.start, after.stop, "", Kind.WORDS)
    if one.ordinal or not one.spelled:
        return None
    if after.ordinal:  # a fraction: two fifths, one twenty fifth
        return words if one.small and (after.stop - after.start == 1 or one.text == "1") else None
    if not (one.text.isdigit() and after.text.isdigit() and len(after.text) == 2):
        return None
    first, second = int(one.text), int(after.text)
    clock = bool(ampm(parts, after.stop))
    before = parts[one.start - 1].low if one.start and not parts[one.start].apart else ""
    on_clock = first in range(1, 13) and second in range(60)
    if smart and on_clock and (clock or before in _BEFORE_TIME):
        counted = not clock and (_how_many(parts, after.stop) or second == first + 1)
        return words if counted else Value(one.start, after.stop, f"{first}:{after.text}", Kind.FIXED)
    if not clock and _is_year(first, second, before):
        old = first in _OLD_CENTURIES
        counted = _how_many(parts, after.stop) if old else _measured(parts, after.stop)
        return words if counted else Value(one.start, after.stop, f"{first}{after.text}", Kind.FIXED)
    return words if alone and second >= 10 and one.stop - one.start == 1 else None


def _is_year(first: int, second: int, before: str) -> bool:
    """An early one needs a word before it, and must not be "in ten, fifteen" or "of fourteen, fifteen"."""
    if first in _CENTURIES:
        return True
    likely = before in _BEFORE_YEAR and second != first + 1
    return likely and first in _OLD_CENTURIES and (first > 12 or second % 5 != 0)


def _decade(one: Number, parts: Sequence[Token]) -> Value | None:
    """``nineteen eighties``, ``the nineteen hundreds``."""
    if _following(parts, one.stop) == "" or one.ordinal or not one.spelled or not re.fullmatch(r"\d\d", one.text):
        return None
    century = int(one.text)
    tens = _DECADES.get(parts[one.stop].low)
    if tens is not None and century in _CENTURIES:
        return Value(one.start, one.stop + 1, f"{century}{tens}s", Kind.FIXED)
    before = parts[one.start - 1].low if one.start and not parts[one.start].apart else ""
    hundreds = parts[one.stop].low == "hundreds" and before in _BEFORE_CENTURY
    if hundreds and (century in _CENTURIES or century in _OLD_CENTURIES):
        return Value(one.start, one.stop + 1, f"{century}00s", Kind.FIXED)
    return None
