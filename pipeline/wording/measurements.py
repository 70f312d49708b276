"""Units of measure, and their abbreviations behind a number. English.

Units of time have none: "five minutes" is what people write.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.types import Word
from pipeline.wording.numbers import is_cardinal
from pipeline.wording.tokens import Edit, Token, applied, tokens

_PREFIXES = {"micro": "µ", "milli": "m", "centi": "c", "kilo": "k"}
_BASES = {"gram": "g", "meter": "m", "metre": "m", "liter": "l", "litre": "l"}
_OTHERS = {
    "deciliter": "dl",
    "decilitre": "dl",
    "hectare": "ha",
    "hertz": "Hz",
    "kilohertz": "kHz",
    "megahertz": "MHz",
    "gigahertz": "GHz",
    "watt": "W",
    "kilowatt": "kW",
    "megawatt": "MW",
    "volt": "V",
    "millivolt": "mV",
    "kilovolt": "kV",
    "amp": "A",
    "ampere": "A",
    "milliamp": "mA",
    "joule": "J",
    "kilojoule": "kJ",
    "kilocalorie": "kcal",
    "pascal": "Pa",
    "kilopascal": "kPa",
    "byte": "B",
    "kilobyte": "kB",
    "megabyte": "MB",
    "gigabyte": "GB",
    "terabyte": "TB",
    "decibel": "dB",
    "millimole": "mmol",
    "inch": "in",
    "yard": "yd",
    "mile": "mi",
    "ounce": "oz",
    "pound": "lb",
    "gallon": "gal",
    "quart": "qt",
    "pint": "pt",
    "teaspoon": "tsp",
    "tablespoon": "tbsp",
}
_IRREGULAR = {"foot": "ft", "feet": "ft", "inches": "in"}
_WHOLE = {
    ("miles", "per", "hour"): "mph",
    ("mile", "per", "hour"): "mph",
    ("degrees", "celsius"): "°C",
    ("degree", "celsius"): "°C",
    ("degrees", "centigrade"): "°C",
    ("degrees", "fahrenheit"): "°F",
    ("degree", "fahrenheit"): "°F",
    ("kilowatt", "hour"): "kWh",
    ("kilowatt", "hours"): "kWh",
}
_POWERS = {"square": "²", "cubic": "³"}
_PER = {"second": "s", "minute": "min", "hour": "h", "day": "day"}
_DIGITS = re.compile(r"\d[\d,]*(\.\d+)?")


def _singles() -> dict[str, str]:
    metric = {long + base: short + sign for long, short in _PREFIXES.items() for base, sign in _BASES.items()}
    own = {**_BASES, **metric, **_OTHERS}
    return {**own, **{f"{name}s": sign for name, sign in own.items() if not name.endswith("hertz")}, **_IRREGULAR}


UNITS = _singles()  # one word → its abbreviation
FIRST_WORDS = frozenset([*UNITS, *_POWERS, *(words[0] for words in _WHOLE)])


def abbreviated(words: Sequence[Word], utt_split: float) -> list[Word]:
    """Units behind a number, spelled or in digits, as abbreviations. ``utt_split``: seconds."""
    parts = tokens(words, utt_split)
    edits: list[Edit] = []
    reached = 0
    for place in range(1, len(parts)):
        if place < reached or parts[place].low not in FIRST_WORDS or parts[place].apart:
            continue
        before = parts[place - 1]
        if not (_DIGITS.fullmatch(before.core) or is_cardinal(before.low)):
            continue
        length, text = _unit(parts, place)
        if length:
            reached = place + length
            edits.append(Edit(place, reached, text))
    return applied(words, parts, edits)


def _unit(parts: Sequence[Token], place: int) -> tuple[int, str]:
    """(number of words, abbreviation) of the unit at ``place``; (0, "") for none."""
    lows = _following(parts, place, 4)
    for length in (3, 2):
        whole = _WHOLE.get(tuple(lows[:length])) if len(lows) >= length else None
        if whole is not None:
            return length, whole
    used, text = _single(lows)
    if used and len(lows) >= used + 2 and lows[used] == "per":
        below = _PER.get(lows[used + 1]) or UNITS.get(lows[used + 1])
        if below is not None:
            return used + 2, f"{text}/{below}"
    return used, text


def _single(lows: Sequence[str]) -> tuple[int, str]:
    if lows[0] in UNITS:
        return 1, UNITS[lows[0]]
    if lows[0] in _POWERS and len(lows) > 1 and lows[1] in UNITS:
        return 2, UNITS[lows[1]] + _POWERS[lows[0]]
    return 0, ""


def _following(parts: Sequence[Token], place: int, most: int) -> list[str]:
    """The bare words from ``place`` on, as far as they may be merged with it."""
    found = [parts[place].low]
    for part in parts[place + 1 : place + most]:
        if part.apart:
            break
        found.append(part.low)
    return found
