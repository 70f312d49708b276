"""Whatever a number is written as, it is the number that was said: spelled, formatted, and read back."""

from __future__ import annotations

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.pipeline.wording.rewording import said

_SMALL = [
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_NAMES = {10**12: "trillion", 10**9: "billion", 10**6: "million", 10**3: "thousand"}
_SPELLED = re.compile(r"[a-z-]+")


def spell(number: int, joined: bool = False, hyphens: bool = False, article: bool = False) -> str:
    """In English words. ``joined``: with "and" before tens and units; ``article``: "a hundred" for "one hundred"."""
    text = _words(number, joined, hyphens)
    return re.sub(r"^one (hundred|thousand|million|billion|trillion)", r"a \1", text) if article else text


def _words(number: int, joined: bool, hyphens: bool) -> str:
    if number < 20:
        return _SMALL[number]
    if number < 100:
        tens, unit = divmod(number, 10)
        return _TENS[tens - 2] + (("-" if hyphens else " ") + _SMALL[unit] if unit else "")
    for size, name in [*_NAMES.items(), (100, "hundred")]:
        if number >= size:
            high, rest = divmod(number, size)
            text = f"{_words(high, joined, hyphens)} {name}"
            if not rest:
                return text
            link = " and " if joined and rest < 100 else " "
            return text + link + _words(rest, joined, hyphens)
    raise AssertionError(number)


def value(text: str) -> float:
    """The number that a text with digits shows, with its sign, separators and the name of its size."""
    shown = re.fullmatch(r"\$?(\d[\d,]*)(?: (trillion|billion|million|thousand))?(?: people| dollars)?", text)
    assert shown is not None, text
    whole = shown[1].replace(",", "")
    assert shown[1] in (whole, f"{int(whole):,}")
    return int(whole) * {name: size for size, name in _NAMES.items()}.get(shown[2], 1)


numbers = st.one_of(
    st.integers(0, 10**15),
    st.integers(0, 9999),
    # with zeros in it, as people say large numbers
    st.lists(st.sampled_from([0, 0, 1, 2, 5, 20, 42, 100, 500, 512]), min_size=2, max_size=5).map(
        lambda groups: sum(group * 1000**nth for nth, group in enumerate(groups))
    ),
)


@settings(deadline=None)
@given(numbers, st.booleans(), st.booleans(), st.booleans(), st.sampled_from(["", "people", "dollars"]), st.booleans())
@example(1_200_500, False, False, False, "people", True)
@example(3_450_600, False, False, False, "dollars", True)
@example(3_500_000_000, False, False, False, "dollars", True)
@example(1_000_500_000_000, False, False, False, "", True)
@example(1_000_000_000_000_500, False, False, False, "", False)
@example(100_200_000, False, False, True, "dollars", True)
def test_the_value_is_the_one_that_was_said(
    number: int, joined: bool, hyphens: bool, article: bool, behind: str, smart: bool
) -> None:
    """Digits for all of it, or words for all of it, which only small numbers and "a million" keep."""
    number = min(number, 10**15 - 1) if number != 10**15 else number
    text = " ".join([spell(number, joined, hyphens, article), behind]).strip()
    written = said(text, **({"smart_format": True} if smart else {"numerals": True}))
    if written == text and _SPELLED.fullmatch(text.split()[0]):
        assert number < 10 or text.startswith("a "), text
        return
    assert value(written) == number, written


@settings(deadline=None)
@given(st.integers(10, 10**12), st.integers(10, 10**12), st.sampled_from([" and ", " or ", " to "]), st.booleans())
@example(6_000_000, 5_000_000_000, " and ", True)
@example(101, 100, " and ", True)
@example(50, 100, " and ", False)
@example(1900, 1_000_000, " and ", False)
@example(1900, 1010, " and ", False)
@example(1_814_400, 1000, " and ", False)
@example(24_324_300, 1_000_000_000, " and ", False)
def test_two_numbers_are_never_one(one: int, other: int, link: str, smart: bool) -> None:
    """ "six million and five billion": the two values, or words; not a third number."""
    text = f"{spell(one)}{link}{spell(other)} people"
    written = said(text, **({"smart_format": True} if smart else {"numerals": True}))
    if written == text:
        return
    if link not in written:  # "one hundred and one thousand" is one number, too
        assert text.replace(" and ", " ") == f"{spell(int(value(written)))} people"
        return
    first, second = written.removesuffix(" people").split(link)
    assert (value(first), value(second)) == (one, other)


def test_numbers_that_may_be_one_or_two_stay_in_words() -> None:
    """A wrong number is worse than words."""
    for text in [
        "one million and five hundred thousand dollars",
        "two point five million three hundred people",
        "three million and two hundred thousand of them",
        "a million and five others",
        "half a million two hundred",
        "one million five five five",
        "two million five billion",
        "ten thousand and one million",
    ]:
        assert said(text, smart_format=True) == text
