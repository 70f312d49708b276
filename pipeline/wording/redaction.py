"""``redact=numbers``: every number masked, in digits or in words, whatever it counts.

Rather too much than too little: an "one" that is no number, or an address with a digit in it, is masked too. The mask
is of one length, so that it does not tell how many digits were there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from pipeline.types import Word
from pipeline.wording.numbers import ORDINALS, OTHERS, is_number_word, other_numbers
from pipeline.wording.tokens import MASK, Token, reworded, tokens, wordset

_MORE = wordset(
    "halves hundreds thousands millions billions trillions quadrillion millionth billionth trillionth "
    "millionths billionths trillionths zeroth dozen dozens dozenth tens once twice thrice ones twos threes fours fives "
    "sixes sevens eights nines zeros zeroes nought noughts naught aught aughts teens twenties thirties forties fifties "
    "sixties seventies eighties nineties"
) | {f"{ordinal}s" for ordinal in ORDINALS - {"first", "second"}}
# Signs of numbers only where a number stands beside them.
_BESIDE = wordset("oh o ought point double triple half quarter quarters pair couple nil")
_BRIDGES = frozenset({"a", "an", "and", "of"})  # between the two, and shown: two and a half, half a million
_BRIDGE = 2  # of them, at most
_SPLIT = re.compile(r"[^\w']+|_")


def redacted(words: Sequence[Word], language: str | None, utt_split: float) -> list[Word]:
    """Masked words keep their times, speakers and the punctuation around them. ``language``: of all the words."""
    parts = tokens(words, utt_split)
    hidden = {place for place, part in enumerate(parts) if _has_digit(part)}
    if language == "en":
        hidden |= _spelled(parts, hidden)
    elif language in OTHERS:
        for number in other_numbers(parts, language, least=-1):
            hidden.update(range(number.start, number.stop))
    return [
        reworded(word, f"{part.lead}{MASK}{part.trail}") if place in hidden else word
        for place, (word, part) in enumerate(zip(words, parts, strict=True))
    ]


def _has_digit(part: Token) -> bool:
    """Any digit of any script, a fraction, a Roman numeral sign; not the Chinese characters, which are letters too."""
    if part.core.isascii() and part.core.isalpha():
        return False
    return any(unicodedata.category(sign).startswith("N") for sign in part.lead + part.core + part.trail)


def _spelled(parts: Sequence[Token], digits: set[int]) -> set[int]:
    """English number words, and what belongs to the numbers beside them."""
    found = {place for place, part in enumerate(parts) if place in digits or _says_number(part.low)}
    # Every run of such words has its number at its left or at its right, so twice through them finds all.
    for places in (range(len(parts)), reversed(range(len(parts)))):
        reach = 0  # words in which a sign still counts as beside a number
        for place in places:
            low = parts[place].low
            if place in found or (low in _BESIDE and reach):
                found.add(place)
                reach = 1 + _BRIDGE
            else:
                reach = reach - 1 if low in _BRIDGES and reach else 0
    return found


def _says_number(low: str) -> bool:
    if is_number_word(low) or low in _MORE or is_number_word(low.removesuffix("fold")):
        return True
    if low.isalpha():
        return False
    # twenty-five-year-old, one's, five/six
    pieces = _SPLIT.split(low.replace("’", "'"))
    return any(is_number_word(own) or own in _MORE for own in map(_owner, pieces))


def _owner(piece: str) -> str:
    return piece.removesuffix("'s").strip("'")
