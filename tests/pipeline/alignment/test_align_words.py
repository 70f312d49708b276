"""Words of a window get the times at which they were heard, whatever their text is."""

from __future__ import annotations

import string

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.stages.alignment import Alphabet, Unaligned, align
from pipeline.types import Word
from tests.pipeline.alignment.ctc_reference import Emissions, random_emissions, spoken

STEP = 0.02  # s
LETTERS = " " + string.ascii_lowercase
BLANK = len(LETTERS)
ALPHABET = Alphabet({letter: nth for nth, letter in enumerate(LETTERS)}, blank=BLANK, separator=0)
BARE = Alphabet({letter: nth for nth, letter in enumerate(LETTERS) if letter != " "}, blank=BLANK)


def heard(*said: tuple[float, str], seconds: float = 10.0) -> Emissions:
    """Each text begins at its second and has a letter every 0.1 s; "ab cd" has a space between."""
    peaks = {
        round((start + 0.1 * nth) / STEP): LETTERS.index(letter)
        for start, text in said
        for nth, letter in enumerate(text)
    }
    return spoken(round(seconds / STEP), peaks, BLANK + 1, BLANK)


def words(*texts: str, seconds: float = 10.0) -> list[Word]:
    """Spread evenly, as a backend that knows nothing better would."""
    each = seconds / len(texts)
    return [Word(text=text, start=nth * each, end=(nth + 1) * each, confidence=0.5) for nth, text in enumerate(texts)]


def times(found: tuple[Word, ...] | Unaligned) -> list[tuple[float, float]]:
    assert not isinstance(found, Unaligned), found
    return [(word.start, word.end) for word in found]


def test_words_are_where_they_were_said() -> None:
    """From a word's first letter to its last, at the window's place in the recording; nothing else of it changes."""
    emissions = heard((1.0, "so"), (1.4, " "), (2.0, "well"), (4.0, " "), (7.0, "done"))
    given_ = words("So,", "well", "done!")
    found = align(given_, 60.0, 10.0, emissions, ALPHABET, STEP)
    assert times(found) == [pytest.approx(pair) for pair in [(61.0, 61.12), (62.0, 62.32), (67.0, 67.32)]]
    assert [word.model_copy(update={"start": 0, "end": 1}) for word in found] == [
        word.model_copy(update={"start": 0, "end": 1}) for word in given_
    ]


def test_a_wildcard_covers_what_no_letter_explains() -> None:
    """ "1984", said as "nineteen eighty four", spans all of it, and none of the silence around it."""
    emissions = heard((1.0, "in "), (3.0, "nineteen eighty four"), (7.0, " "), (8.0, "they"))
    for alphabet in (ALPHABET, BARE):
        found = times(align(words("In", "1984", "they"), 0.0, 10.0, emissions, alphabet, STEP))
        assert found[0] == pytest.approx((1.0, 1.12))
        assert found[1] == pytest.approx((3.0, 4.92), abs=0.061)
        assert found[2] == pytest.approx((8.0, 8.32))


def test_a_wildcard_within_a_word() -> None:
    """A letter that the alphabet lacks holds its place between those it has."""
    emissions = heard((2.0, "smthsd"), (6.0, "end"))
    found = times(align(words("smþ3d", "end"), 0.0, 10.0, emissions, BARE, STEP))
    assert found[0] == pytest.approx((2.0, 2.52))
    assert found[1][0] == pytest.approx(6.0)


def test_figures_in_a_row_share_their_time() -> None:
    """Words without a letter in a row have nothing between them: their old times part them where these are inside, else
    the lengths of their texts.
    """
    emissions = heard((1.0, "call"), (3.0, "onetwothreefour"), (8.0, "now"))
    given_ = words("call", "1", "234", "now")
    even = times(align(given_, 0.0, 10.0, emissions, BARE, STEP))
    assert even[1][1] == even[2][0] == pytest.approx(3.0 + 1.42 / 4, abs=0.05)
    timed = [
        word.model_copy(update={"start": start, "end": end})
        for word, (start, end) in zip(given_, [(1, 2), (3.0, 3.5), (3.7, 4.4), (8, 9)], strict=True)
    ]
    assert times(align(timed, 0.0, 10.0, emissions, BARE, STEP))[1][1] == pytest.approx(3.6)
    later = [word.model_copy(update={"start": word.start + 60, "end": word.end + 60}) for word in timed]
    assert times(align(later, 60.0, 10.0, emissions, BARE, STEP))[1][1] == pytest.approx(63.6)


def test_nothing_but_figures() -> None:
    """A window of figures only is placed all the same: they have no letters that could be foreign."""
    found = times(align(words("1", "2", "3"), 0.0, 10.0, heard((4.0, "onetwothree")), ALPHABET, STEP))
    assert found[0][0] == pytest.approx(4.0, abs=0.05)
    assert found[-1][1] == pytest.approx(5.02, abs=0.05)


def test_a_word_that_strays_is_cut() -> None:
    """A first letter heard in noise seconds too early, or a last one too late, does not stretch the word."""
    early, late = heard((1.0, "h"), (8.0, "ello")), heard((1.0, "hell"), (8.0, "o"))
    assert times(align(words("hello"), 0.0, 10.0, early, ALPHABET, STEP)) == [pytest.approx((8.0, 8.32))]
    assert times(align(words("hello"), 0.0, 10.0, late, ALPHABET, STEP)) == [pytest.approx((1.0, 1.32))]


def test_a_drawn_out_letter_ends() -> None:
    """A letter that the model hears for nine seconds without a break is a hum: its word ends after 2.25 s."""
    emissions = spoken(500, dict.fromkeys(range(20, 480), 1), BLANK + 1, BLANK)
    assert times(align(words("a"), 0.0, 10.0, emissions, ALPHABET, STEP)) == [pytest.approx((0.4, 2.64), abs=0.021)]


def test_long_words_are_not_cut() -> None:
    """A slow word of many letters, and a long number, are as long as they are."""
    slow = {round((1.0 + 0.25 * nth) / STEP): LETTERS.index(letter) for nth, letter in enumerate("extraordinarily")}
    emissions = spoken(500, slow, BLANK + 1, BLANK)
    assert times(align(words("extraordinarily"), 0.0, 10.0, emissions, ALPHABET, STEP)) == [pytest.approx((1.0, 4.52))]
    number = heard((1.0, "onemillionninehundredninetyninethousandninehundredninetynine"))
    ((start, end),) = times(align(words("1,999,999"), 0.0, 10.0, number, ALPHABET, STEP))
    assert end - start == pytest.approx(6.0, abs=0.1)


@pytest.mark.parametrize(
    ("texts", "emissions", "reason"),
    [
        (["Жук", "ел", "ok"], heard((1.0, "zhuk")), Unaligned.FOREIGN),
        (["word"] * 4, heard((0.0, "wo"), seconds=0.3), Unaligned.CROWDED),
        (["word"], np.zeros((0, BLANK + 1), np.float32), Unaligned.CROWDED),
        (["word"], np.full((100, BLANK + 1), np.nan, np.float32), Unaligned.UNHEARD),
        (["word", "5"], np.full((100, BLANK + 1), -np.inf, np.float32), Unaligned.UNHEARD),
    ],
    ids=str,
)
def test_what_cannot_be_aligned(texts: list[str], emissions: Emissions, reason: Unaligned) -> None:
    """Another script, more text than sound, a model that gives no numbers: the reason comes back, and no times."""
    assert align(words(*texts), 0.0, 10.0, emissions, ALPHABET, STEP) is reason


def test_no_words() -> None:
    """A window without words needs no sound."""
    assert align([], 0.0, 0.0, np.zeros((0, BLANK + 1), np.float32), ALPHABET, STEP) == ()


_TEXTS = st.lists(st.sampled_from(["a", "bee", "Sea,", "1984", "50%", "…", "naïve", "x2y", "—", "ж"]), max_size=9)


@given(texts=_TEXTS, seconds=st.floats(0.01, 4.0), step=st.sampled_from([0.02, 0.04, 0.08]), seed=st.integers(0, 99))
@example(texts=[*["a"] * 7, "1984", "—"], seconds=0.625, step=0.04, seed=0)  # a stretch shared in the last half frame
@settings(max_examples=400, deadline=None)
def test_any_words(texts: list[str], seconds: float, step: float, seed: int) -> None:
    """Times are in order, apart, longer than nothing, no longer than a word can be, and inside the window, also where
    the model gave frames past its end.
    """
    rng = np.random.default_rng(seed)
    emissions = random_emissions(rng, int(np.ceil(seconds / step)) + int(rng.integers(0, 9)), BLANK + 1)
    found = align(words(*texts, seconds=seconds) if texts else [], 7.0, seconds, emissions, ALPHABET, step)
    if isinstance(found, Unaligned):
        return
    reached = 7.0
    for word in found:
        assert reached <= word.start < word.end <= 7.0 + seconds + 1e-6
        assert word.end - word.start <= 4.5
        reached = word.end
