"""English numbers as people write them: what stands around a number decides how it is written.

``smart``: currencies, percentages, dates, times of day, telephone numbers, thousands separators (``smart_format``);
otherwise digits alone (``numerals``). Text that has digits already is left as it is, so doing it twice changes
nothing more. Takes words of one language, English, and gives words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.types import Word
from pipeline.wording.large import with_large
from pipeline.wording.measurements import FIRST_WORDS as UNITS
from pipeline.wording.numbers import MAGNITUDES, english_numbers
from pipeline.wording.tokens import Edit, Token, applied, tokens, wordset
from pipeline.wording.values import CENTS, CURRENCIES, PERCENT, Kind, Value, ampm, read, touches

MONTHS = wordset("january february march april may june july august september october november december")
_ALSO_WORDS = frozenset({"may", "march"})
# A number behind one of these is its name: "page two".
_LABELS = wordset(
    "number page chapter section step room version figure table appendix volume episode season phase gate route "
    "channel apartment suite flight line lane platform terminal exit building grade article paragraph slide"
)
_FUNCTION_WORDS = wordset("and or to is are was were will has had on off in at of for")
_RANGES = frozenset({"to", "or", "through"})
# "this one": no number, whatever follows
_NO_NUMBER_ONE = wordset("this that no the every each any which another only")
_AMOUNTS_OF = frozenset([*CURRENCIES, *PERCENT, "o'clock", "o’clock"])
_AMOUNT = re.compile(r"\d[\d,]*(\.\d+)?%?")
_SEPARATED = 10_000  # plain numbers from here on have separators: four digits are years, rooms, house numbers
_YEARS = range(1900, 2100)
_VAGUE = frozenset({"couple", "few", "several", "many", "some"})  # a couple hundred thousand


def formatted(words: Sequence[Word], utt_split: float, *, smart: bool) -> list[Word]:
    """The same words with their numbers in digits. ``utt_split``: seconds, the longest pause inside a number."""
    parts = tokens(words, utt_split)
    values = read(with_large(english_numbers(parts, MONTHS), parts), parts, smart)
    if not values:
        return list(words)
    return applied(words, parts, _Writer(parts, values, smart).edits())


class _Writer:
    """Goes through the values once, in order."""

    def __init__(self, parts: Sequence[Token], values: Sequence[Value], smart: bool) -> None:
        self._parts = parts
        self._values = values
        self._smart = smart
        self._starts = {value.start: value for value in values}
        self._stops = {value.stop: value for value in values}
        self._edits: list[Edit] = []
        self._reached = 0

    def edits(self) -> list[Edit]:
        for value in self._values:
            if value.start < self._reached or value.kind is Kind.WORDS:
                continue
            if self._smart and (self._currency(value) or self._percent(value)):
                continue
            if value.spelled:
                self._write(value)
            if self._smart:
                self._meridiem(value)
        return self._edits

    def _edit(self, start: int, stop: int, text: str) -> None:
        self._edits.append(Edit(start, stop, text))
        self._reached = stop

    def _low(self, place: int) -> str:
        """The bare word at ``place`` if it goes on from the one before it, otherwise nothing."""
        inside = 0 < place < len(self._parts) and not self._parts[place].apart
        return self._parts[place].low if inside else ""

    def _before(self, value: Value) -> str:
        """The bare word that ``value`` goes on from."""
        goes_on = value.start > 0 and not self._parts[value.start].apart
        return self._parts[value.start - 1].low if goes_on else ""

    def _counts(self, value: Value) -> bool:
        """Whether it may count what follows: a cardinal, and alone ("point five", "twenty 5")."""
        beside = self._stops.get(value.start)
        if beside is not None and touches(beside, value, self._parts):
            return False
        return value.kind is Kind.NUMBER and not value.ordinal and self._before(value) != "point"

    # ── amounts ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _currency(self, value: Value) -> bool:
        """``five dollars and fifty cents``, ``two point five million dollars``: at most two words, ``$2.5 million``."""
        if not self._counts(value):
            return False
        magnitude = self._low(value.stop) in MAGNITUDES
        named = value.stop + magnitude
        sign = CURRENCIES.get(self._low(named))
        if sign is None:
            return False
        start, text = self._with_article(value), _separated(value, 1_000)
        if magnitude:
            self._edit(start, value.stop, sign + text)
            self._edit(value.stop, named + 1, self._parts[value.stop].core)
            return True
        cents = self._cents(named + 1) if text.replace(",", "").isdigit() else None
        stop, fraction = (named + 1, "") if cents is None else cents
        self._edit(start, stop, sign + text + fraction)
        return True

    def _cents(self, place: int) -> tuple[int, str] | None:
        """``and fifty cents``, or ``fifty`` and no more, from ``place`` on: where it ends, and ``.50``."""
        begin = place + 1 if self._low(place) == "and" else place
        value = self._starts.get(begin)
        if value is None or not self._low(begin) or value.kind is not Kind.NUMBER or value.ordinal:
            return None
        if not value.text.isdigit() or int(value.text) > 99:
            return None
        if begin == place and int(value.text) > 9 and value.spelled and not self._low(value.stop):
            return value.stop, f".{value.text}"
        return (value.stop + 1, f".{int(value.text):02}") if self._low(value.stop) in CENTS else None

    def _percent(self, value: Value) -> bool:
        if not self._counts(value):
            return False
        stop = value.stop + 1
        if self._low(value.stop) == "per" and self._low(stop) == "cent":
            stop += 1
        elif self._low(value.stop) not in PERCENT:
            return False
        self._edit(self._with_article(value), stop, _separated(value, _SEPARATED) + "%")
        return True

    def _with_article(self, value: Value) -> int:
        """``a hundred``: the article is a part of the number."""
        head = self._parts[value.start].low in ("hundred", "thousand")
        return value.start - 1 if head and self._before(value) == "a" and value.start > self._reached else value.start

    # ── the number by itself ─────────────────────────────────────────────────────────────────────────────────────────

    def _write(self, value: Value) -> None:
        start = value.start
        if self._parts[start].low in ("hundred", "thousand"):
            if value.stop - start == 1 or self._vague(value):  # a hundred people, a couple thousand
                return
            start = self._with_article(value)
        if value.ordinal and value.kind is Kind.NUMBER:
            text = self._ordinal(value)
        elif value.small and not self._speaks_for_digits(value):
            return
        elif not value.ordinal and self._maybe_month(value) and not self._dated(value) and _is_day(value):
            return  # May ten people come in?
        else:
            text = self._plain(value) if self._smart and value.kind is Kind.NUMBER else value.text
        if text:
            self._edit(start, value.stop, text)

    def _vague(self, value: Value) -> bool:
        """``a couple hundred and fifty``, ``a couple of hundred thousand``."""
        before = self._before(value)
        if before == "of" and self._low(value.start - 1):
            before = self._parts[value.start - 2].low
        return before in _VAGUE

    def _plain(self, value: Value) -> str:
        """Four digits get a separator where they were said with a thousand and are no year."""
        said = any(part.low == "thousand" for part in self._parts[value.start : value.stop])
        year = value.text.isdigit() and int(value.text) in _YEARS
        return _separated(value, 1_000 if said and not year else _SEPARATED)

    def _ordinal(self, value: Value) -> str:
        """``November 2 2022``, ``November 2nd``, ``the 2nd of November``; "" where it stays in words."""
        if self._dated(value):
            return re.sub(r"\D", "", value.text) if self._smart and self._year(value.stop) else value.text
        of_month = self._low(value.stop) == "of" and self._low(value.stop + 1) != "" and self._month(value.stop + 1)
        return value.text if of_month or not (value.small or self._part_of_one(value)) else ""

    def _part_of_one(self, value: Value) -> bool:
        """``a tenth``, ``one thousandth of a second``: a fraction, or not far from one."""
        before = self._before(value)
        if before in ("a", "an"):
            return True
        words = [part.low for part in self._parts[value.start : value.stop]]
        pieces = "-".join(words).split("-")
        fraction = pieces[0] == "one" and pieces[-1] in ("hundredth", "thousandth")
        return fraction and (before != "the" or self._low(value.stop) == "of")

    def _dated(self, value: Value) -> bool:
        """Whether the word before it is a month, whose day it is.

        A capital does not tell at the beginning of a sentence ("May second graders come in?"), so a year, or
        nothing more, has to follow there.
        """
        if self._before(value) == "" or not self._month(value.start - 1):
            return False
        if not self._maybe_month(value):
            return True
        return self._low(value.stop) == "" or self._year(value.stop)

    def _maybe_month(self, value: Value) -> bool:
        """Behind a ``May`` or ``March`` that has its capital for another reason, too."""
        if self._before(value) not in _ALSO_WORDS:
            return False
        part = self._parts[value.start - 1]
        return part.apart and part.core[0].isupper()

    def _month(self, place: int) -> bool:
        """``May`` and ``March`` need their capital; where there are none, what stands beside them decides."""
        part = self._parts[place] if 0 <= place < len(self._parts) else None
        if part is None or part.low not in MONTHS:
            return False
        return part.low not in _ALSO_WORDS or part.core[0].isupper()

    def _year(self, place: int) -> bool:
        value = self._starts.get(place)
        return value is not None and not value.ordinal and len(value.text) == 4 and value.text.isdigit()

    def _speaks_for_digits(self, value: Value) -> bool:
        """Whether something around a number below ten asks for digits."""
        before, after = self._before(value), self._low(value.stop)
        if before == "point" or (before in _NO_NUMBER_ONE and self._parts[value.start].low == "one"):
            return False
        if before in _LABELS or self._asks(after, self._low(value.stop + 1)):
            return True
        if ampm(self._parts, value.stop) or self._dated(value):
            return True
        return self._names(value, after) or self._ranges(value, after)

    def _names(self, value: Value, after: str) -> bool:
        """``EV one,``: an abbreviation, and its number."""
        if value.start == 0 or self._parts[value.start].apart:
            return False
        core = self._parts[value.start - 1].core
        return core.isalpha() and core.isupper() and len(core) > 1 and (not after or after in _FUNCTION_WORDS)

    def _ranges(self, value: Value, after: str) -> bool:
        """``five to ten percent``, ``five or six dollars``: digits for both or for none."""
        before = self._stops.get(value.start - 1)
        one = self._parts[value.start].low == "one"  # five to ten of them, but: I sent the twenty to one of them
        if before is not None and self._before(value) in _RANGES and self._low(value.start - 1) and not one:
            return not before.small and not before.ordinal and before.kind is not Kind.WORDS
        if after not in _RANGES or not self._low(value.stop + 1):
            return False
        other = self._starts.get(value.stop + 1)
        if other is None:
            return _AMOUNT.fullmatch(self._parts[value.stop + 1].core) is not None
        if other.ordinal or other.kind is Kind.WORDS:
            return False
        return not other.small or self._asks(self._low(other.stop), self._low(other.stop + 1))

    def _asks(self, after: str, second: str) -> bool:
        """Whether what follows a number asks for digits."""
        return after in MAGNITUDES or after in UNITS or after in _AMOUNTS_OF or (after, second) == ("per", "cent")

    def _meridiem(self, value: Value) -> None:
        """``AM`` and ``PM`` behind a time."""
        length = ampm(self._parts, value.stop)
        text = self._edits[-1].text if self._edits and self._edits[-1].stop == value.stop else value.text
        if length and re.fullmatch(r"\d{1,2}(:\d\d)?", text):
            self._edit(value.stop, value.stop + length, self._parts[value.stop].low[0].upper() + "M")


def _is_day(value: Value) -> bool:
    return value.text.isdigit() and int(value.text) <= 31


def _separated(value: Value, least: int) -> str:
    """The number with separators, if it was in words and is at least ``least``."""
    whole, dot, fraction = value.text.partition(".")
    if not value.spelled or not whole.isdigit() or int(whole) < least or whole.startswith("0"):
        return value.text
    return f"{int(whole):,}{dot}{fraction}"
