"""Millions and above: ``five million`` keeps its name, ``five million two hundred thousand`` is one number in digits.

Takes English `Number`s below a million, gives them with those of larger ones put together. What may be one number or
two ("one million and five hundred thousand") is taken out, so that its words stay: a wrong number is worse than words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.wording.numbers import Number, is_number_word
from pipeline.wording.tokens import Token

_SIZES = {"million": 10**6, "billion": 10**9, "trillion": 10**12}
_AND_BELOW = 100  # what follows an "and" and is still a part: a million and five


class _Term(NamedTuple):
    """One number and the name behind it. ``size``: 1 without one. ``joined``: with an "and" before it."""

    number: Number
    size: int
    stop: int
    joined: bool = False


def with_large(numbers: Sequence[Number], parts: Sequence[Token]) -> list[Number]:
    """The same numbers, some of them merged, some taken out; in order."""
    starts = {number.start: number for number in numbers}
    made: list[Number] = []
    reached = 0
    for number in _with_articles(numbers, parts):
        if number.start < reached:
            continue
        terms = _terms(number, starts, parts)
        unread = terms[-1].size > 1 and is_number_word(_low(parts, terms[-1].stop)) and terms[-1].stop not in starts
        if len(terms) == 1 and not _two_perhaps(terms[0], parts) and not unread:
            if number.text:  # not an article that was none
                made.append(number)
            continue
        reached = terms[-1].stop
        whole = None if unread else _whole(terms, starts, parts)
        if whole is not None:
            made.append(whole)
        else:
            made += [term.number for term in terms if not term.number.spelled]
            reached = _chain_end(reached, starts, parts)
    return made


def _with_articles(numbers: Sequence[Number], parts: Sequence[Token]) -> list[Number]:
    """``a million`` begins a number, if more follows: with no text, as it is none by itself."""
    articles = [
        Number(place - 1, place, "", spelled=True, ordinal=False)
        for place, part in enumerate(parts)
        if part.low in _SIZES and place and parts[place - 1].low == "a" and not part.apart
    ]
    return sorted([*numbers, *articles]) if articles else [*numbers]


def _terms(number: Number, starts: dict[int, Number], parts: Sequence[Token]) -> list[_Term]:
    """The number, and those that may belong to it because they follow a name of a larger size."""
    terms = [_term(number, parts, joined=False)]
    while terms[-1].size > 1:
        place = terms[-1].stop
        joined = _low(parts, place) == "and"
        after = starts.get(place + joined)
        if after is None or not _low(parts, place + joined) or (after.ordinal and after.small):
            break
        term = _term(after, parts, joined)
        if joined and term.size >= terms[-1].size and not _two_perhaps(term, parts):  # six million and five billion
            break
        if joined and _before(parts, number.start) == "between":
            break
        terms.append(term)
    return terms


def _term(number: Number, parts: Sequence[Token], joined: bool) -> _Term:
    size = _SIZES.get(_low(parts, number.stop), 1)
    return _Term(number, size, number.stop + (size > 1), joined)


def _two_perhaps(term: _Term, parts: Sequence[Token]) -> bool:
    """``ten thousand and one million``: nobody says 10,001 million."""
    lows = [part.low for part in parts[term.number.start : term.number.stop]]
    return term.size > 1 and "thousand" in lows and "and" in lows


def _whole(terms: Sequence[_Term], starts: dict[int, Number], parts: Sequence[Token]) -> Number | None:
    """All terms as one number; None where that is not certain."""
    total, above = 0, 0
    for number, size, _, joined in terms:
        if (
            _two_perhaps(terms[0], parts)
            or number.ordinal
            or not number.spelled
            or not (number.text.isdigit() or not number.text)
        ):
            return None
        value = int(number.text or "1")
        if above and (value * size >= above or value == 0 or number.text.startswith("0")):
            return None
        if joined and (size > 1 or value >= _AND_BELOW or not terms[0].number.text):
            return None
        total += value * size
        above = size
    start, stop = terms[0].number.start, terms[-1].stop
    half = not terms[0].number.text and _before(parts, start) == "half"
    if half or _chain_end(stop, starts, parts) != stop:
        return None
    return Number(start, stop, str(total), spelled=True, ordinal=False)


def _chain_end(place: int, starts: dict[int, Number], parts: Sequence[Token]) -> int:
    """Where the numbers end that begin at ``place`` and go on without a word between them."""
    while (number := starts.get(place)) is not None and number.spelled and _low(parts, place):
        place = number.stop
    return place


def _low(parts: Sequence[Token], place: int) -> str:
    """The bare word at ``place`` if it goes on from the one before it, otherwise nothing."""
    return parts[place].low if 0 < place < len(parts) and not parts[place].apart else ""


def _before(parts: Sequence[Token], place: int) -> str:
    """The bare word that the one at ``place`` goes on from."""
    return parts[place - 1].low if _low(parts, place) else ""
