"""Punctuation is restored where it is missing, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stages.punctuation import LONGEST_CLAUSE, LONGEST_SENTENCE, missing, restored
from pipeline.types import Word


def words(*texts: str) -> list[Word]:
    return [Word(text=text, start=nth, end=nth + 0.9, confidence=0.9) for nth, text in enumerate(texts)]


def test_a_punctuated_transcript_is_left_alone() -> None:
    """Sentences of ordinary length, the last one without its full stop: nothing to ask a model for."""
    assert missing(words(*(["so", "it", "is", "(here.)"] * 50), "thank", "you")) == ()
    assert missing([]) == ()


def test_the_stretch_that_lacks_it() -> None:
    """From behind the last full stop before it to the next one."""
    said = ["Yes."] * 5 + ["so"] * 70 + ["then."] + ["No."] * 5
    assert missing(words(*said)) == ((5, 76),)


def test_at_the_end_of_the_transcript() -> None:
    """A stretch without any end goes to the last word."""
    assert missing(words("Yes.", *["so"] * 31)) == ((1, 32),)


@pytest.mark.parametrize(("length", "lacks"), [(LONGEST_CLAUSE, False), (LONGEST_CLAUSE + 1, True)])
def test_the_longest_clause(length: int, lacks: bool) -> None:
    """So many words are believed without a mark, and no more; a comma begins another clause."""
    clause = ["so"] * (length - 1)
    assert bool(missing(words(*clause, "it,", "is."))) is lacks


def test_the_longest_sentence() -> None:
    """Commas alone do not make a sentence of a hundred words."""
    assert missing(words(*["so", "on,"] * (LONGEST_SENTENCE // 2))) == ()
    assert missing(words(*["so", "on,"] * (LONGEST_SENTENCE // 2), "so")) == ((0, LONGEST_SENTENCE + 1),)


def test_neighbours_are_one_stretch() -> None:
    """Two endless sentences are restored together; a sound one between keeps them apart."""
    endless = [*["so"] * 40, "then."]
    assert missing(words(*endless, *endless)) == ((0, 82),)
    assert missing(words(*endless, "No.", *endless)) == ((0, 41), (42, 83))


def test_a_recogniser_without_punctuation() -> None:
    """All of it is one stretch, however short."""
    assert missing(words("so", "it", "is"), punctuated=False) == ((0, 3),)
    assert missing([], punctuated=False) == ()


def test_marks_and_capitals() -> None:
    """Marks go behind their words, new sentences get a capital; a mark that is there stays, and words that are no part
    of the stretch stay what they were.
    """
    said = words("well.", "how", "are", "you", "fine,", "an", "iPhone", "iPhone", "42", "élan", "so")
    found = restored(said, 1, ["", "", "?", ".", "", ".", "", ".", ""])
    texts = ["well.", "How", "are", "you?", "Fine,", "an", "iPhone.", "iPhone", "42.", "Élan", "so"]
    assert [word.text for word in found] == texts
    assert [(word.start, word.end) for word in found] == [(word.start, word.end) for word in said]


def test_more_marks_than_words() -> None:
    """A model that answers for more words than it was given is refused, not cut off."""
    with pytest.raises(ValueError, match="3 marks from word 1"):
        restored(words("a", "b"), 1, ["", "", "."])


@given(texts=st.lists(st.sampled_from(["so", "on,", "it.", "(is.)", "—"]), max_size=200))
def test_stretches_are_apart(texts: list[str]) -> None:
    """Whatever the text, stretches are in order, apart, and end where a sentence does."""
    reached = -1
    for first, stop in missing(words(*texts)):
        assert reached < first < stop <= len(texts)
        assert first == 0 or texts[first - 1].endswith((".", ".)"))
        assert stop == len(texts) or texts[stop - 1].endswith((".", ".)"))
        reached = stop
